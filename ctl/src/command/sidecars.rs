//! `sidecar list|remove`.

use rekey_proto::admin::{ListSidecarsRequest, RemoveSidecarRequest};

use crate::cli::SidecarCommand;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::prompt;
use crate::session::Session;
use crate::view::{Done, Sidecars};

pub(super) async fn run(command: SidecarCommand, mut session: Session) -> Outcome {
    match command {
        SidecarCommand::List => {
            let answer = session.clone().call(session.client.list_sidecars(ListSidecarsRequest {})).await?;
            session.output.show(&Sidecars::from(answer))?;
        }
        SidecarCommand::Remove { sidecar, reason, yes } => {
            prompt::sure(
                yes,
                &format!("{sidecar} is cut off for good, and its workload gets nothing more."),
            )?;
            let request = RemoveSidecarRequest { sidecar, reason };
            let answer = session.clone().call(session.client.remove_sidecar(request)).await?;
            let note = "it is cut off and needs a new token to come back";
            session.output.show(&Done::new("removed", answer.instance).noting(note))?;
        }
    }
    Ok(Exit::Ok)
}
