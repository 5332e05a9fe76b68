//! A revocation under way, and its receipt in words that a tired person understands.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, Tone, View};
use crate::text::{count, or_dash, printable};
use crate::time::{At, between};

/// How far a revocation is; the last one is the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Revocation {
    id: String,
    name: String,
    by: String,
    reason: String,
    versions: Vec<Cut>,
    holders: Vec<Fenced>,
    intent: Option<At>,
    cut: Option<At>,
    fenced: Option<At>,
    replaced: Option<At>,
    delivered: Option<At>,
    replacement: Option<u64>,
    left_to_do: Vec<String>,
    receipt: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Cut {
    version: u64,
    handle: String,
    cut: Option<At>,
    sessions_ended: u32,
    last_error: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Fenced {
    instance: String,
    spiffe_id: String,
    fenced: Option<At>,
    not_reached: bool,
}

impl From<wire::RevokeProgress> for Revocation {
    fn from(wire: wire::RevokeProgress) -> Self {
        let cut = |v: wire::RevokedVersion| Cut {
            version: v.version,
            handle: v.handle,
            cut: At::said(v.cut_ms),
            sessions_ended: v.sessions_ended,
            last_error: v.last_error,
        };
        let fenced = |h: wire::FencedHolder| Fenced {
            instance: h.instance,
            spiffe_id: h.spiffe_id,
            fenced: At::said(h.fenced_ms),
            not_reached: h.not_reached,
        };
        Self {
            id: wire.id,
            name: wire.name,
            by: wire.by,
            reason: wire.reason,
            versions: wire.versions.into_iter().map(cut).collect(),
            holders: wire.holders.into_iter().map(fenced).collect(),
            intent: At::said(wire.intent_ms),
            cut: At::said(wire.cut_ms),
            fenced: At::said(wire.fenced_ms),
            replaced: At::said(wire.replaced_ms),
            delivered: At::said(wire.delivered_ms),
            replacement: (wire.replacement != 0).then_some(wire.replacement),
            left_to_do: wire.left_to_do,
            receipt: wire.receipt,
        }
    }
}

impl Revocation {
    /// Whether this is the last word.
    pub fn is_receipt(&self) -> bool {
        self.receipt
    }

    /// Whether nothing is left to do, nobody was missed, and the key is dead.
    pub fn is_complete(&self) -> bool {
        self.receipt
            && self.left_to_do.is_empty()
            && self.cut.is_some()
            && self.holders.iter().all(|holder| holder.fenced.is_some())
    }

    /// One line for a log or for the foot of a terminal.
    pub fn line(&self) -> String {
        let cut = self.versions.iter().filter(|version| version.cut.is_some()).count();
        let mut parts = vec![
            format!("revoke {}", printable(&self.name)),
            format!("{cut} of {} cut at the target", self.versions.len()),
            self.sidecars(),
        ];
        match (self.replacement, self.replaced, self.delivered) {
            (Some(version), _, Some(_)) if self.holders.is_empty() => {
                parts.push(format!("replacement v{version} is made"));
            }
            (Some(version), _, Some(_)) => parts.push(format!("replacement v{version} is with everybody")),
            (Some(version), Some(_), None) => parts.push(format!("replacement v{version} is on its way")),
            (Some(version), None, None) => parts.push(format!("replacement v{version} is being made")),
            (None, ..) => {}
        }
        parts.extend(
            self.versions
                .iter()
                .filter(|v| !v.last_error.is_empty())
                .map(|v| format!("v{}: {}", v.version, printable(&v.last_error))),
        );
        parts.join(" | ")
    }

    fn sidecars(&self) -> String {
        match self.holders.len() {
            0 => "no sidecar held it".to_owned(),
            all => format!("{} of {all} sidecars confirmed", self.confirmed()),
        }
    }

    fn confirmed(&self) -> usize {
        self.holders.iter().filter(|holder| holder.fenced.is_some()).count()
    }

    /// How long after the intent something was so.
    fn after(&self, at: Option<At>) -> String {
        between(self.intent, at).map_or_else(String::new, |span| format!(" ({span} after the command)"))
    }

    fn headline(&self, style: Style) -> String {
        let name = printable(&self.name);
        match self.cut {
            Some(cut) if self.is_complete() => {
                let word = style.paint(Tone::Good, "REVOKED");
                format!("{word}  {name}: the key is dead since {cut}{}.\n", self.after(Some(cut)))
            }
            Some(cut) => {
                let word = style.paint(Tone::Busy, "REVOKED, NOT FINISHED");
                format!("{word}  {name}: the key is dead since {cut}{}.\n", self.after(Some(cut)))
            }
            None => {
                let word = style.paint(Tone::Bad, "NOT DEAD YET");
                format!("{word}  {name}: the target has not confirmed that it refuses the key.\n")
            }
        }
    }

    fn at_target(&self) -> String {
        let mut text = "\nAt the target\n".to_owned();
        if self.versions.is_empty() {
            text += "  no version was left to end\n";
        }
        for version in &self.versions {
            let name = format!("v{} ({})", version.version, or_dash(&version.handle));
            let sessions = count(version.sessions_ended.into(), "session", "sessions");
            text += &match version.cut {
                Some(at) => format!("  {name}: refused since {at}, {sessions} ended, none left\n"),
                None if version.last_error.is_empty() => format!("  {name}: not confirmed yet\n"),
                None => format!("  {name}: not confirmed yet: {}\n", printable(&version.last_error)),
            };
        }
        text
    }

    fn at_sidecars(&self, style: Style) -> String {
        if self.holders.is_empty() {
            return "\nSidecars: none held it\n".to_owned();
        }
        let mut text = format!("\nSidecars: {} of {} confirmed", self.confirmed(), self.holders.len());
        text += &self
            .fenced
            .filter(|_| self.confirmed() > 0)
            .map_or_else(String::new, |at| format!(", the last one at {at}{}", self.after(Some(at))));
        text.push('\n');
        for holder in &self.holders {
            let who = format!("{} ({})", printable(&holder.spiffe_id), printable(&holder.instance));
            text += &match (holder.fenced, holder.not_reached) {
                (Some(at), _) => format!("  {who}: stopped serving it at {at}\n"),
                (None, true) => format!("  {} {who}\n", style.paint(Tone::Bad, "NOT REACHED")),
                (None, false) => format!("  {who}: no answer yet\n"),
            };
        }
        if self.holders.iter().any(|holder| holder.fenced.is_none()) && self.cut.is_some() {
            text += "  One that was not reached may still hand it out, but the target no longer takes it.\n";
        }
        text
    }

    fn replacement(&self) -> String {
        let what = match (self.replacement, self.replaced, self.delivered) {
            (Some(v), Some(made), Some(_)) if self.holders.is_empty() => {
                format!("v{v}, in use since {made}; no sidecar was there to get it")
            }
            (Some(v), Some(made), Some(delivered)) => format!(
                "v{v}, in use since {made}; every connected sidecar had it at {delivered}{}",
                self.after(Some(delivered))
            ),
            (Some(v), Some(made), None) => format!("v{v}, in use since {made}; not every sidecar has it yet"),
            (Some(v), None, _) => format!("v{v} is being made"),
            (None, ..) => "none".to_owned(),
        };
        format!("\nReplacement: {what}\n")
    }
}

impl View for Revocation {
    fn text(&self, style: Style) -> String {
        let mut text = self.headline(style);
        text += &self.at_target();
        text += &self.at_sidecars(style);
        text += &self.replacement();
        text.push('\n');
        if self.left_to_do.is_empty() && self.is_complete() {
            text += "Nothing is left to do here. Find out how it leaked.\n";
        } else {
            text += &format!("{}\n", style.paint(Tone::Bad, "Left to do"));
            for what in &self.left_to_do {
                text += &format!("  - {}\n", printable(what));
            }
            if self.left_to_do.is_empty() {
                text += "  - type the same command again to see how far it is\n";
            }
        }
        text += &format!(
            "\nBy {}, because: {}\nReceipt {} (in the audit: `rekeyctl audit query --credential {}`)\n",
            or_dash(&self.by),
            or_dash(&self.reason),
            or_dash(&self.id),
            printable(&self.name)
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> wire::RevokeProgress {
        let holder = |n: u32, fenced_ms, not_reached| wire::FencedHolder {
            instance: format!("{n:032x}"),
            spiffe_id: format!("spiffe://rekey.local/sidecar/orders/{n}"),
            fenced_ms,
            not_reached,
        };
        wire::RevokeProgress {
            id: "0e".to_owned(),
            name: "orders/db".to_owned(),
            versions: vec![wire::RevokedVersion {
                version: 3,
                handle: "orders_app_v3_k2f9qd".to_owned(),
                cut_ms: 1_763_708_400_412,
                sessions_ended: 4,
                last_error: String::new(),
            }],
            holders: vec![holder(1, 1_763_708_400_350, false), holder(2, 1_763_708_400_380, false)],
            intent_ms: 1_763_708_400_000,
            cut_ms: 1_763_708_400_412,
            fenced_ms: 1_763_708_400_380,
            replaced_ms: 1_763_708_400_700,
            delivered_ms: 1_763_708_400_750,
            replacement: 4,
            left_to_do: Vec::new(),
            receipt: true,
            by: "alice".to_owned(),
            reason: "INC-42".to_owned(),
        }
    }

    #[test]
    fn the_receipt_says_it_in_plain_words() {
        let wanted = "\
REVOKED  orders/db: the key is dead since 2025-11-21T07:00:00.412Z (412 ms after the command).

At the target
  v3 (orders_app_v3_k2f9qd): refused since 2025-11-21T07:00:00.412Z, 4 sessions ended, none left

Sidecars: 2 of 2 confirmed, the last one at 2025-11-21T07:00:00.380Z (380 ms after the command)
  spiffe://rekey.local/sidecar/orders/1 (00000000000000000000000000000001): stopped serving it at 2025-11-21T07:00:00.350Z
  spiffe://rekey.local/sidecar/orders/2 (00000000000000000000000000000002): stopped serving it at 2025-11-21T07:00:00.380Z

Replacement: v4, in use since 2025-11-21T07:00:00.700Z; every connected sidecar had it at 2025-11-21T07:00:00.750Z (750 ms after the command)

Nothing is left to do here. Find out how it leaked.

By alice, because: INC-42
Receipt 0e (in the audit: `rekeyctl audit query --credential orders/db`)
";
        let receipt = Revocation::from(done());
        assert_eq!(receipt.text(Style::Plain), wanted);
        assert!(receipt.is_complete());
    }

    #[test]
    fn who_was_not_reached_stands_there_by_name() {
        let mut wire = done();
        wire.holders[1].fenced_ms = 0;
        wire.holders[1].not_reached = true;
        wire.fenced_ms = wire.holders[0].fenced_ms;
        wire.left_to_do = vec!["see to spiffe://rekey.local/sidecar/orders/2".to_owned()];
        let receipt = Revocation::from(wire);
        let text = receipt.text(Style::Plain);
        assert!(!receipt.is_complete());
        assert!(text.starts_with("REVOKED, NOT FINISHED  orders/db: the key is dead since"), "{text}");
        assert!(text.contains("Sidecars: 1 of 2 confirmed"), "{text}");
        assert!(text.contains("NOT REACHED spiffe://rekey.local/sidecar/orders/2"), "{text}");
        assert!(text.contains("Left to do\n  - see to spiffe://rekey.local/sidecar/orders/2\n"), "{text}");
    }

    #[test]
    fn a_receipt_claims_nothing_of_sidecars_that_were_not_there() {
        let mut wire = done();
        wire.holders.clear();
        let text = Revocation::from(wire).text(Style::Plain);
        assert!(text.contains("\nSidecars: none held it\n"), "{text}");
        assert!(text.contains("; no sidecar was there to get it\n") && !text.contains("every"), "{text}");
        let mut wire = done();
        for holder in &mut wire.holders {
            (holder.fenced_ms, holder.not_reached) = (0, true);
        }
        let text = Revocation::from(wire).text(Style::Plain);
        assert!(text.contains("\nSidecars: 0 of 2 confirmed\n"), "{text}");
    }

    #[test]
    fn a_key_that_may_live_is_never_called_dead() {
        let mut wire = done();
        wire.cut_ms = 0;
        wire.versions[0].cut_ms = 0;
        wire.versions[0].last_error = "the target is not available".to_owned();
        let receipt = Revocation::from(wire);
        let text = receipt.text(Style::Plain);
        assert!(!receipt.is_complete());
        assert!(text.starts_with("NOT DEAD YET  orders/db"), "{text}");
        assert!(!text.contains("dead since"), "{text}");
        assert!(text.contains("not confirmed yet: the target is not available"), "{text}");
        assert!(text.contains("Left to do"), "{text}");
    }
}
