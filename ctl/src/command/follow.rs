//! Follows a rotation: through streams that end, controllers that restart, until what was asked for is so.

use std::time::Duration;

use rekey_model::Span;
use rekey_proto::admin::WatchRotationRequest;

use crate::cli::Until;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::progress::Ticker;
use crate::session::Session;
use crate::view::{Holders, Progress};

/// How long a controller may be away before following it is given up.
const AWAY: Duration = Duration::from_mins(10);
/// Between two tries to reach it.
const PAUSE: Duration = Duration::from_millis(500);

/// Which end of a rotation is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The new version is to stay.
    Forward,
    /// The old version is to come back.
    Back,
}

impl Direction {
    /// Whether what was waited for is so, or cannot become so any more.
    fn is_over(self, progress: &Progress, until: Until) -> bool {
        let rotation = &progress.rotation;
        let moved = until == Until::Moved && self.has_moved(progress);
        rotation.is_done() || rotation.has_failed() || moved
    }

    fn has_moved(self, progress: &Progress) -> bool {
        let Holders { counting, acknowledged, .. } = progress.holders;
        let all = counting > 0 && acknowledged >= counting;
        match (self, progress.rotation.phase.as_str()) {
            (Self::Forward, "Grace" | "Retiring" | "Done") | (Self::Back, "Undoing" | "Abandoned") => true,
            (Self::Forward, "Rolling") | (Self::Back, "Returning") => all,
            _ => false,
        }
    }

    /// The exit code for how it stands.
    pub(super) fn verdict(self, progress: &Progress, until: Until) -> Exit {
        let good = match self {
            Self::Forward => progress.rotation.is_done(),
            Self::Back => progress.rotation.phase == "Abandoned",
        };
        if good || until == Until::Moved && self.has_moved(progress) {
            Exit::Ok
        } else {
            Exit::RotationFailed
        }
    }
}

/// Follows the rotation `id` and tells how far it is; the last that was heard of it.
pub(super) async fn follow(
    id: String,
    until: Until,
    direction: Direction,
    session: Session,
    limit: Option<Span>,
) -> Outcome<Option<Progress>> {
    let mut ticker = Ticker::new(session.output);
    let followed = to_the_end(&id, until, direction, session, &mut ticker);
    let outcome = match limit {
        None => followed.await,
        Some(limit) => tokio::time::timeout(limit.get(), followed).await.unwrap_or_else(|_elapsed| {
            let message = format!("rotation {id} goes on, but {limit} have passed");
            Err(Failure::new(Exit::TimedOut, message, "see how far it is: `rekeyctl status NAME`"))
        }),
    };
    ticker.end();
    outcome
}

async fn to_the_end(
    id: &str,
    until: Until,
    direction: Direction,
    mut session: Session,
    ticker: &mut Ticker,
) -> Outcome<Option<Progress>> {
    let mut last: Option<Progress> = None;
    let mut away = Duration::ZERO;
    loop {
        let heard = listen(id, &mut session, |progress| {
            away = Duration::ZERO;
            ticker.tell(&progress.line());
            let over = direction.is_over(&progress, until);
            last = Some(progress);
            over
        });
        match heard.await {
            Ok(true) => return Ok(last),
            // The stream has a bounded life; the rotation has not.
            Ok(false) => {}
            Err(failure) if failure.exit == Exit::Unreachable && away < AWAY => {
                ticker.tell("the controller is away; the rotation goes on when it is back");
            }
            Err(failure) => return Err(failure),
        }
        away += PAUSE;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Hears one stream until it ends or `enough` says so; whether `enough` said so.
async fn listen(id: &str, session: &mut Session, mut enough: impl FnMut(Progress) -> bool) -> Outcome<bool> {
    let request = WatchRotationRequest { rotation_id: id.to_owned() };
    let mut stream = session.clone().call(session.client.watch_rotation(request)).await?;
    while let Some(progress) = stream.message().await? {
        if Progress::of(progress).is_some_and(&mut enough) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rekey_proto::admin::{HolderCount, RotationProgress, RotationStatus};

    fn at(phase: &str, acknowledged: u32) -> Progress {
        let rotation = RotationStatus { phase: phase.to_owned(), ..RotationStatus::default() };
        let holders = HolderCount { counting: 3, live: 3, acknowledged };
        let wire = RotationProgress {
            rotation: Some(rotation),
            holders: Some(holders),
            ..RotationProgress::default()
        };
        Progress::of(wire).unwrap()
    }

    #[test]
    fn waiting_ends_where_it_was_asked_to_end() {
        use Direction::{Back, Forward};
        let over = [
            (Forward, Until::Done, "Grace", 3, false),
            (Forward, Until::Done, "Done", 3, true),
            (Forward, Until::Moved, "Rolling", 2, false),
            (Forward, Until::Moved, "Rolling", 3, true),
            (Forward, Until::Moved, "Chosen", 3, false),
            (Forward, Until::Moved, "Grace", 3, true),
            (Forward, Until::Moved, "Abandoned", 3, true),
            (Back, Until::Moved, "Returning", 3, true),
            (Back, Until::Done, "Returning", 3, false),
            (Back, Until::Done, "Abandoned", 3, true),
        ];
        for (direction, until, phase, acknowledged, wanted) in over {
            let found = direction.is_over(&at(phase, acknowledged), until);
            assert_eq!(found, wanted, "{direction:?} {until:?} {phase} {acknowledged}");
        }
    }

    #[test]
    fn the_good_end_of_a_rollback_is_the_bad_end_of_a_rotation() {
        assert_eq!(Direction::Forward.verdict(&at("Abandoned", 3), Until::Done), Exit::RotationFailed);
        assert_eq!(Direction::Back.verdict(&at("Abandoned", 3), Until::Done), Exit::Ok);
        assert_eq!(Direction::Forward.verdict(&at("Done", 3), Until::Done), Exit::Ok);
        assert_eq!(Direction::Back.verdict(&at("Done", 3), Until::Done), Exit::RotationFailed);
        assert_eq!(Direction::Forward.verdict(&at("Stuck", 3), Until::Done), Exit::RotationFailed);
    }
}
