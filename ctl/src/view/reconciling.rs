//! What a restored controller waits for.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, View};
use crate::text::printable;

/// What a restored controller waits for before it does everything again.
#[derive(Debug, Serialize)]
pub struct Reconciling {
    /// Whether it only reconciles.
    reconciling: bool,
    because: Option<String>,
    heard: u32,
    silent: Vec<Silent>,
    silent_count: u32,
    silence_left_ms: u64,
    settle_left_ms: u64,
    hurried: bool,
}

#[derive(Debug, Serialize)]
struct Silent {
    instance: String,
    name: String,
}

impl Reconciling {
    /// What the controller said; none: it does everything as usual.
    pub fn of(wire: Option<wire::Reconciling>) -> Self {
        let reconciling = wire.is_some();
        let wire = wire.unwrap_or_default();
        let one = |silent: wire::SilentSidecar| Silent { instance: silent.instance, name: silent.name };
        Self {
            reconciling,
            because: reconciling.then_some(wire.because),
            heard: wire.heard,
            silent: wire.silent.into_iter().map(one).collect(),
            silent_count: wire.silent_count,
            silence_left_ms: wire.silence_left_ms,
            settle_left_ms: wire.settle_left_ms,
            hurried: wire.hurried,
        }
    }
}

impl View for Reconciling {
    fn text(&self, _style: Style) -> String {
        let Some(because) = &self.because else {
            return "Nothing to reconcile: everything is done as usual.\n".to_owned();
        };
        let seconds = |ms: u64| ms.div_ceil(1000);
        let mut text = format!(
            "This store was restored: {}.\nUntil it is taken up again, only `rekeyctl revoke` changes anything.\n\n\
             heard     {} sidecars\nsilent    {}",
            printable(because),
            self.heard,
            self.silent_count
        );
        text += &match (self.silent_count, self.hurried) {
            (0, _) => "\n".to_owned(),
            (_, true) => ", no longer waited for\n".to_owned(),
            (_, false) => format!(", waited for {}s yet at the most\n", seconds(self.silence_left_ms)),
        };
        for silent in &self.silent {
            text += &format!("          {}  {}\n", printable(&silent.instance), printable(&silent.name));
        }
        if self.settle_left_ms > 0 {
            let left = seconds(self.settle_left_ms);
            text += &format!("targets   {left}s until no earlier call can land any more\n");
        }
        if self.silent_count > 0 && !self.hurried {
            text += "\nTo go on without them: rekeyctl reconcile --now --reason TEXT\n";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_who_is_waited_for_how_long_and_what_to_type() {
        let silent = wire::SilentSidecar { instance: "0a".to_owned(), name: "spiffe://a on h".to_owned() };
        let wire = wire::Reconciling {
            because: "it was restored from a copy".to_owned(),
            heard: 2,
            silent: vec![silent],
            silent_count: 1,
            silence_left_ms: 12_300,
            settle_left_ms: 900,
            hurried: false,
        };
        let text = Reconciling::of(Some(wire.clone())).text(Style::Plain);
        for part in
            ["restored from a copy", "2 sidecars", "13s", "spiffe://a on h", "1s until", "--now --reason"]
        {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        let hurried = Reconciling::of(Some(wire::Reconciling { hurried: true, ..wire })).text(Style::Plain);
        assert!(!hurried.contains("--now") && hurried.contains("no longer waited for"), "{hurried}");
        assert!(Reconciling::of(None).text(Style::Plain).starts_with("Nothing to reconcile"));
    }
}
