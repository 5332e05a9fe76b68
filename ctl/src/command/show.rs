//! Commands that look, and change no credential: `status`, `list`, `inventory`, `verify`, `refresh`, `show`, `plan`, `who`, `whoami`, `version`.

use std::time::Duration;

use rekey_proto::admin::{
    PlanRotateRequest, RefreshRequest, StatusRequest, StatusResponse, VerifyRequest, WhoAmIRequest,
    WhoRequest,
};

use crate::cli::{Format, List, Named, Status as Args, Who as WhoArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Output, answer, say};
use crate::session::Session;
use crate::view::{Declared, Inventory, Me, Plan, Refreshed, Status, Verified, Versions, Who};

/// How often a watched status is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn status(args: Args, mut session: Session) -> Outcome {
    let name = args.name.map(String::from).unwrap_or_default();
    if args.watch {
        return watch(name, session).await;
    }
    let in_full = !name.is_empty();
    let answer = look(name, &mut session).await?;
    session.output.show(&Status::of(answer, in_full))?;
    Ok(Exit::Ok)
}

async fn look(name: String, session: &mut Session) -> Outcome<StatusResponse> {
    session.clone().call(session.client.status(StatusRequest { name })).await
}

/// Shows the status again and again, until interrupted. A controller that is away for a while is waited for.
async fn watch(name: String, mut session: Session) -> Outcome {
    let redraw = session.output.is_live() && session.output.format == Format::Table;
    let mut before: Option<StatusResponse> = None;
    loop {
        match look(name.clone(), &mut session).await {
            Ok(found) => {
                let same = before.as_ref().is_some_and(|before| is_same(before, &found));
                if redraw {
                    answer("\u{1b}[H\u{1b}[2J")?;
                }
                if redraw || !same {
                    session.output.show_line(&Status::of(found.clone(), !name.is_empty()))?;
                }
                before = Some(found);
            }
            Err(failure) if failure.exit == Exit::Unreachable && before.is_some() => say(&failure.message),
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether two answers differ in nothing but the time they were given.
fn is_same(before: &StatusResponse, now: &StatusResponse) -> bool {
    let timeless = |status: &StatusResponse| StatusResponse { now_ms: 0, ..status.clone() };
    timeless(before) == timeless(now)
}

pub(super) async fn list(args: List, mut session: Session) -> Outcome {
    let mut inventory = Inventory::of(look(String::new(), &mut session).await?);
    if let Some(span) = args.expiring_in {
        inventory = inventory.expiring_in(span.get());
    }
    session.output.show(&inventory)?;
    Ok(Exit::Ok)
}

pub(super) async fn export(mut session: Session) -> Outcome {
    let inventory = Inventory::of(look(String::new(), &mut session).await?);
    match session.output.format {
        Format::Table => answer(&inventory.csv())?,
        Format::Json => session.output.show(&inventory)?,
    }
    Ok(Exit::Ok)
}

pub(super) async fn declared(args: Named, mut session: Session) -> Outcome {
    let answer = look(args.name.to_string(), &mut session).await?;
    let declared = Declared::of(answer)
        .ok_or_else(|| Failure::new(Exit::NotFound, format!("there is no credential {}", args.name), ""))?;
    session.output.show(&declared)?;
    Ok(Exit::Ok)
}

pub(super) async fn plan(args: Named, mut session: Session) -> Outcome {
    let request = PlanRotateRequest { name: args.name.to_string() };
    let answer = session.clone().call(session.client.plan_rotate(request)).await?;
    session.output.show(&Plan::from(answer))?;
    Ok(Exit::Ok)
}

pub(super) async fn verify(args: Named, mut session: Session) -> Outcome {
    let request = VerifyRequest { name: args.name.to_string() };
    let answer = session.clone().call(session.client.verify(request)).await?;
    let exit = if answer.works { Exit::Ok } else { Exit::Refused };
    session.output.show(&Verified::of(args.name.to_string(), answer))?;
    Ok(exit)
}

pub(super) async fn refresh(args: Named, mut session: Session) -> Outcome {
    let request = RefreshRequest { name: args.name.to_string() };
    let answer = session.clone().call(session.client.refresh(request)).await?;
    let refreshed = Refreshed::of(args.name.to_string(), answer);
    session.output.show(&refreshed)?;
    Ok(if refreshed.is_well() { Exit::Ok } else { Exit::Refused })
}

pub(super) async fn who(args: WhoArgs, mut session: Session) -> Outcome {
    let version = args.subject.version_number();
    let request = WhoRequest { name: args.subject.name.to_string(), version };
    let answer = session.clone().call(session.client.who(request)).await?;
    session.output.show(&Who::from(answer))?;
    Ok(Exit::Ok)
}

pub(super) async fn whoami(mut session: Session) -> Outcome {
    let answer = session.clone().call(session.client.who_am_i(WhoAmIRequest {})).await?;
    session.output.show(&Me::from(answer))?;
    Ok(Exit::Ok)
}

/// Shows both versions; the controller's is not needed for that.
pub(super) async fn versions(session: Outcome<Session>, output: Output) -> Outcome {
    let asked = match session {
        Ok(mut session) => {
            session.clone().call(session.client.who_am_i(WhoAmIRequest {})).await.map(Me::from)
        }
        Err(failure) => Err(failure),
    };
    output.show(&Versions::of(asked))?;
    Ok(Exit::Ok)
}
