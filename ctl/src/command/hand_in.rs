//! `hand-in`: what a person made becomes the next version; or a person says that an old one is deleted.

use rekey_model::Version;
use rekey_proto::admin::HandInRequest;

use super::apply::handed_in;
use super::drive::begun;
use super::follow::Direction;
use crate::cli::HandIn;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::view::Done;

pub(super) async fn hand_in(args: HandIn, session: Session) -> Outcome {
    refuse_words(&args)?;
    match args.deleted {
        Some(version) => deleted(&args, version, session).await,
        None => value(&args, session).await,
    }
}

/// Whoever types a value as an argument has shown it to everybody on this machine: it is not said back either.
fn refuse_words(args: &HandIn) -> Outcome<()> {
    if args.words.is_empty() {
        return Ok(());
    }
    let remedy = format!(
        "make another value, and `rekeyctl hand-in {}` asks for it; or name a file with --file",
        args.name
    );
    let message = "a value is never an argument: others on this machine and the shell's history see those";
    Err(Failure::new(Exit::Usage, message, remedy))
}

async fn value(args: &HandIn, mut session: Session) -> Outcome {
    let value = handed_in(args.file.as_deref(), ("value", &format!("New value of {}:", args.name)))?;
    let (name, value) = (args.name.to_string(), value.expose().to_vec());
    let request = HandInRequest { name, value, deleted_version: 0 };
    let answer = session.clone().call(session.client.hand_in(request)).await?;
    begun(answer.rotation, &args.wait, Direction::Forward, session).await
}

async fn deleted(args: &HandIn, version: Version, mut session: Session) -> Outcome {
    let name = args.name.to_string();
    let request = HandInRequest { name, value: Vec::new(), deleted_version: version.get() };
    let answer = session.clone().call(session.client.hand_in(request)).await?;
    let subject = format!("{}@{}", args.name, answer.version);
    session.output.show(&Done::new("deleted", subject).noting("it has ended; nothing more is to do"))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parsed(line: &str) -> HandIn {
        let Command::HandIn(args) = Cli::parse_from(line.split(' ')).command else { panic!("{line}") };
        args
    }

    #[test]
    fn a_value_as_an_argument_is_refused_and_not_said_back() {
        assert!(refuse_words(&parsed("rekeyctl hand-in aos/clerk --file key")).is_ok());
        let refused = refuse_words(&parsed("rekeyctl hand-in aos/clerk sk_live_1")).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        let told = format!("{} {}", refused.message, refused.remedy);
        assert!(told.contains("never an argument") && !told.contains("sk_live"), "{told}");
        let both = "rekeyctl hand-in aos/clerk --deleted v2 --file key".split(' ');
        assert!(Cli::try_parse_from(both).is_err());
        assert_eq!(parsed("rekeyctl hand-in aos/clerk --deleted v2").deleted, Version::new(2));
    }
}
