//! `refresh`: who confirmed the latest, and whether it works.

use rekey_proto::admin as wire;
use serde::Serialize;

use super::Verified;
use crate::output::{Style, Tone, View};
use crate::table::columns;
use crate::text::printable;

/// What came of telling everybody anew.
#[derive(Debug, Serialize)]
pub struct Refreshed {
    name: String,
    holders: Vec<Holder>,
    verified: Option<Verified>,
    not_verified: String,
}

#[derive(Debug, Serialize)]
struct Holder {
    instance: String,
    name: String,
    live: bool,
    confirmed: bool,
}

impl Refreshed {
    /// What the controller said.
    pub fn of(name: String, answer: wire::RefreshResponse) -> Self {
        let holder = |it: wire::RefreshedHolder| Holder {
            instance: it.instance,
            name: it.name,
            live: it.live,
            confirmed: it.confirmed,
        };
        Self {
            holders: answer.holders.into_iter().map(holder).collect(),
            verified: answer.verified.map(|verified| Verified::of(name.clone(), verified)),
            not_verified: answer.not_verified,
            name,
        }
    }

    /// Whether everybody who is connected confirmed, and the current version works.
    pub fn is_well(&self) -> bool {
        let confirmed = self.holders.iter().all(|holder| holder.confirmed || !holder.live);
        confirmed && self.verified.as_ref().is_some_and(Verified::works)
    }
}

impl View for Refreshed {
    fn text(&self, style: Style) -> String {
        let rows = self.holders.iter().map(|holder| {
            let state = match (holder.confirmed, holder.live) {
                (true, _) => style.paint(Tone::Good, "serves the latest"),
                (false, true) => style.paint(Tone::Bad, "did not confirm in time"),
                (false, false) => style.paint(Tone::Busy, "away; told when it is back"),
            };
            [printable(&holder.name), printable(&holder.instance), state]
        });
        let mut text = columns(["HOLDER", "INSTANCE", "STATE"], rows);
        if self.holders.is_empty() {
            text = format!("{}: no sidecar holds it\n", printable(&self.name));
        }
        text += &match &self.verified {
            Some(verified) => verified.text(style),
            None => format!("{}: {}\n", style.paint(Tone::Bad, "not tried"), printable(&self.not_verified)),
        };
        text
    }
}
