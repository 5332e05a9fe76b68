//! How a command fails: what is wrong, what to do, and the exit code.

use std::fmt::{self, Write as _};

use rekey_proto::refusal::Refusal;
use serde::Serialize;
use tonic::{Code, Status};

use crate::cli::Format;
use crate::exit::Exit;
use crate::text::printable;

/// What every command comes to.
pub type Outcome<T = Exit> = Result<T, Failure>;

/// Why a command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What is wrong, and where.
    pub message: String,
    /// What to do; empty: the message says it.
    pub remedy: String,
    /// The controller's stable word for it; empty: it did not say one.
    pub reason: String,
}

impl Failure {
    /// A failure with what to do about it.
    pub fn new(exit: Exit, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: remedy.into(), reason: String::new() }
    }

    /// A failure of a local file or terminal.
    pub fn local(what: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(Exit::Failed, format!("{what}: {}", chain(error)), "")
    }

    /// What is printed to standard error.
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let shown = Shown {
                    exit_code: self.exit.number(),
                    kind: self.exit.word(),
                    reason: &self.reason,
                    message: &self.message,
                    remedy: &self.remedy,
                };
                serde_json::to_string(&ErrorDocument { error: shown }).unwrap_or_default() + "\n"
            }
            Format::Table => {
                let mut text = format!("rekeyctl: {}\n", lines(&self.message));
                if !self.remedy.is_empty() {
                    // Writing to a String cannot fail.
                    let _written = writeln!(text, "  {}", lines(&self.remedy));
                }
                text
            }
        }
    }
}

/// A message of several lines keeps them; whatever else could move the cursor is shown as text.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: Shown<'a>,
}

#[derive(Serialize)]
struct Shown<'a> {
    exit_code: u8,
    kind: &'static str,
    reason: &'a str,
    message: &'a str,
    remedy: &'a str,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let reason = Refusal::of(&status).map(|refusal| refusal.reason).unwrap_or_default();
        let message = match (status.message(), std::error::Error::source(&status)) {
            ("" | "transport error", Some(source)) => chain(source),
            ("", None) => format!("the controller said {:?}", status.code()),
            (said, _) => said.to_owned(),
        };
        // A refusal of ours says in its message what to do.
        let remedy = if reason.is_empty() { remedy(status.code()) } else { "" };
        Self { exit: Exit::of(status.code()), message, remedy: remedy.to_owned(), reason }
    }
}

/// What to do about a failure that did not come in the controller's own words.
#[expect(clippy::wildcard_enum_match_arm, reason = "for the others there is nothing to say in general")]
fn remedy(code: Code) -> &'static str {
    match code {
        Code::Unavailable => "is the controller running, and is this its address? (`rekeyctl context list`)",
        Code::DeadlineExceeded => "the controller did not answer in time; try --call-timeout 2m",
        Code::Unimplemented => "the controller is older than this rekeyctl: compare `rekeyctl version`",
        _ => "",
    }
}

/// An error with its causes, each once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_keeps_its_reason_and_its_words() {
        let status = Refusal::new("ROTATION_OPEN").into_status(Code::FailedPrecondition, "wait for 00ff");
        let failure = Failure::from(status);
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.text(Format::Table), "rekeyctl: wait for 00ff\n");
        let json: serde_json::Value = serde_json::from_str(&failure.text(Format::Json)).unwrap();
        assert_eq!(json["error"]["reason"], "ROTATION_OPEN");
        assert_eq!(json["error"]["exit_code"], 3);
        assert_eq!(json["error"]["kind"], "refused");
    }

    #[test]
    fn an_unreachable_controller_comes_with_advice() {
        let failure = Failure::from(Status::unavailable("connection refused"));
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.text(Format::Table).contains("is the controller running"));
    }

    #[test]
    fn what_a_controller_says_cannot_move_the_cursor() {
        let failure = Failure::from(Status::internal("a\u{1b}[2Jb"));
        assert!(!failure.text(Format::Table).contains('\u{1b}'));
    }
}
