//! `admin add|list|remove`: operators. The key of a new one is made here and stays here.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rekey_model::millis;
use rekey_proto::admin::{AddAdminRequest, AddAdminResponse, ListAdminsRequest, RemoveAdminRequest, Role};
use zeroize::Zeroizing;

use crate::cli::{AddAdmin, AdminCommand, RoleWord};
use crate::connect;
use crate::context::{self, Context, Contexts, Identity};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::files;
use crate::session::Session;
use crate::view::{Admins, Done};

pub(super) async fn run(command: AdminCommand, mut session: Session) -> Outcome {
    match command {
        AdminCommand::Add(args) => return add(args, session).await,
        AdminCommand::List => {
            let answer = session.clone().call(session.client.list_admins(ListAdminsRequest {})).await?;
            session.output.show(&Admins::from(answer))?;
        }
        AdminCommand::Remove { name } => {
            let request = RemoveAdminRequest { name: name.clone() };
            session.clone().call(session.client.remove_admin(request)).await?;
            session.output.show(&Done::new("removed", name))?;
        }
    }
    Ok(Exit::Ok)
}

async fn add(args: AddAdmin, mut session: Session) -> Outcome {
    context::check_name(&args.name)?;
    let folder = match &args.dir {
        Some(dir) => dir.clone(),
        None => context::folder()?.join(&args.name),
    };
    let place = Place::new(&folder)?;
    let (csr_der, key) = new_key()?;
    // The key is safe on disk before the controller knows of it.
    files::make_folder(&folder)?;
    files::write_private(&place.key, key.as_bytes())?;
    let request = AddAdminRequest {
        name: args.name.clone(),
        roles: args.roles.iter().map(|role| wire(*role).into()).collect(),
        csr_der,
        lives_ms: millis(args.lives.get()),
    };
    let answer = session.clone().call(session.client.add_admin(request)).await?;
    files::write_private(&place.chain, answer.chain_pem.as_bytes())?;
    files::write_private(&place.ca, answer.ca_pem.as_bytes())?;
    let done = finish(&args, answer, &place)?;
    session.output.show(&done)?;
    Ok(Exit::Ok)
}

/// Writes the context, unless the files were to go elsewhere.
fn finish(args: &AddAdmin, answer: AddAdminResponse, place: &Place) -> Outcome<Done> {
    let address = args.address.clone().unwrap_or(answer.address);
    let done = Done::new("added", &args.name).noting(format!("key and certificates: {}", place.folder()));
    if args.dir.is_some() {
        return Ok(done.noting(format!(
            "to use them: rekeyctl context add {} --at {address} --ca {} --cert {} --key {}",
            args.name,
            place.ca.display(),
            place.chain.display(),
            place.key.display()
        )));
    }
    connect::check_address(&address)?;
    let folder = context::folder()?;
    let mut contexts = Contexts::load(&folder)?;
    let identity = Identity {
        ca_file: place.ca.clone(),
        cert_file: place.chain.clone(),
        key_file: place.key.clone(),
        server_name: None,
    };
    contexts.contexts.insert(args.name.clone(), Context { controller: address, identity: Some(identity) });
    contexts.current.get_or_insert_with(|| args.name.clone());
    contexts.save(&folder)?;
    Ok(done.noting(format!("try it: rekeyctl --context {} whoami", args.name)))
}

/// Where key and certificates go.
struct Place {
    key: PathBuf,
    chain: PathBuf,
    ca: PathBuf,
}

impl Place {
    /// Three files in `folder`, named absolutely; refuses to overwrite a key.
    fn new(folder: &Path) -> Outcome<Self> {
        let folder = std::path::absolute(folder)
            .map_err(|error| Failure::local(format!("cannot find {}", folder.display()), &error))?;
        let place =
            Self { key: folder.join("key.pem"), chain: folder.join("chain.pem"), ca: folder.join("ca.pem") };
        if place.key.exists() && place.chain.exists() {
            let message = format!("{} exists and is not overwritten", place.key.display());
            return Err(Failure::new(
                Exit::Refused,
                message,
                "move it away, or name another place with --dir",
            ));
        }
        Ok(place)
    }

    fn folder(&self) -> String {
        self.key.parent().unwrap_or(Path::new(".")).display().to_string()
    }
}

/// A new key as PEM, and a request for its certificate.
fn new_key() -> Outcome<(Vec<u8>, Zeroizing<String>)> {
    let made = || -> Result<(Vec<u8>, Zeroizing<String>), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let request = CertificateParams::default().serialize_request(&key)?;
        Ok((request.der().to_vec(), Zeroizing::new(key.serialize_pem())))
    };
    made().map_err(|error| Failure::local("cannot make a key", &error))
}

fn wire(role: RoleWord) -> Role {
    match role {
        RoleWord::Viewer => Role::Viewer,
        RoleWord::Operator => Role::Operator,
        RoleWord::Responder => Role::Responder,
        RoleWord::Admin => Role::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        files::write_private(&place.key, b"key").unwrap();
        assert!(Place::new(folder.path()).is_ok(), "a key that was never signed may be made anew");
        files::write_private(&place.chain, b"chain").unwrap();
        assert_eq!(Place::new(folder.path()).err().unwrap().exit, Exit::Refused);
    }

    #[test]
    fn a_request_is_made_for_each_new_key() {
        let (one, key) = new_key().unwrap();
        let (other, _) = new_key().unwrap();
        assert_ne!(one, other);
        assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}
