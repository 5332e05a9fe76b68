//! What goes down a stream, already in bytes: a change is encoded once and shared by all who get it.
//!
//! Protobuf lets a message be written in pieces, so what differs from stream to stream (the revision, the time that is
//! left of a grace) is a short tail behind the shared body. The shared body is wiped when the last stream has sent it.

use std::fmt;
use std::sync::Arc;

use prost::Message as _;
use prost::bytes::BufMut as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use rekey_proto::fleet::{Change, Down, Previous, Up, down};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};
use zeroize::{Zeroize, Zeroizing};

/// `Down.change`.
const CHANGE: u32 = 3;

/// One message down a stream.
#[derive(Debug)]
pub(super) enum Frame {
    /// A message without a secret.
    Plain(Box<Down>),
    /// A credential: the shared body, then what is this stream's own.
    Change(Arc<Body>, Vec<u8>),
}

/// The encoded part of a change that is the same for all who get it; wiped when dropped.
pub(super) struct Body(Zeroizing<Vec<u8>>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

impl Body {
    /// Encodes `change`, whose revision and previous versions must be empty, and wipes its values.
    pub(super) fn encode(mut change: Change) -> Self {
        // Exactly as long as needed: a buffer that grows would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(change.encoded_len()));
        change.encode_raw(&mut *bytes);
        for version in [change.current.as_mut(), change.next.as_mut()].into_iter().flatten() {
            version.fields.values_mut().for_each(Zeroize::zeroize);
        }
        Self(bytes)
    }

    /// How long it is.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

impl Frame {
    /// A message without a secret.
    pub(super) fn plain(message: down::Message) -> Self {
        Self::Plain(Box::new(Down { message: Some(message) }))
    }

    /// `body` with what is this stream's own.
    pub(super) fn change(body: Arc<Body>, revision: u64, (previous, more): (Vec<Previous>, bool)) -> Self {
        let tail = Change { revision, previous, more, ..Change::default() };
        Self::Change(body, tail.encode_to_vec())
    }

    fn write(&self, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match self {
            Self::Plain(down) => {
                down.encode(to).map_err(|_no_room| Status::internal("the answer could not be encoded"))
            }
            Self::Change(body, tail) => {
                let length = body.size() + tail.len();
                let size = u64::try_from(length).unwrap_or(u64::MAX);
                to.reserve(length + 1 + encoded_len_varint(size));
                encode_key(CHANGE, WireType::LengthDelimited, to);
                encode_varint(size, to);
                to.put_slice(&body.0);
                to.put_slice(tail);
                Ok(())
            }
        }
    }
}

/// Reads [`Up`] as usual and writes [`Frame`]s.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FrameCodec;

impl Codec for FrameCodec {
    type Encode = Frame;
    type Decode = Up;
    type Encoder = FrameEncoder;
    type Decoder = ProstDecoder<Up>;

    fn encoder(&mut self) -> FrameEncoder {
        FrameEncoder
    }

    fn decoder(&mut self) -> ProstDecoder<Up> {
        ProstCodec::<Down, Up>::default().decoder()
    }
}

/// Writes [`Frame`]s.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameEncoder;

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        frame.write(to)
    }
}

/// The message that a peer makes of `frame`; for tests.
#[cfg(test)]
pub(super) fn read_back(frame: &Frame) -> Down {
    match frame {
        Frame::Plain(down) => Down::clone(down),
        Frame::Change(body, tail) => {
            let bytes = [body.0.as_slice(), tail].concat();
            let change = Change::decode(bytes.as_slice()).expect("what we encode can be read");
            Down { message: Some(down::Message::Change(change)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rekey_proto::fleet::VersionData;

    use super::*;

    fn change() -> Change {
        Change {
            name: "orders/db".into(),
            incarnation: 1,
            order: 7,
            current: Some(VersionData {
                version: 3,
                handle: "orders_app_v3_x".into(),
                fields: HashMap::from([("password".into(), b"marker".to_vec())]),
                expires_in_ms: None,
            }),
            fenced: vec![1, 2],
            ..Change::default()
        }
    }

    #[test]
    fn body_and_tail_together_are_the_whole_change() {
        let previous = vec![Previous { version: 2, accept_for_ms: 5000 }];
        let whole = Change { revision: 9, previous: previous.clone(), ..change() };
        let frame = Frame::change(Arc::new(Body::encode(change())), 9, (previous, false));
        assert_eq!(read_back(&frame).message, Some(down::Message::Change(whole)));
    }

    #[test]
    fn debug_shows_no_secret() {
        let frame = Frame::change(Arc::new(Body::encode(change())), 9, (vec![], true));
        let shown = format!("{frame:?}");
        assert!(!shown.contains("marker") && !shown.contains("109"), "{shown}");
    }
}
