//! As much of AMQP 0-9-1 as a login takes: open a connection to a virtual host, and close it.

use std::io;

use rekey_model::SecretBytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::answer::Failed;
use crate::fault::one_line;
use crate::http::{Http, Wire};

/// The most bytes of a frame before its size is agreed on, and more than any of these has.
const LARGEST: usize = 128 * 1024;
/// Frames: a method, a heartbeat; and how each ends.
const METHOD: u8 = 1;
const HEARTBEAT: u8 = 8;
const END: u8 = 0xCE;
/// The class of connections.
const CONNECTION: u16 = 10;
const START: u16 = 10;
const START_OK: u16 = 11;
const TUNE: u16 = 30;
const TUNE_OK: u16 = 31;
const OPEN: u16 = 40;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;
const CLOSE_OK: u16 = 51;

/// Who logs in, and where.
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a SecretBytes,
    pub(super) vhost: &'a str,
}

/// Logs in over `route`, opens the virtual host, and leaves again.
pub(super) async fn log_in(route: &Http, login: &Login<'_>) -> Result<(), Failed> {
    let mut wire = route.open().await?;
    let late = |_elapsed| Err(Failed::Away(format!("no login after {:?}", route.request)));
    timeout(route.request, greet(&mut wire, login)).await.unwrap_or_else(late)
}

async fn greet(wire: &mut Box<dyn Wire>, login: &Login<'_>) -> Result<(), Failed> {
    send(wire, b"AMQP\x00\x00\x09\x01").await?;
    expect(wire, START).await?;
    // A refusal is told, and not shown by closing the connection after a while.
    let told = [short("authentication_failure_close"), b"t\x01".to_vec()].concat();
    let capabilities = [short("capabilities"), b"F".to_vec(), long(&told)].concat();
    let name = [short("connection_name"), b"S".to_vec(), long(b"rekey probe")].concat();
    let plain = Zeroizing::new([b"\0", login.user.as_bytes(), b"\0", login.password.expose()].concat());
    let plain = Zeroizing::new(long(&plain));
    let properties = long(&[capabilities, name].concat());
    let parts: [&[u8]; 4] = [&properties, &short("PLAIN"), &plain, &short("en_US")];
    let answer = Zeroizing::new(parts.concat());
    send(wire, &Zeroizing::new(method(START_OK, &answer))).await?;
    let limits = expect(wire, TUNE).await?;
    send(wire, &method(TUNE_OK, &limits)).await?;
    send(wire, &method(OPEN, &[short(login.vhost), vec![0, 0]].concat())).await?;
    expect(wire, OPEN_OK).await?;
    // 200, no words, and no method that it would be about.
    send(wire, &method(CLOSE, &[0, 200, 0, 0, 0, 0, 0])).await?;
    expect(wire, CLOSE_OK).await?;
    // The broker waits for our end of it before it ends its own, and lists the connection no more then.
    wire.shutdown().await.map_err(|error| broken(&error))?;
    let mut rest = [0; 64];
    while wire.read(&mut rest).await.is_ok_and(|count| count > 0) {}
    Ok(())
}

async fn send(wire: &mut Box<dyn Wire>, bytes: &[u8]) -> Result<(), Failed> {
    wire.write_all(bytes).await.map_err(|error| broken(&error))?;
    wire.flush().await.map_err(|error| broken(&error))
}

/// What follows the method that is wanted; a refusal is told.
async fn expect(wire: &mut Box<dyn Wire>, wanted: u16) -> Result<Vec<u8>, Failed> {
    loop {
        let (kind, payload) = frame(wire).await?;
        if kind == HEARTBEAT {
            continue;
        }
        let Some((&[a, b, c, d], rest)) = payload.split_first_chunk::<4>() else { return Err(noise()) };
        match (kind, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])) {
            (METHOD, CONNECTION, is) if is == wanted => return Ok(rest.to_vec()),
            (METHOD, CONNECTION, CLOSE) => return Err(refusal(rest)),
            _ => return Err(noise()),
        }
    }
}

async fn frame(wire: &mut Box<dyn Wire>) -> Result<(u8, Vec<u8>), Failed> {
    let mut head = [0; 7];
    wire.read_exact(&mut head).await.map_err(|error| broken(&error))?;
    let [kind, _, _, a, b, c, d] = head;
    let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    // A broker of another protocol answers with its own name for it.
    if !matches!(kind, METHOD | HEARTBEAT) || size > LARGEST {
        return Err(noise());
    }
    let mut payload = vec![0; size + 1];
    wire.read_exact(&mut payload).await.map_err(|error| broken(&error))?;
    if payload.pop() == Some(END) { Ok((kind, payload)) } else { Err(noise()) }
}

/// Why the broker closes: a code and words.
fn refusal(arguments: &[u8]) -> Failed {
    let Some((&[a, b, length], rest)) = arguments.split_first_chunk::<3>() else { return noise() };
    let words = rest.get(..usize::from(length)).unwrap_or(rest);
    let words = one_line(&String::from_utf8_lossy(words));
    match u16::from_be_bytes([a, b]) {
        // That a limit on connections is reached has the code of a right that is missing, and passes.
        403 | 530 if !words.contains("connection limit (") => Failed::no(words),
        _ => Failed::Away(words),
    }
}

fn method(number: u16, arguments: &[u8]) -> Vec<u8> {
    let size = u32::try_from(arguments.len() + 4).unwrap_or(u32::MAX);
    let head: [&[u8]; 3] = [&[METHOD, 0, 0], &size.to_be_bytes(), &CONNECTION.to_be_bytes()];
    [head.concat().as_slice(), &number.to_be_bytes(), arguments, &[END]].concat()
}

/// A text of at most 255 bytes.
fn short(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[length], text.get(..usize::from(length)).unwrap_or(text)].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [length.to_be_bytes().as_slice(), bytes].concat()
}

fn broken(error: &io::Error) -> Failed {
    Failed::Away(format!("the connection broke off: {error}"))
}

fn noise() -> Failed {
    Failed::no("the answer is none of AMQP 0-9-1: is this the broker's port?")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], wanted: u16) -> Result<Vec<u8>, Failed> {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        let mut ours: Box<dyn Wire> = Box::new(ours);
        expect(&mut ours, wanted).await
    }

    #[tokio::test]
    async fn what_is_wanted_is_told_from_a_refusal_and_from_noise() {
        assert_eq!(read(&method(OPEN_OK, b"x"), OPEN_OK).await, Ok(b"x".to_vec()));
        let heartbeat = [&[HEARTBEAT, 0, 0, 0, 0, 0, 0, END], method(TUNE, b"").as_slice()].concat();
        assert_eq!(read(&heartbeat, TUNE).await, Ok(Vec::new()));
        let close = |code: u16, words: &str| {
            let arguments = [code.to_be_bytes().as_slice(), &short(words), &[0, 0, 0, 0]].concat();
            method(CLOSE, &arguments)
        };
        for words in ["no", "access to vhost 'limits' refused"] {
            assert_eq!(read(&close(530, words), TUNE).await, Err(Failed::no(words)));
        }
        let passes = [(320, "shutdown"), (530, "connection limit (1) is reached")];
        for (code, words) in passes {
            assert_eq!(read(&close(code, words), TUNE).await, Err(Failed::Away(words.to_owned())));
        }
        let bad: [&[u8]; 4] = [
            b"AMQP\x00\x00\x09\x01",
            &[1, 0, 0, 255, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 1, 0, END],
            b"HTTP/1.1 400",
        ];
        for bytes in bad {
            assert_eq!(read(bytes, TUNE).await, Err(noise()), "{bytes:?}");
        }
        assert!(matches!(read(b"\x01\x00", TUNE).await, Err(Failed::Away(_))));
        assert!(matches!(refusal(&[1]), Failed::No { .. }));
        assert_eq!(refusal(&[1, 147, 200, b'x']), Failed::no("x"));
    }
}
