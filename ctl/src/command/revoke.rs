//! `revoke`: cuts, tells how far that is, prints the receipt.

use std::time::Duration;

use rekey_proto::admin::RevokeRequest;
use rekey_runtime::random;

use crate::cli::Revoke;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::say;
use crate::progress::Ticker;
use crate::session::Session;
use crate::view::Revocation;

/// Between two tries. The same again joins the first, so trying again is safe.
const PAUSE: Duration = Duration::from_millis(500);
/// How many tries fail before a person has to do something else.
const TRIES: u32 = 60;

pub(super) async fn revoke(args: Revoke, session: Session) -> Outcome {
    let request = RevokeRequest {
        name: args.subject.name.to_string(),
        version: args.subject.version_number(),
        reason: args.reason,
        no_replacement: args.no_replacement,
        // The same at every try, so that a second try does not cut what replaced the first.
        request_id: random::id::<()>().to_string(),
    };
    let output = session.output;
    let mut ticker = Ticker::new(output);
    let heard = to_the_receipt(&request, session, &mut ticker).await;
    ticker.end();
    let last = heard?;
    output.show(&last)?;
    Ok(if last.is_complete() { Exit::Ok } else { Exit::RevokeIncomplete })
}

async fn to_the_receipt(
    request: &RevokeRequest,
    mut session: Session,
    ticker: &mut Ticker,
) -> Outcome<Revocation> {
    let mut last: Option<Revocation> = None;
    for _try in 0..TRIES {
        match listen(request, &mut session, ticker, &mut last).await {
            Ok(()) => {}
            Err(failure) if failure.exit == Exit::Unreachable => {
                ticker.tell("the controller was not reached; trying again");
            }
            // What is known is worth more than the reason why no more is known.
            Err(failure) => match last {
                Some(known) => {
                    say(&failure.message);
                    return Ok(known);
                }
                None => return Err(failure),
            },
        }
        if let Some(receipt) = last.take_if(|last| last.is_receipt()) {
            return Ok(receipt);
        }
        tokio::time::sleep(PAUSE).await;
    }
    last.ok_or_else(|| {
        Failure::new(
            Exit::Unreachable,
            "the controller was not reached: NOTHING IS REVOKED as far as is known here",
            "run this on the controller's host with --controller unix:/path/of/admin.sock, or end the login at the \
             target by hand now",
        )
    })
}

/// Hears one stream until it ends.
async fn listen(
    request: &RevokeRequest,
    session: &mut Session,
    ticker: &mut Ticker,
    last: &mut Option<Revocation>,
) -> Outcome<()> {
    let mut stream = session.clone().call(session.client.revoke(request.clone())).await?;
    while let Some(progress) = stream.message().await? {
        let progress = Revocation::from(progress);
        ticker.tell(&progress.line());
        let over = progress.is_receipt();
        *last = Some(progress);
        if over {
            break;
        }
    }
    Ok(())
}
