//! What sidecars say, read once into our own words. Whatever does not fit ends the stream; nothing is guessed.

use std::collections::BTreeSet;

use rekey_model::{CredentialName, Generation, Handle, Incarnation, NameError, Order, SessionId, Version};
use rekey_proto::fleet as wire;

use super::usage::{UsageReport, VersionReport};

/// The most credentials one message may name.
const MOST_CREDENTIALS: usize = 4096;
/// The most versions one credential may name in one message.
const MOST_VERSIONS: usize = 1024;
/// The most characters of a text that is only shown.
const MOST_SHOWN: usize = 120;

/// Why a message ends the stream it came by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// No message, or one of a newer protocol.
    #[error("the message is empty or unknown")]
    Empty,
    /// The session is not 32 hexadecimal digits.
    #[error("the session is not 32 hexadecimal digits")]
    Session,
    /// Too many credentials or versions.
    #[error("the message names too many credentials or versions")]
    TooMany,
    /// One credential twice.
    #[error("the message names one credential twice")]
    Twice,
    /// A name that is none.
    #[error("the message names something that cannot be")]
    Name(#[source] NameError),
    /// Version 0 where a version is due.
    #[error("there is no version 0")]
    Version,
    /// A number beyond what a store can hold.
    #[error("a number is too large to be true")]
    Number,
}

/// A message from a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Up {
    /// Opens the session.
    Hello(Hello),
    /// Says what was swapped to.
    Ack(Ack),
    /// Refuses a change.
    Nack(Nack),
    /// Asks for a longer lease.
    Renew {
        /// Repeated in the grant.
        number: u64,
    },
    /// Says what local processes do.
    Usage(Vec<Usage>),
    /// Ends the session.
    Goodbye,
    /// Asks for a whole snapshot.
    Resync,
}

/// Who opens the session and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    /// The session.
    pub session: SessionId,
    /// The last generation that was live.
    pub generation: Generation,
    /// What it holds.
    pub held: Vec<Held>,
    /// The program, for display.
    pub software: String,
    /// The host, for display.
    pub host: String,
}

/// One credential that a sidecar holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// Its name.
    pub name: CredentialName,
    /// The store's life that it came from.
    pub incarnation: Incarnation,
    /// The order that it came with.
    pub order: Order,
    /// The version that is served.
    pub version: Option<Version>,
    /// What that version is called at the target.
    pub handle: Option<Handle>,
    /// Versions never to be served again.
    pub fenced: BTreeSet<Version>,
}

/// What was swapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ack {
    /// The generation that is live.
    pub generation: Generation,
    /// What it serves.
    pub credentials: Vec<Acknowledged>,
}

/// One credential in an [`Ack`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// Its name.
    pub name: CredentialName,
    /// The store's life.
    pub incarnation: Incarnation,
    /// The evidence.
    pub order: Order,
    /// The version now served.
    pub version: Option<Version>,
}

/// Why a change was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nack {
    /// The credential.
    pub name: CredentialName,
    /// The store's life.
    pub incarnation: Incarnation,
    /// The order that was refused.
    pub order: Order,
    /// Why.
    pub reason: String,
}

/// What local processes do with one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Usage {
    /// Its name.
    pub name: CredentialName,
    /// The order that was live when this was gathered.
    pub order: Order,
    /// What they do.
    pub report: UsageReport,
}

impl TryFrom<wire::Up> for Up {
    type Error = WireError;

    fn try_from(up: wire::Up) -> Result<Self, WireError> {
        use wire::up::Message as M;
        Ok(match up.message.ok_or(WireError::Empty)? {
            M::Hello(hello) => Self::Hello(read_hello(hello)?),
            M::Ack(ack) => Self::Ack(Ack {
                generation: Generation(stored(ack.generation)?),
                credentials: each_once(ack.credentials, |one| acknowledged(&one), |c| &c.name)?,
            }),
            M::Nack(nack) => Self::Nack(Nack {
                name: name(&nack.name)?,
                incarnation: Incarnation(stored(nack.incarnation)?),
                order: Order(stored(nack.order)?),
                reason: shown(&nack.reason),
            }),
            M::Renew(renew) => Self::Renew { number: renew.number },
            M::Usage(usage) => Self::Usage(each_once(usage.credentials, read_usage, |c| &c.name)?),
            M::Goodbye(_) => Self::Goodbye,
            M::Resync(wire::Resync {}) => Self::Resync,
        })
    }
}

fn read_hello(hello: wire::Hello) -> Result<Hello, WireError> {
    Ok(Hello {
        session: hello.session.parse().map_err(|_id| WireError::Session)?,
        generation: Generation(stored(hello.generation)?),
        held: each_once(hello.held, read_held, |held| &held.name)?,
        software: shown(&hello.software),
        host: shown(&hello.host),
    })
}

fn read_held(held: wire::Held) -> Result<Held, WireError> {
    if held.fenced.len() > MOST_VERSIONS {
        return Err(WireError::TooMany);
    }
    let handle = (!held.handle.is_empty()).then(|| held.handle.parse()).transpose();
    Ok(Held {
        name: name(&held.name)?,
        incarnation: Incarnation(stored(held.incarnation)?),
        order: Order(stored(held.order)?),
        version: Version::new(stored(held.version)?),
        handle: handle.map_err(WireError::Name)?,
        fenced: held.fenced.into_iter().map(version).collect::<Result<_, _>>()?,
    })
}

fn acknowledged(acknowledged: &wire::Acknowledged) -> Result<Acknowledged, WireError> {
    Ok(Acknowledged {
        name: name(&acknowledged.name)?,
        incarnation: Incarnation(stored(acknowledged.incarnation)?),
        order: Order(stored(acknowledged.order)?),
        version: Version::new(stored(acknowledged.version)?),
    })
}

fn read_usage(usage: wire::CredentialUsage) -> Result<Usage, WireError> {
    if usage.versions.len() > MOST_VERSIONS {
        return Err(WireError::TooMany);
    }
    let one = |v: wire::VersionUsage| {
        let version = version(v.version)?;
        Ok(VersionReport { version, processes: v.processes, accepted: v.accepted, refused: v.refused })
    };
    Ok(Usage {
        name: name(&usage.name)?,
        order: Order(stored(usage.order)?),
        report: UsageReport {
            versions: usage.versions.into_iter().map(one).collect::<Result<_, _>>()?,
            silent: usage.silent_processes,
        },
    })
}

/// A number that the store can hold. One that it cannot would fail the commit that many others share.
fn stored(number: u64) -> Result<u64, WireError> {
    if i64::try_from(number).is_ok() { Ok(number) } else { Err(WireError::Number) }
}

/// Reads a list in which every credential may stand once.
fn each_once<W, T>(
    list: Vec<W>,
    read: impl Fn(W) -> Result<T, WireError>,
    key: impl Fn(&T) -> &CredentialName,
) -> Result<Vec<T>, WireError> {
    if list.len() > MOST_CREDENTIALS {
        return Err(WireError::TooMany);
    }
    let all = list.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let names: BTreeSet<_> = all.iter().map(key).collect();
    if names.len() == all.len() { Ok(all) } else { Err(WireError::Twice) }
}

fn name(text: &str) -> Result<CredentialName, WireError> {
    text.parse().map_err(WireError::Name)
}

fn version(number: u64) -> Result<Version, WireError> {
    Version::new(number).ok_or(WireError::Version)
}

/// A text of a peer as it may be shown: short, and without what a terminal would act on.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(message: wire::up::Message) -> Result<Up, WireError> {
        wire::Up { message: Some(message) }.try_into()
    }

    fn ack_of(names: &[&str]) -> wire::up::Message {
        let one = |name: &&str| wire::Acknowledged { name: (*name).into(), order: 1, ..Default::default() };
        wire::up::Message::Ack(wire::Ack { generation: 1, credentials: names.iter().map(one).collect() })
    }

    #[test]
    fn a_number_that_no_store_can_hold_is_refused_before_it_meets_others() {
        let too_large = [
            wire::up::Message::Ack(wire::Ack { generation: u64::MAX, credentials: Vec::new() }),
            wire::up::Message::Nack(wire::Nack { name: "a".into(), order: u64::MAX, ..Default::default() }),
        ];
        for message in too_large {
            assert!(matches!(read(message), Err(WireError::Number)));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(Up::try_from(wire::Up { message: None }), Err(WireError::Empty));
        assert!(matches!(read(ack_of(&["../x"])), Err(WireError::Name(_))));
        assert_eq!(read(ack_of(&["a", "b", "a"])), Err(WireError::Twice));
        let many: Vec<String> = (0..=MOST_CREDENTIALS).map(|i| format!("c{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(read(ack_of(&many)), Err(WireError::TooMany));
        let hello = |session: &str| wire::Hello { session: session.into(), ..Default::default() };
        assert_eq!(read(wire::up::Message::Hello(hello("x"))), Err(WireError::Session));
        let usage = wire::CredentialUsage {
            name: "a".into(),
            versions: vec![wire::VersionUsage::default()],
            ..Default::default()
        };
        let usage = wire::up::Message::Usage(wire::Usage { credentials: vec![usage] });
        assert_eq!(read(usage), Err(WireError::Version));
    }

    #[test]
    fn texts_for_display_are_short_and_tame() {
        let hello = wire::Hello {
            session: "0".repeat(32),
            host: "\u{1b}[31mhost\n".into(),
            software: "s".repeat(10_000),
            ..Default::default()
        };
        let Ok(Up::Hello(hello)) = read(wire::up::Message::Hello(hello)) else { panic!("not a hello") };
        assert_eq!(hello.host, "[31mhost");
        assert_eq!(hello.software.len(), MOST_SHOWN);
    }
}
