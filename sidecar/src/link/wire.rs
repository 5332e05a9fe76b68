//! Wire to words and back: `rekey.fleet.v1` ends here.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use rekey_model::{CredentialName, Incarnation, NameError, Order, SecretBytes, SessionId, Version};
use rekey_proto::fleet::serving::Offline as WireOffline;
use rekey_proto::fleet::up::Message;
use rekey_proto::fleet::{
    Accepted as WireAccepted, Ack, Acknowledged, Change, CredentialUsage as WireUsage, Held, Hello, Nack,
    Serving, Up, Usage, VersionData, VersionUsage as WireVersionUsage,
};

use crate::live::{
    Accepted, Candidate, HeldCredential, Mark, Offer, OfferedNext, OfferedVersion, Offline, Refusal, Swap,
    SwappedTo, Writer,
};
use crate::usage::CredentialUsage;

/// How many credentials one message up speaks of: with the longest names it stays within 256 KiB.
const AT_ONCE: usize = 512;

/// A change whose credential has no name that could be held.
#[derive(Debug)]
pub(super) struct Nameless {
    pub(super) nack: Up,
    pub(super) why: NameError,
}

/// Everything about a change that can be believed without a check. Secrets are owned and wiped from here on.
pub(super) fn candidate(change: Change) -> Result<Candidate, Box<Nameless>> {
    let mark = Mark { incarnation: Incarnation(change.incarnation), order: Order(change.order) };
    let cut = (change.next, change.readers_wait_ms);
    let offer = match change.current.map(|data| offered(data, change.previous, change.serving, cut)) {
        Some(offered) if !change.withdrawn => Offer::Current(offered),
        Some(_) => Offer::Withdrawn,
        None if change.withdrawn => Offer::Withdrawn,
        None => Offer::Nothing,
    };
    match change.name.parse::<CredentialName>() {
        Ok(name) => Ok(Candidate {
            name,
            mark,
            offer,
            fenced: change.fenced.into_iter().filter_map(Version::new).collect(),
            replacement_owed: change.replacement_owed,
        }),
        Err(why) => {
            let name: String = change.name.chars().take(128).collect();
            let nack = up(Message::Nack(nack(name, mark, why.to_string())));
            Err(Box::new(Nameless { nack, why }))
        }
    }
}

fn offered(
    data: VersionData,
    previous: Vec<rekey_proto::fleet::Previous>,
    serving: Option<Serving>,
    (next, readers_wait_ms): (Option<VersionData>, Option<u64>),
) -> OfferedVersion {
    OfferedVersion {
        version: data.version,
        handle: data.handle,
        fields: values(data.fields),
        next: next.map(|next| OfferedNext { version: next.version, fields: values(next.fields) }),
        one_at_a_time: serving.as_ref().is_some_and(|serving| serving.one_at_a_time),
        readers_wait: readers_wait_ms.map(Duration::from_millis),
        expires_in: data.expires_in_ms.map(Duration::from_millis),
        previous: previous.into_iter().map(|p| (p.version, Duration::from_millis(p.accept_for_ms))).collect(),
        offline: serving.and_then(|serving| offline(&serving)),
    }
}

fn values(fields: HashMap<String, Vec<u8>>) -> Vec<(String, SecretBytes)> {
    fields.into_iter().map(|(name, value)| (name, SecretBytes::new(value))).collect()
}

/// What a lease says about versions in their grace; what does not read is left out.
pub(super) fn accepted(said: Vec<WireAccepted>) -> Vec<Accepted> {
    let one = |said: WireAccepted| {
        let mark = Mark { incarnation: Incarnation(said.incarnation), order: Order(said.order) };
        let lasts = |p: rekey_proto::fleet::Previous| {
            Version::new(p.version).map(|version| (version, Duration::from_millis(p.accept_for_ms)))
        };
        let previous = said.previous.into_iter().filter_map(lasts).collect();
        Some(Accepted { name: said.name.parse().ok()?, mark, previous })
    };
    said.into_iter().filter_map(one).collect()
}

fn offline(serving: &Serving) -> Option<Offline> {
    match serving.offline() {
        WireOffline::Unspecified => None,
        WireOffline::ServeUntilExpiry => {
            Some(Offline::UntilExpiry(serving.offline_for_ms.map(Duration::from_millis)))
        }
        WireOffline::FailClosed => Some(Offline::FailClosed),
    }
}

pub(super) fn up(message: Message) -> Up {
    Up { message: Some(message) }
}

pub(super) fn hello(session: SessionId, writer: &Writer) -> Up {
    up(Message::Hello(Hello {
        session: session.to_string(),
        generation: writer.generation().0,
        cached: false,
        held: writer.held().into_iter().map(held).collect(),
        software: concat!("rekey-sidecar/", env!("CARGO_PKG_VERSION")).to_owned(),
        host: host(),
    }))
}

/// The host's name, for display; empty where the kernel does not tell it.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().take(255).collect()
}

fn held(held: HeldCredential) -> Held {
    let (version, handle) =
        held.serves.map_or((0, String::new()), |(version, handle)| (version.get(), handle.to_string()));
    Held {
        name: held.name.to_string(),
        incarnation: held.mark.incarnation.0,
        order: held.mark.order.0,
        version,
        handle,
        fenced: numbers(&held.fenced),
    }
}

fn numbers(versions: &BTreeSet<Version>) -> Vec<u64> {
    versions.iter().map(|version| version.get()).collect()
}

/// What to say about a swap: one ack, or a few for a large one, then what was refused.
pub(super) fn outcome(swap: &Swap) -> Vec<Up> {
    let ack = |taken: &[SwappedTo]| {
        let credentials = taken.iter().map(acknowledged).collect();
        up(Message::Ack(Ack { generation: swap.generation.0, credentials }))
    };
    let mut ups: Vec<Up> = swap.taken.chunks(AT_ONCE).map(ack).collect();
    if ups.is_empty() && swap.refused.is_empty() {
        ups.push(ack(&[]));
    }
    ups.extend(swap.refused.iter().map(refused));
    ups
}

fn acknowledged(taken: &SwappedTo) -> Acknowledged {
    Acknowledged {
        name: taken.name.to_string(),
        incarnation: taken.mark.incarnation.0,
        order: taken.mark.order.0,
        version: taken.version.map_or(0, Version::get),
    }
}

fn refused(refusal: &Refusal) -> Up {
    let reason = refusal.defect.to_string();
    up(Message::Nack(nack(refusal.name.to_string(), refusal.mark, reason)))
}

fn nack(name: String, mark: Mark, reason: String) -> Nack {
    Nack { name, incarnation: mark.incarnation.0, order: mark.order.0, reason }
}

pub(super) fn usage(all: &[CredentialUsage]) -> Vec<Up> {
    let one = |usage: &CredentialUsage| WireUsage {
        name: usage.name.to_string(),
        order: usage.order.0,
        versions: usage
            .versions
            .iter()
            .map(|(version, seen)| WireVersionUsage {
                version: version.get(),
                processes: seen.processes,
                accepted: seen.accepted,
                refused: seen.refused,
            })
            .collect(),
        silent_processes: usage.silent,
    };
    let message =
        |part: &[CredentialUsage]| up(Message::Usage(Usage { credentials: part.iter().map(one).collect() }));
    all.chunks(AT_ONCE).map(message).collect()
}
