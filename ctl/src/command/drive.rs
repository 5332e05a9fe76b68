//! Commands that drive a credential by hand: `rotate`, `rollback`, `hold`, `release`, `retry`, `delete`; and what was done
//! without it: `record`.

use rekey_proto::admin::delete_request::AtTarget;
use rekey_proto::admin::{
    DeleteRequest, HoldRequest, RecordRequest, ReleaseRequest, RetryRequest, RollbackRequest, RotateRequest,
    RotationStatus,
};
use rekey_runtime::random;

use super::follow::{Direction, follow};
use crate::cli::{Delete, Hold, Named, Record, Retry, Rollback, Rotate, Wait};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::prompt;
use crate::session::Session;
use crate::view::{Begun, Done, Rotation};

pub(super) async fn rotate(args: Rotate, mut session: Session) -> Outcome {
    let request = RotateRequest {
        name: args.name.to_string(),
        reason: args.reason,
        request_id: random::id::<rekey_model::RotationId>().to_string(),
    };
    let answer = session.clone().call(session.client.rotate(request)).await?;
    begun(answer.rotation, &args.wait, Direction::Forward, session).await
}

pub(super) async fn rollback(args: Rollback, mut session: Session) -> Outcome {
    let request = RollbackRequest { name: args.name.to_string(), reason: args.reason };
    let answer = session.clone().call(session.client.rollback(request)).await?;
    begun(answer.rotation, &args.wait, Direction::Back, session).await
}

/// Shows the rotation, after having followed it if that was asked for.
pub(super) async fn begun(
    rotation: Option<RotationStatus>,
    wait: &Wait,
    direction: Direction,
    session: Session,
) -> Outcome {
    let rotation = rotation.map(Rotation::of).ok_or_else(|| {
        Failure::new(Exit::Failed, "the controller did not say which rotation", "look with `rekeyctl status`")
    })?;
    let output = session.output;
    let Some(until) = wait.wait else {
        output.show(&Begun { rotation, progress: None })?;
        return Ok(Exit::Ok);
    };
    let followed = follow(rotation.id, until, direction, session, wait.wait_timeout).await?;
    let Some(progress) = followed else {
        return Err(Failure::new(Exit::Failed, "the controller no longer knows the rotation", ""));
    };
    let exit = direction.verdict(&progress, until);
    output.show(&Begun { rotation: progress.rotation.clone(), progress: Some(progress) })?;
    Ok(exit)
}

pub(super) async fn hold(args: Hold, mut session: Session) -> Outcome {
    let request = HoldRequest { name: args.name.to_string(), reason: args.reason };
    let answer = session.clone().call(session.client.hold(request)).await?;
    let mut done = Done::new("held", args.name.as_str())
        .noting(format!("nothing is decided by itself until `rekeyctl release {}`", args.name));
    if !answer.too_late_for.is_empty() {
        done = done.noting(format!("too late for this: {}", answer.too_late_for));
    }
    session.output.show(&done)?;
    Ok(Exit::Ok)
}

pub(super) async fn record(args: Record, mut session: Session) -> Outcome {
    let Record { name, kind, old, new, reason } = args;
    let request = RecordRequest { name: name.to_string(), kind, old, new, reason };
    let answer = session.clone().call(session.client.record(request)).await?;
    let note = format!("it is number {} of the audit: `rekeyctl audit query` shows it", answer.seq);
    session.output.show(&Done::new("recorded", name.as_str()).noting(note))?;
    Ok(Exit::Ok)
}

pub(super) async fn release(args: Named, mut session: Session) -> Outcome {
    let request = ReleaseRequest { name: args.name.to_string() };
    session.clone().call(session.client.release(request)).await?;
    session.output.show(&Done::new("released", args.name.as_str()))?;
    Ok(Exit::Ok)
}

pub(super) async fn retry(args: Retry, mut session: Session) -> Outcome {
    let Retry { rotation, no_holders, reason } = args;
    let request = RetryRequest { rotation, no_holders, reason };
    let answer = session.clone().call(session.client.retry(request)).await?;
    begun(answer.rotation, &Wait { wait: None, wait_timeout: None }, Direction::Forward, session).await
}

pub(super) async fn delete(args: Delete, mut session: Session) -> Outcome {
    let at_target = fate(&args)?;
    let request = DeleteRequest { name: args.name.to_string(), at_target: at_target.into() };
    let answer = session.clone().call(session.client.delete(request)).await?;
    let mut done = Done::new("deleted", args.name.as_str());
    for login in answer.left_at_target {
        done = done.noting(format!("left at the target: {login}"));
    }
    session.output.show(&done)?;
    Ok(Exit::Ok)
}

/// What is to become of the logins: as typed, or as answered.
fn fate(args: &Delete) -> Outcome<AtTarget> {
    let typed = match (args.end, args.leave) {
        (true, _) => Some(AtTarget::End),
        (false, true) => Some(AtTarget::Leave),
        (false, false) => None,
    };
    if let Some(fate) = typed.filter(|_| args.yes) {
        return Ok(fate);
    }
    if !prompt::somebody_is_there() {
        return Err(Failure::new(
            Exit::Usage,
            "a credential is not deleted without being asked twice",
            format!(
                "say what becomes of its logins: `rekeyctl delete {} --end --yes` or `--leave --yes`",
                args.name
            ),
        ));
    }
    let fate = match typed {
        Some(fate) => fate,
        None => match prompt::word("What becomes of its logins at the target: end or leave?")?.as_str() {
            "end" => AtTarget::End,
            "leave" => AtTarget::Leave,
            _ => return Err(given_up()),
        },
    };
    let again = prompt::word(&format!("Type {} to delete it:", args.name))?;
    if again == args.name.as_str() { Ok(fate) } else { Err(given_up()) }
}

fn given_up() -> Failure {
    Failure::new(Exit::Failed, "given up; nothing was changed", "")
}
