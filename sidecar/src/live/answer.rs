//! The ready-made answer of one credential: encoded once when it is published, wiped when its last reader is done.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use prost_types::Timestamp;
use rekey_model::{CredentialName, Fields, Generation, Moment, Version};
use rekey_proto::encoded;
use zeroize::{Zeroize, Zeroizing};

use super::candidate::CheckedVersion;

/// An encoded `rekey.v1.Credential` in one buffer.
pub(super) fn encode(
    name: &CredentialName,
    v: &CheckedVersion,
    generation: Generation,
    now: Moment,
) -> Bytes {
    message(name, v, generation, now).buffer()
}

/// The same, for when nobody can say whether the target takes this version or the one after it.
pub(super) fn encode_unsettled(
    name: &CredentialName,
    v: &CheckedVersion,
    generation: Generation,
    now: Moment,
) -> Bytes {
    let mut message = message(name, v, generation, now);
    message.0.unsettled = true;
    if let Some(next) = &v.next {
        let next = Wiped(encoded::Credential {
            name: name.as_str().to_owned(),
            version: next.version.get(),
            stage: encoded::Stage::Next.into(),
            fields: values(&next.fields),
            generation: generation.0,
            one_at_a_time: true,
            ..encoded::Credential::default()
        });
        message.0.next.extend_from_slice(&next.buffer());
    }
    message.buffer()
}

fn values(fields: &Fields) -> HashMap<String, Vec<u8>> {
    fields.iter().map(|(name, value)| (name.to_string(), value.expose().to_vec())).collect()
}

fn message(name: &CredentialName, v: &CheckedVersion, generation: Generation, now: Moment) -> Wiped {
    let mut message = Wiped(encoded::Credential {
        name: name.as_str().to_owned(),
        version: v.version.get(),
        stage: encoded::Stage::Current.into(),
        fields: values(&v.fields),
        generation: generation.0,
        not_after: v.expires_in.map(|span| after(now, span)),
        one_at_a_time: v.one_at_a_time,
        ..encoded::Credential::default()
    });
    message.0.previous.extend(v.previous.iter().map(|(version, accept_for)| encoded::PreviousVersion {
        version: version.get(),
        accept_until: Some(after(now, *accept_for)),
    }));
    message
}

/// The same answer without the `previous` versions that `keep` refuses.
pub(super) fn without_previous(answer: &Bytes, keep: impl Fn(Version) -> bool) -> Option<Bytes> {
    with_previous(answer, |all| {
        all.retain(|previous| Version::new(previous.version).is_some_and(&keep));
    })
}

/// The same answer, in which `previous` versions are accepted for as long as `said` from now.
pub(super) fn prolonged(answer: &Bytes, said: &[(Version, Duration)], now: Moment) -> Option<Bytes> {
    with_previous(answer, |all| {
        for previous in all {
            let again = said.iter().find(|(version, _)| version.get() == previous.version);
            previous.accept_until = again.map(|(_, span)| after(now, *span)).or(previous.accept_until);
        }
    })
}

fn with_previous(answer: &Bytes, change: impl FnOnce(&mut Vec<encoded::PreviousVersion>)) -> Option<Bytes> {
    let mut message = Wiped(encoded::Credential::decode(answer.clone()).ok()?);
    change(&mut message.0.previous);
    Some(message.buffer())
}

/// The value of one field of `answer`, if it has it.
pub(crate) fn value_in(answer: &Bytes, field: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut message = Wiped(encoded::Credential::decode(answer.clone()).ok()?);
    message.0.fields.remove(field).map(Zeroizing::new)
}

/// Which version `answer` is of.
pub(crate) fn version_in(answer: &Bytes) -> Option<Version> {
    Version::new(encoded::Credential::decode(answer.clone()).ok().map(Wiped)?.0.version)
}

/// Whether `answer` has exactly the values of `version`, in time that depends on their lengths.
pub(super) fn same_values(answer: &Bytes, version: &CheckedVersion) -> bool {
    let Ok(message) = encoded::Credential::decode(answer.clone()).map(Wiped) else { return false };
    let fields: &HashMap<String, Vec<u8>> = &message.0.fields;
    fields.len() == version.fields.len()
        && version.fields.iter().all(|(name, value)| {
            fields.get(name.as_str()).is_some_and(|held| held.as_slice() == value.expose())
        })
}

fn after(now: Moment, span: Duration) -> Timestamp {
    let wall = now.wall_ms_after(span);
    let nanos = i32::try_from(wall.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    Timestamp { seconds: wall.div_euclid(1000), nanos }
}

/// A message whose values are wiped when it is dropped.
struct Wiped(encoded::Credential);

impl Wiped {
    fn buffer(&self) -> Bytes {
        let mut buffer = Zeroizing::new(Vec::with_capacity(self.0.encoded_len()));
        // The capacity is exact, so this cannot fail, and nothing is moved and left behind.
        if self.0.encode(&mut *buffer).is_err() {
            buffer.zeroize();
        }
        Bytes::from_owner(Buffer(buffer))
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fields.values_mut().for_each(Zeroize::zeroize);
        self.0.next.zeroize();
    }
}

/// Owns the bytes of an answer; the last clone that goes wipes them.
struct Buffer(Zeroizing<Vec<u8>>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
