//! The way to the controller: over its local socket, or over mutual TLS.

use std::path::{Path, PathBuf};

use rekey_proto::admin::admin_client::AdminClient;
use rekey_runtime::Clock;
use rekey_runtime::tls::{
    Address, ClientTls, Dial, Identity as Keys, Roots, connect_lazy, connect_unix_lazy,
};
use tonic::transport::Channel;

use crate::cli::Global;
use crate::context::{self, Context, Contexts, Identity};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, chain};
use crate::files;

/// Where a controller that was installed by its package has its socket.
const USUAL_SOCKET: &str = "/run/rekey-controller/admin.sock";

/// Answers are small; a list of all sidecars of a large fleet is the largest.
const LARGEST_ANSWER: usize = 64 << 20;

/// Which controller is meant: what was typed, else the environment, else the context, else the usual socket here.
pub fn choose(global: &Global) -> Outcome<Context> {
    if let Some(path) = global.controller.as_deref().filter(|at| socket(at).is_some()) {
        return Ok(Context { controller: path.to_owned(), identity: None });
    }
    let contexts = context::folder().and_then(|folder| Contexts::load(&folder));
    let named = global.context.clone().or_else(|| contexts.as_ref().ok().and_then(|all| all.current.clone()));
    match (named, &global.controller) {
        (Some(name), None) => contexts?.named(&name).cloned(),
        (Some(name), Some(address)) => {
            Ok(Context { controller: address.clone(), ..contexts?.named(&name)?.clone() })
        }
        (None, Some(address)) => Ok(Context { controller: address.clone(), identity: None }),
        (None, None) if Path::new(USUAL_SOCKET).exists() => {
            Ok(Context { controller: format!("unix:{USUAL_SOCKET}"), identity: None })
        }
        (None, None) => Err(Failure::new(
            Exit::Usage,
            format!("no controller is named, and there is none at {USUAL_SOCKET}"),
            "set REKEY_CONTROLLER=unix:/path/of/admin.sock, or add a context: `rekeyctl context add --help`",
        )),
    }
}

/// The path of `unix:/path`.
pub fn socket(address: &str) -> Option<PathBuf> {
    address.strip_prefix("unix:").map(PathBuf::from)
}

/// Whether `address` can be an address of a controller.
pub fn check_address(address: &str) -> Outcome<()> {
    match socket(address) {
        Some(path) if path.is_absolute() => Ok(()),
        Some(_) => Err(Failure::new(Exit::Usage, "a socket is named by its whole path", "write unix:/run/…")),
        None => parse(address).map(|_address| ()),
    }
}

fn parse(address: &str) -> Outcome<Address> {
    address.parse().map_err(|error: rekey_runtime::tls::AddressError| {
        Failure::new(Exit::Usage, error.to_string(), "or name a local socket: unix:/path/of/admin.sock")
    })
}

/// Opens the way that `context` names. Nothing is sent before the first call.
pub fn open(context: &Context) -> Outcome<AdminClient<Channel>> {
    check_address(&context.controller)?;
    let channel = match (socket(&context.controller), &context.identity) {
        (Some(path), _) => connect_unix_lazy(&path, None),
        (None, Some(identity)) => {
            let dial =
                Dial { address: parse(&context.controller)?, server_name: identity.server_name.clone() };
            connect_lazy(&tls(identity)?, &dial)
        }
        (None, None) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("{} needs a certificate, and no context has one", context.controller),
                "have `rekeyctl admin add` make one, or `rekeyctl context add NAME --at … --ca … --cert … --key …`",
            ));
        }
    };
    let channel = channel
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot connect: {}", chain(&error)), ""))?;
    Ok(AdminClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

fn tls(identity: &Identity) -> Outcome<ClientTls> {
    let wrong = |path: &Path, error: &dyn std::error::Error| {
        let message = format!("{}: {}", path.display(), chain(error));
        Failure::new(Exit::Invalid, message, "have `rekeyctl admin add` make a new identity")
    };
    let roots = Roots::from_pem(&files::read(&identity.ca_file)?)
        .map_err(|error| wrong(&identity.ca_file, &error))?;
    let chain = files::read(&identity.cert_file)?;
    let keys = Keys::from_pem(&chain, &files::read_secret(&identity.key_file)?)
        .map_err(|error| wrong(&identity.key_file, &error))?;
    ClientTls::new(&roots, Some(&keys), Clock::system()).map_err(|error| wrong(&identity.cert_file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_or_a_host_with_a_port() {
        for good in ["unix:/run/a.sock", "localhost:8444", "[::1]:8444", "10.0.0.1:1"] {
            assert!(check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "unix:", "unix:a.sock", "localhost", "localhost:0", "https://localhost:1"] {
            assert_eq!(check_address(bad).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }

    #[test]
    fn an_address_without_a_certificate_is_refused_with_a_remedy() {
        let context = Context { controller: "localhost:8444".to_owned(), identity: None };
        let failure = open(&context).unwrap_err();
        assert!(failure.remedy.contains("admin add"), "{failure:?}");
    }
}
