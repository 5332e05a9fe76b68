//! The files that this sidecar keeps for programs which can read nothing but a file.
//!
//! A file is there, whole, exactly while all its values may be given out: it is replaced by a rename when one changes, and
//! removed when one is cut, taken away or out of date, and when the sidecar ends. While the target of a value is being
//! changed it stays as it is.

mod place;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use rekey_runtime::CancellationToken;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use crate::config::files::{FileContent, FileSpec};
use crate::live::{Live, Unreadable, value_in, version_in};
use crate::serve::Counts;
use crate::usage::{Consumer, Consumers, Report, Use};
pub use place::PlaceError;

/// The first line of a file of variables: by it a file of ours is known from one that somebody wrote.
const OURS: &str =
    "# Kept by rekey-sidecar, which replaces and removes this file: what is written here is lost.\n";
/// When a file that could not be written is tried again, in milliseconds.
const AGAIN_MS: u64 = 5_000;

/// The files, and what was written last.
#[derive(Debug)]
pub struct Files {
    kept: Vec<Kept>,
    live: Arc<Live>,
    counts: Arc<Counts>,
    /// Says which versions stand in files, so that none is ended that a disk keeps from being replaced.
    consumer: Arc<Consumer>,
}

#[derive(Debug)]
struct Kept {
    spec: Arc<FileSpec>,
    /// The answers that it was made of; `None`: it is not there.
    shown: Option<Vec<Bytes>>,
    /// Whether something was done in its place that was not undone: also what failed may have left something.
    touched: bool,
    /// What was said last of why it is not as it should be.
    said: String,
}

/// What a file is to be.
enum Wanted {
    /// This, made of these answers.
    There(Zeroizing<Vec<u8>>, Vec<Bytes>),
    /// As it is.
    Unchanged,
    /// Not there, and why.
    Gone(String),
}

impl Files {
    /// Takes the places of the files: refuses a folder that others may write to, and a file that is not ours. What an
    /// earlier life has left there goes.
    pub fn open(
        specs: &[FileSpec],
        live: Arc<Live>,
        counts: Arc<Counts>,
        consumers: &Arc<Consumers>,
    ) -> Result<Self, PlaceError> {
        for spec in specs {
            place::take(spec)?;
        }
        let kept = |spec: &FileSpec| Kept {
            spec: Arc::new(spec.clone()),
            shown: None,
            touched: false,
            said: String::new(),
        };
        Ok(Self { kept: specs.iter().map(kept).collect(), live, counts, consumer: consumers.open(None) })
    }

    /// Keeps the files until `ended`, then removes them.
    pub async fn run(mut self, ended: CancellationToken) {
        let (live, clock) = (Arc::clone(&self.live), self.live.clock().clone());
        let mut revisions = live.revisions();
        loop {
            revisions.mark_unchanged();
            let again = self.bring_up().await;
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { break },
                () = clock.until(again) => {}
                () = ended.cancelled() => break,
            }
        }
        for kept in &self.kept {
            if let Err(why) = place::remove(&kept.spec) {
                error!("{why}");
            }
        }
    }

    /// Makes every file what it is to be, as far as the disk allows it; gives when to look again, in milliseconds since boot.
    async fn bring_up(&mut self) -> Option<u64> {
        let (mut again, mut behind, mut moved) = (None::<u64>, 0, false);
        for kept in &mut self.kept {
            let (wanted, at) = wanted(&self.live, &kept.spec, kept.shown.as_deref());
            moved |= !matches!(wanted, Wanted::Unchanged);
            let done = kept.become_as(wanted).await;
            if !done {
                behind += 1;
            }
            let retry = (!done).then(|| self.live.clock().now().boot_ms.saturating_add(AGAIN_MS));
            again = [again, at, retry].into_iter().flatten().min();
        }
        self.counts.files_behind(behind);
        if moved {
            self.consumer.report(self.shown());
        }
        again
    }

    /// What stands in files.
    fn shown(&self) -> Report {
        let mut report = Report::new();
        for kept in &self.kept {
            let answers = kept.shown.iter().flatten();
            for (value, answer) in kept.spec.content.values().zip(answers) {
                if let Some(version) = version_in(answer) {
                    let used = Use { in_use: true, ..Use::default() };
                    report.entry(value.credential.clone()).or_default().insert(version, used);
                }
            }
        }
        report
    }
}

impl Kept {
    /// Makes the file what it is to be; whether that is so now.
    async fn become_as(&mut self, wanted: Wanted) -> bool {
        let path = self.spec.path.display().to_string();
        let (spec, made) = (Arc::clone(&self.spec), !matches!(wanted, Wanted::Gone(_)));
        let (work, shown, why) = match wanted {
            Wanted::Unchanged => return true,
            Wanted::Gone(why) if !self.touched => {
                return self.is_not_there(format!("{path} is not kept: {why}"));
            }
            Wanted::There(text, answers) => {
                let work = tokio::task::spawn_blocking(move || place::replace(&spec, &text));
                (work, Some(answers), format!("{path} is written"))
            }
            Wanted::Gone(why) => {
                let work = tokio::task::spawn_blocking(move || place::remove(&spec));
                (work, None, format!("{path} is not kept: {why}"))
            }
        };
        let done = work.await.unwrap_or_else(|gave_up| {
            Err(PlaceError::Disk(self.spec.path.clone(), "kept", std::io::Error::other(gave_up)))
        });
        let said = done.as_ref().err().map_or(why, |error| format!("{error}; it is tried again"));
        match &done {
            Ok(()) if made => info!("{said}"),
            Ok(()) if said != self.said => warn!("{said}"),
            Err(_) if said != self.said => error!("{said}"),
            _ => {}
        }
        self.touched = made || done.is_err();
        if done.is_ok() {
            self.shown = shown;
        }
        self.said = said;
        done.is_ok()
    }

    /// Says why there is no file, once; there is nothing to remove.
    fn is_not_there(&mut self, why: String) -> bool {
        if why != self.said {
            warn!("{why}");
            self.said = why;
        }
        true
    }
}

/// What the file is to be, and when that may change by itself.
fn wanted(live: &Live, spec: &FileSpec, shown: Option<&[Bytes]>) -> (Wanted, Option<u64>) {
    let (mut answers, mut again, mut settles) = (Vec::new(), None::<u64>, false);
    for value in spec.content.values() {
        let name = &value.credential;
        match live.read(name.as_str()) {
            Ok(reading) => {
                again = [again, reading.look_again_ms].into_iter().flatten().min();
                answers.push(reading.answer);
            }
            Err(Unreadable::Settling { until_ms }) => {
                settles = true;
                again = [again, Some(until_ms)].into_iter().flatten().min();
            }
            // What is cut goes, also where another value of the file is being changed.
            Err(why) => return (Wanted::Gone(reason(name.as_str(), why)), None),
        }
    }
    if settles || shown.is_some_and(|shown| shown == answers) {
        return (Wanted::Unchanged, again);
    }
    match text(spec, &answers) {
        Ok(text) => (Wanted::There(text, answers), again),
        Err(why) => (Wanted::Gone(why), again),
    }
}

fn reason(name: &str, why: Unreadable) -> String {
    match why {
        Unreadable::Waiting => format!("nothing has come yet for {name}"),
        Unreadable::NotFound => format!("{name} is not given to this sidecar"),
        Unreadable::Stale => format!("{name} may no longer be served without word from the controller"),
        Unreadable::Revoked { .. } => format!("{name} is revoked"),
        Unreadable::Settling { .. } => format!("{name} is being changed"),
    }
}

/// What the file says, in a buffer that is wiped.
fn text(spec: &FileSpec, answers: &[Bytes]) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut values = Vec::with_capacity(answers.len());
    for (of, answer) in spec.content.values().zip(answers) {
        let value = value_in(answer, of.field.as_str());
        values.push(value.ok_or_else(|| format!("{} has no field {}", of.credential, of.field))?);
    }
    let lines = match &spec.content {
        FileContent::Value(_) => return values.pop().ok_or_else(|| "it names no value".to_owned()),
        FileContent::Env(lines) => lines,
    };
    let size = |(name, _): &(String, _), value: &Zeroizing<Vec<u8>>| name.len() + value.len() + 4;
    let room: usize = lines.iter().zip(&values).map(|(line, value)| size(line, value)).sum();
    // Of the right size from the start, so that no copy of a value is left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(OURS.len() + room));
    text.extend_from_slice(OURS.as_bytes());
    for ((name, _), value) in lines.iter().zip(&values) {
        let quote = quote(value).ok_or_else(|| {
            format!("the value of {name} has a quote or a line break, which readers of such files take differently: give it a file of its own with `value`")
        })?;
        for part in [name.as_bytes(), b"=", quote, value, quote, b"\n"] {
            text.extend_from_slice(part);
        }
    }
    Ok(text)
}

/// What goes around a value so that shells and readers of `.env` files take it as it is; `None`: nothing does for all of them.
fn quote(value: &[u8]) -> Option<&'static [u8]> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(byte);
    let text = std::str::from_utf8(value).ok()?;
    if !value.is_empty() && value.iter().all(plain) {
        return Some(b"");
    }
    (!text.contains(['\'', '\\']) && !text.contains(char::is_control)).then_some(b"'")
}
