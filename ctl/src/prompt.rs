//! Asks the person at the terminal: a secret without echo, or a word.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use rekey_model::SecretBytes;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};

/// The most bytes of a typed secret.
const LONGEST: usize = 4096;

/// Whether somebody can be asked.
pub(crate) fn somebody_is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a word on standard error and reads a line.
pub(crate) fn word(question: &str) -> Outcome<String> {
    let asked = || -> io::Result<String> {
        write!(io::stderr().lock(), "{question} ")?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    };
    asked().map_err(|error| Failure::local("cannot ask", &error))
}

/// Goes on if `yes` was typed, or if nobody is there to ask.
pub(crate) fn sure(yes: bool, question: &str) -> Outcome<()> {
    if yes || !somebody_is_there() || word(&format!("{question} Type yes:"))? == "yes" {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "given up; nothing was changed", ""))
}

/// Asks for a secret on the terminal, without echo.
pub(crate) fn secret(question: &str) -> Outcome<SecretBytes> {
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(|error| Failure::local("cannot open the terminal", &error))?;
    let asked = ask(&mut terminal, question);
    asked.map_err(|error| {
        if error.kind() == io::ErrorKind::Interrupted {
            Failure::new(Exit::Failed, "given up; nothing was sent", "")
        } else {
            Failure::local("cannot ask for what nobody may see", &error)
        }
    })
}

fn ask(terminal: &mut File, question: &str) -> io::Result<SecretBytes> {
    let silent = Silent::new(terminal.try_clone()?)?;
    write!(terminal, "{question} ")?;
    let mut typed = Typed::default();
    let end = loop {
        let mut byte = [0];
        if terminal.read(&mut byte)? == 0 {
            break Key::End;
        }
        let key = typed.take(byte[0]);
        if key != Key::More {
            break key;
        }
    };
    drop(silent);
    writeln!(terminal)?;
    match end {
        Key::GivenUp => Err(io::ErrorKind::Interrupted.into()),
        Key::TooMuch => Err(io::Error::other("it has at most 4096 bytes")),
        Key::More | Key::End => Ok(SecretBytes::new(typed.0)),
    }
}

/// What was typed so far. Room for all of it is there from the start, so that no copy is left behind by growing.
struct Typed(Vec<u8>);

impl Default for Typed {
    fn default() -> Self {
        Self(Vec::with_capacity(LONGEST))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    More,
    End,
    GivenUp,
    TooMuch,
}

impl Typed {
    fn take(&mut self, byte: u8) -> Key {
        match byte {
            b'\n' | b'\r' | 0x04 => return Key::End,
            0x03 => return Key::GivenUp,
            0x08 | 0x7f => self.back(),
            0x15 => self.0.clear(),
            _ if self.0.len() == LONGEST => return Key::TooMuch,
            _ => self.0.push(byte),
        }
        Key::More
    }

    /// Takes back one character, which in UTF-8 may be several bytes.
    fn back(&mut self) {
        while self.0.pop().is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000) {}
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // The terminal is gone if this fails, and nobody is left to tell.
        let _restored = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_can_be_corrected_and_given_up() {
        let mut typed = Typed::default();
        for byte in "pwä\u{7f}x".bytes() {
            assert_eq!(typed.take(byte), Key::More);
        }
        assert_eq!(typed.0, b"pwx");
        assert_eq!(typed.take(b'\r'), Key::End);
        assert_eq!(typed.take(0x15), Key::More);
        assert!(typed.0.is_empty());
        assert_eq!(typed.take(0x03), Key::GivenUp);
    }
}
