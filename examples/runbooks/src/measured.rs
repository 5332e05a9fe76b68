//! What a row has measured.

use serde_json::Value;

use crate::consumer::Used;

/// What came of a row that reached its end.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// What it ran on.
    pub target: String,
    /// In which version.
    pub version: String,
    /// Rotations that ended well, and replacements after an emergency.
    pub rotations: u32,
    /// How often consumers used the credential.
    pub uses: u64,
    /// What failed for consumers, and must not have.
    pub failures: Vec<String>,
    /// From the commit of each promotion to the last acknowledgement.
    pub propagation_ms: Vec<u64>,
    /// How the old version was ended, as the target itself shows it.
    pub ended: String,
    /// What else there is to say.
    pub notes: Vec<String>,
}

impl Measured {
    /// Nothing yet, of what runs on `target`.
    pub fn at(target: &str, version: impl Into<String>) -> Self {
        Self { target: target.to_owned(), version: version.into(), ..Self::default() }
    }

    /// Counts a rotation by what `rekeyctl rotate --wait` printed.
    pub fn rotated(&mut self, told: &Value) {
        self.rotations += 1;
        self.propagation_ms.extend(told.get("propagation_ms").and_then(Value::as_u64));
    }

    /// Takes over what a consumer has counted.
    pub(crate) fn used(&mut self, used: Used) {
        self.uses += used.uses;
        self.failures.extend(used.failures);
        if used.expected > 0 {
            self.note(format!("{} uses refused between the cut and the replacement", used.expected));
        }
    }

    /// Says how the old version ended.
    pub fn ended(&mut self, how: impl Into<String>) {
        self.ended = how.into();
    }

    /// Says something more.
    pub fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }
}
