//! `who`: sidecars and processes that hold a credential, sessions at the target that use it.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, Tone, View};
use crate::table::{columns, indented};
use crate::text::{or_dash, printable, version};
use crate::time::At;

/// Who holds a credential.
#[derive(Debug, Serialize)]
pub struct Who {
    holders: Vec<Holder>,
    sessions: Vec<Session>,
    sessions_unknown: String,
}

#[derive(Debug, Serialize)]
struct Holder {
    instance: String,
    spiffe_id: String,
    host: String,
    live: bool,
    counts: bool,
    version: Option<u64>,
    order: u64,
    last_contact: Option<At>,
    processes: Vec<Processes>,
    silent: u32,
}

#[derive(Debug, Serialize)]
struct Processes {
    version: u64,
    processes: u32,
    accepted: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Session {
    version: Option<u64>,
    client: String,
    application: String,
    since: Option<At>,
}

impl From<wire::WhoResponse> for Who {
    fn from(wire: wire::WhoResponse) -> Self {
        Self {
            holders: wire.holders.into_iter().map(Holder::of).collect(),
            sessions: wire.sessions.into_iter().map(Session::of).collect(),
            sessions_unknown: wire.sessions_unknown,
        }
    }
}

impl Holder {
    fn of(wire: wire::HolderStatus) -> Self {
        let processes = |p: wire::VersionProcesses| Processes {
            version: p.version,
            processes: p.processes,
            accepted: p.accepted,
            refused: p.refused,
        };
        Self {
            instance: wire.instance,
            spiffe_id: wire.spiffe_id,
            host: wire.host,
            live: wire.live,
            counts: wire.counts,
            version: (wire.version != 0).then_some(wire.version),
            order: wire.order,
            last_contact: At::said(wire.last_contact_ms),
            processes: wire.processes.into_iter().map(processes).collect(),
            silent: wire.silent,
        }
    }

    fn row(&self, style: Style) -> [String; 6] {
        let state = match (self.live, self.counts) {
            (true, _) => style.paint(Tone::Good, "live"),
            (false, true) => style.paint(Tone::Busy, "away, waited for"),
            (false, false) => style.paint(Tone::Faint, "away, not waited for"),
        };
        let silent = (self.silent > 0).then(|| format!("{} that read and never report", self.silent));
        let processes: Vec<String> = self
            .processes
            .iter()
            .map(|p| {
                format!("v{}: {} ({} accepted, {} refused)", p.version, p.processes, p.accepted, p.refused)
            })
            .chain(silent)
            .collect();
        [
            printable(&self.spiffe_id),
            printable(&self.instance),
            or_dash(&self.host),
            state,
            version(self.version.unwrap_or(0)),
            or_dash(&processes.join(", ")),
        ]
    }
}

impl Session {
    fn of(wire: wire::TargetSession) -> Self {
        Self {
            version: (wire.version != 0).then_some(wire.version),
            client: wire.client,
            application: wire.application,
            since: At::said(wire.since_ms),
        }
    }
}

impl View for Who {
    fn text(&self, style: Style) -> String {
        let mut text = format!("{}\n", style.paint(Tone::Strong, "Sidecars"));
        if self.holders.is_empty() {
            text += "  none holds it\n";
        } else {
            let head = ["SPIFFE ID", "INSTANCE", "HOST", "STATE", "SERVES", "PROCESSES"];
            text += &indented(&columns(head, self.holders.iter().map(|holder| holder.row(style))));
        }
        text += &format!("\n{}\n", style.paint(Tone::Strong, "Sessions at the target"));
        if !self.sessions_unknown.is_empty() {
            text += &format!("  not known: {}\n", printable(&self.sessions_unknown));
        } else if self.sessions.is_empty() {
            text += "  none\n";
        } else {
            let rows = self.sessions.iter().map(|session| {
                [
                    version(session.version.unwrap_or(0)),
                    or_dash(&session.client),
                    or_dash(&session.application),
                    session.since.map_or_else(|| "-".to_owned(), |at| at.to_string()),
                ]
            });
            text += &indented(&columns(["VERSION", "FROM", "APPLICATION", "SINCE"], rows));
        }
        text
    }
}
