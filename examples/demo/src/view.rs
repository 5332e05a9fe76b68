//! What the demo shows: a live picture on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use crate::tally::{Stats, Tally};

/// How many of the latest events the picture shows.
const EVENTS: usize = 12;

/// Everything that is shown.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// What the demo does now.
    pub(crate) act: String,
    /// Where the rotation under way stands.
    pub(crate) rotation: String,
    /// Rotations that are done.
    pub(crate) done: u32,
    /// Rotations that are wanted.
    pub(crate) wanted: u32,
    /// What happened, the latest last.
    events: Vec<String>,
}

/// Where it is shown.
#[derive(Debug)]
pub(crate) struct View {
    terminal: bool,
    printed: usize,
}

impl Picture {
    /// An empty picture of so many rotations to come.
    pub(crate) fn of(wanted: u32) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Notes what happened, `at` so long after the start.
    pub(crate) fn note(&mut self, at: Duration, what: &str) {
        self.events.push(format!("{:>6.1} s  {what}", at.as_secs_f64()));
    }

    fn paint(&self, elapsed: Duration, tally: &Tally) -> String {
        let mut text = String::new();
        let width = 30_usize;
        let filled = width * usize::try_from(self.done.min(self.wanted)).unwrap_or(0)
            / usize::try_from(self.wanted.max(1)).unwrap_or(1);
        _ = writeln!(text, "Rekey: a database password changes while everything keeps running\n");
        _ = writeln!(
            text,
            "  rotations [{}{}] {} of {}      {:.0} s",
            "█".repeat(filled),
            "·".repeat(width - filled),
            self.done,
            self.wanted,
            elapsed.as_secs_f64()
        );
        _ = writeln!(text, "  now       {}", self.act);
        _ = writeln!(text, "            {}\n", self.rotation);
        _ = writeln!(
            text,
            "  service     version  generation     logins    queries   failed   cut by revocation"
        );
        for (name, stats) in tally.services() {
            _ = writeln!(text, "  {}", line(name, stats));
        }
        let total = tally.total();
        _ = writeln!(text, "  {}\n", line("all", &total));
        for event in self.events.iter().rev().take(EVENTS).rev() {
            _ = writeln!(text, "  {event}");
        }
        text
    }
}

fn line(name: &str, stats: &Stats) -> String {
    let version = if stats.version == 0 { String::new() } else { format!("v{}", stats.version) };
    let generation = if stats.generation == 0 { String::new() } else { stats.generation.to_string() };
    format!(
        "{name:<10} {version:>8} {generation:>11} {:>10} {:>10} {:>8} {:>10}",
        stats.logins,
        stats.queries,
        stats.failed_logins + stats.failed_queries,
        stats.cut_by_revocation + stats.refused_by_revocation,
    )
}

impl View {
    /// A view on standard output: live on a terminal, lines elsewhere.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal() && std::env::var_os("CI").is_none();
        Self { terminal, printed: 0 }
    }

    /// Shows the picture as it is now.
    pub(crate) fn show(&mut self, picture: &Picture, elapsed: Duration, tally: &Tally) {
        let mut out = std::io::stdout().lock();
        let text = if self.terminal {
            // Home, the picture with each line's rest erased, then everything below erased.
            format!("\x1b[H{}\x1b[J", picture.paint(elapsed, tally).replace('\n', "\x1b[K\n"))
        } else {
            let new: Vec<&str> = picture.events.iter().skip(self.printed).map(String::as_str).collect();
            self.printed = picture.events.len();
            new.iter().fold(String::new(), |text, event| text + event + "\n")
        };
        // A closed terminal must not fail the demo: its result is the summary.
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    }

    /// Clears the terminal before the first picture.
    pub(crate) fn begin(&self) {
        if self.terminal {
            let mut out = std::io::stdout().lock();
            out.write_all(b"\x1b[2J").and_then(|()| out.flush()).ok();
        }
    }
}
