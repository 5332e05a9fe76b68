//! `verify`: whether the current version works.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, Tone, View};
use crate::text::{count, printable, version};

/// Whether the current version works.
#[derive(Debug, Serialize)]
pub struct Verified {
    name: String,
    version: u64,
    handle: String,
    works: bool,
    probes: u32,
    why: String,
}

impl Verified {
    /// Whether it does.
    pub fn works(&self) -> bool {
        self.works
    }

    /// What the controller found.
    pub fn of(name: String, answer: wire::VerifyResponse) -> Self {
        let wire::VerifyResponse { version, handle, works, probes, why } = answer;
        Self { name, version, handle, works, probes, why }
    }
}

impl View for Verified {
    fn text(&self, style: Style) -> String {
        let subject =
            format!("{} {} ({})", printable(&self.name), version(self.version), printable(&self.handle));
        if self.works {
            let probes = count(self.probes.into(), "probe", "probes");
            return format!("{} {subject}: a fresh login, {probes}\n", style.paint(Tone::Good, "works"));
        }
        let next = format!("  -> rekeyctl rotate {}", printable(&self.name));
        format!("{} {subject}: {}\n{next}\n", style.paint(Tone::Bad, "does not work"), printable(&self.why))
    }
}
