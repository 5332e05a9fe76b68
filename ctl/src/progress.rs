//! Tells how far something is: redrawn in place on a terminal, plain lines elsewhere. On standard error.

use std::io::{self, Write as _};

use crate::output::{Output, say};

/// Tells how far something is.
#[derive(Debug)]
pub(crate) struct Ticker {
    live: bool,
    last: String,
}

impl Ticker {
    /// Tells nothing yet.
    pub(crate) fn new(output: Output) -> Self {
        Self { live: output.is_live(), last: String::new() }
    }

    /// Tells `line`, if it says something new.
    pub(crate) fn tell(&mut self, line: &str) {
        if line == self.last {
            return;
        }
        line.clone_into(&mut self.last);
        if self.live {
            // If nobody can see it, so be it.
            let _drawn = write!(io::stderr().lock(), "\r\u{1b}[2K{}", cut(line, width()));
        } else {
            say(line);
        }
    }

    /// Leaves what was told last and goes to the next line.
    pub(crate) fn end(&mut self) {
        if self.live && !self.last.is_empty() {
            say("");
        }
        self.last.clear();
    }
}

/// What of `line` fits into `width` columns.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr()).map_or(80, |size| usize::from(size.ws_col)).max(20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_cut_with_a_mark() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
    }
}
