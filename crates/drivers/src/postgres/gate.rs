//! What a server may ask for before it has shown that it knows the password too.
//!
//! The client library answers requests for the password in clear text or as MD5, and takes "you are in" without any
//! proof. This gate stands between it and the (decrypted) stream, reads the server's messages until the login is over,
//! and breaks off at anything but SCRAM before an answer is sent. A server that checks nothing (`trust`) is refused too:
//! a login there proves nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// The longest message before the login is over.
const LONGEST: usize = 64 * 1024;

/// What a server asked for, and does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the server asks for the password in clear text; it must be set up for scram-sha-256")]
    Cleartext,
    #[error("the server asks for an MD5 answer; it must be set up for scram-sha-256")]
    Md5,
    #[error("the server lets anybody in without a password; it must be set up for scram-sha-256")]
    Nothing,
    #[error("the server asks for another kind of login; it must be set up for scram-sha-256")]
    Other,
    #[error("this is not what a PostgreSQL server says at a login")]
    Noise,
}

/// A stream whose server is watched until the login is over.
#[derive(Debug)]
pub(super) struct Gate<S> {
    stream: S,
    watch: Watch,
}

impl<S> Gate<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, watch: Watch::default() }
    }
}

/// Reads the server's messages as they come in pieces of any size.
#[derive(Debug, Default)]
struct Watch {
    /// The beginning of the current message: kind, length and, in a login message, its code.
    head: Vec<u8>,
    /// Bytes of the current message still to come.
    skip: usize,
    proven: bool,
    open: bool,
}

impl Watch {
    fn see(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        for &byte in bytes {
            if self.open {
                break;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.head.push(byte);
            self.judge()?;
        }
        Ok(())
    }

    /// Judges the message as soon as enough of it is here.
    fn judge(&mut self) -> Result<(), Refusal> {
        let &[kind, a, b, c, d, ref code @ ..] = self.head.as_slice() else { return Ok(()) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_too_long| Refusal::Noise)?;
        let body = length.checked_sub(4).filter(|&body| body <= LONGEST).ok_or(Refusal::Noise)?;
        match (kind, code) {
            (b'R', &[a, b, c, d]) => {
                let rest = body.checked_sub(4).ok_or(Refusal::Noise)?;
                self.login(u32::from_be_bytes([a, b, c, d]))?;
                self.next(rest);
            }
            (b'R', _) => {}
            // An error, a notice, a word about the protocol's version.
            (b'E' | b'N' | b'v', _) => self.next(body),
            _ => return Err(Refusal::Noise),
        }
        Ok(())
    }

    fn next(&mut self, skip: usize) {
        self.head.clear();
        self.skip = skip;
    }

    fn login(&mut self, code: u32) -> Result<(), Refusal> {
        match code {
            0 if self.proven => self.open = true,
            0 => return Err(Refusal::Nothing),
            3 => return Err(Refusal::Cleartext),
            5 => return Err(Refusal::Md5),
            10 | 11 => {}
            // The server's own proof, which the client library verifies.
            12 => self.proven = true,
            _ => return Err(Refusal::Other),
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let polled = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = polled
            && let Err(refusal) = this.watch.see(buf.filled().get(before..).unwrap_or_default())
        {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refusal)));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Gate<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.stream.channel_binding()
    }
}

/// TLS with a gate inside it.
#[derive(Debug)]
pub(super) struct Gated<C>(pub(super) C);

impl<S, C> TlsConnect<S> for Gated<C>
where
    C: TlsConnect<S>,
    C::Future: Send + 'static,
{
    type Stream = Gate<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let handshake = self.0.connect(stream);
        Box::pin(async move { handshake.await.map(Gate::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], length.to_be_bytes().as_slice(), body].concat()
    }

    fn login(code: u32, rest: &[u8]) -> Vec<u8> {
        message(b'R', &[code.to_be_bytes().as_slice(), rest].concat())
    }

    fn seen(bytes: &[u8], piece: usize) -> Result<bool, Refusal> {
        let mut watch = Watch::default();
        for piece in bytes.chunks(piece) {
            watch.see(piece)?;
        }
        Ok(watch.open)
    }

    #[test]
    fn scram_passes_in_pieces_of_any_size_and_what_follows_is_not_read() {
        let bytes = [
            message(b'N', b"SNOTICE\0\0"),
            login(10, b"SCRAM-SHA-256\0\0"),
            login(11, b"r=nonce,s=c2FsdA==,i=4096"),
            login(12, b"v=cHJvb2Y="),
            login(0, b""),
            vec![0xff; 100],
        ]
        .concat();
        for piece in 1..bytes.len() {
            assert_eq!(seen(&bytes, piece), Ok(true), "pieces of {piece}");
        }
    }

    #[test]
    fn every_other_login_is_refused() {
        for (bytes, refusal) in [
            (login(3, b""), Refusal::Cleartext),
            (login(5, b"salt"), Refusal::Md5),
            (login(0, b""), Refusal::Nothing),
            ([login(10, b"SCRAM-SHA-256\0\0"), login(0, b"")].concat(), Refusal::Nothing),
            ([login(10, b"SCRAM-SHA-256\0\0"), login(11, b"r="), login(3, b"")].concat(), Refusal::Cleartext),
            (login(7, b""), Refusal::Other),
            (login(2, b""), Refusal::Other),
            (message(b'Z', b"I"), Refusal::Noise),
            (message(b'R', b"\0\0"), Refusal::Noise),
            (vec![b'R', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 10], Refusal::Noise),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), Refusal::Noise),
        ] {
            assert_eq!(seen(&[bytes.clone(), vec![0; 16]].concat(), 1), Err(refusal), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_open_it_without_a_proof(bytes in proptest::collection::vec(0_u8..14, 0..200)) {
            let _opened_or_refused = seen(&bytes, 7);
            let with_heads: Vec<u8> = bytes.iter().flat_map(|&b| login(u32::from(b), b"")).collect();
            if seen(&with_heads, 5) == Ok(true) {
                proptest::prop_assert!(bytes.contains(&12));
            }
        }
    }
}
