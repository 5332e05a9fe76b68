//! `apply` and `adopt`: declare credentials, and hand in the password that is used today.

use std::path::Path;

use rekey_model::SecretBytes;
use rekey_proto::admin::{AdoptRequest, ApplyRequest};

use crate::cli::{Adopt, Apply};
use crate::declarations;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::prompt;
use crate::session::Session;
use crate::view::{Applied, Done};

pub(super) async fn apply(args: Apply, mut session: Session) -> Outcome {
    let documents = declarations::read(&args.files)?;
    let specs_json = documents.iter().map(|document| document.value().to_string()).collect();
    let request = ApplyRequest { specs_json, dry_run: args.dry_run };
    let answer = session.clone().call(session.client.apply(request)).await?;
    if !answer.problems.is_empty() {
        return Err(declarations::problems_at(&documents, &answer.problems));
    }
    session.output.show(&Applied::of(answer, args.dry_run))?;
    Ok(Exit::Ok)
}

pub(super) async fn adopt(args: Adopt, mut session: Session) -> Outcome {
    let question = format!("Password that the login of {} has today:", args.name);
    let password = handed_in(args.password_file.as_deref(), ("password", &question))?;
    let request = AdoptRequest { name: args.name.to_string(), password: password.expose().to_vec() };
    let answer = session.clone().call(session.client.adopt(request)).await?;
    let note = match answer.version {
        1 => format!("v1 is current; the first rotation replaces it: `rekeyctl rotate {}`", args.name),
        version => format!("v{version} is current; sidecars get it now: `rekeyctl who {}`", args.name),
    };
    let done = Done::new("adopted", args.name.as_str()).noting(note);
    session.output.show(&done)?;
    Ok(Exit::Ok)
}

/// A secret, called `what`, from a file (`-`: from a pipe), from whoever answers `question`, or from what is piped in.
pub(super) fn handed_in(file: Option<&Path>, (what, question): (&str, &str)) -> Outcome<SecretBytes> {
    let piped = Path::new("-");
    let secret = match file {
        Some(path) => files::read_secret(path)?,
        None if prompt::somebody_is_there() => prompt::secret(question)?,
        None => files::read_secret(piped)?,
    };
    if secret.expose().is_empty() {
        let place = file.unwrap_or(piped).display();
        return Err(Failure::new(Exit::Invalid, format!("the {what} from {place} is empty"), ""));
    }
    Ok(secret)
}
