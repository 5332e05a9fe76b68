//! Where answers go: standard output for the answer, standard error for progress and words to people.

use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::cli::Format;
use crate::failure::{Failure, Outcome};
use crate::time;

/// Something that can be shown to people and to programs.
pub trait View: Serialize {
    /// For people.
    fn text(&self, style: Style) -> String;
}

/// How text for people may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Only text.
    Plain,
    /// With colours.
    Coloured,
}

/// Where answers go.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// For people or for programs.
    pub format: Format,
    style: Style,
    /// Whether progress can be redrawn in place.
    live: bool,
}

impl Output {
    /// The process's own. Colours only on a terminal and without `NO_COLOR`.
    pub fn of_process(format: Format) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let style = if wanted && io::stdout().is_terminal() { Style::Coloured } else { Style::Plain };
        Self { format, style, live: wanted && io::stderr().is_terminal() }
    }

    /// Whether progress can be redrawn in place.
    pub fn is_live(self) -> bool {
        self.live
    }

    /// Shows the answer.
    pub fn show<V: View>(self, view: &V) -> Outcome<()> {
        match self.format {
            Format::Table => answer(&view.text(self.style)),
            Format::Json => {
                let text = document(view).and_then(|document| serde_json::to_string_pretty(&document));
                answer(&(text.map_err(unwritten)? + "\n"))
            }
        }
    }

    /// Shows one answer of several: in JSON, one line.
    pub fn show_line<V: View>(self, view: &V) -> Outcome<()> {
        match self.format {
            Format::Table => self.show(view),
            Format::Json => {
                let text = document(view).and_then(|document| serde_json::to_string(&document));
                answer(&(text.map_err(unwritten)? + "\n"))
            }
        }
    }
}

/// The documented JSON of an answer.
fn document<V: View>(view: &V) -> serde_json::Result<serde_json::Value> {
    let mut document = serde_json::to_value(view)?;
    time::spread(&mut document);
    Ok(document)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn unwritten(error: serde_json::Error) -> Failure {
    Failure::local("cannot write the answer", &error)
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no failure.
pub fn answer(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| Failure::local("cannot write to standard output", &error)),
    }
}

/// Says something to people, on standard error. If nobody can hear it, so be it.
pub fn say(text: &str) {
    let _heard = writeln!(io::stderr().lock(), "{text}");
}

/// Colours of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Needs somebody.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Style {
    /// `text` in the colour of `tone`.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31;1",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}
