//! `audit query`.

use rekey_proto::admin::QueryAuditRequest;

use crate::cli::AuditCommand;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::session::Session;
use crate::view::Audit;

pub(super) async fn run(command: AuditCommand, mut session: Session) -> Outcome {
    let AuditCommand::Query(args) = command;
    let request = QueryAuditRequest {
        credential: args.credential.map(String::from).unwrap_or_default(),
        verb: args.verb,
        actor: args.actor,
        before_seq: args.before,
        limit: args.limit,
    };
    let answer = session.clone().call(session.client.query_audit(request)).await?;
    session.output.show(&Audit::from(answer))?;
    Ok(Exit::Ok)
}
