//! `reconcile`.

use rekey_proto::admin::{ReconcileRequest, StatusRequest};

use crate::cli::Reconcile as Args;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::prompt;
use crate::session::Session;
use crate::view::Reconciling;

pub(super) async fn reconcile(args: Args, mut session: Session) -> Outcome {
    let looked = session.clone().call(session.client.status(StatusRequest::default())).await?.reconciling;
    let waits = match (args.now, looked) {
        (true, Some(waits)) => {
            let silent = waits.silent_count;
            prompt::sure(
                args.yes,
                &format!("{silent} sidecars have not told what they hold, and are no longer waited for."),
            )?;
            let request = ReconcileRequest { reason: args.reason.unwrap_or_default() };
            session.clone().call(session.client.reconcile(request)).await?.reconciling
        }
        (_, looked) => looked,
    };
    session.output.show(&Reconciling::of(waits))?;
    Ok(Exit::Ok)
}
