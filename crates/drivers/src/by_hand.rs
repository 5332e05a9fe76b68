//! What a person does for a credential that only a person can make, in the words of its declaration.

use std::time::Duration;

use rekey_model::Version;

/// What a person does, and when it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByHand {
    /// What people call it at the provider.
    pub(crate) name: String,
    /// The page where it is made and deleted.
    pub page: String,
    pub(crate) steps: Vec<String>,
    pub(crate) delete: Vec<String>,
    /// How long before the due date people are told.
    pub notice: Duration,
    /// Whether the provider can be asked about a value; otherwise a person's word is all there is.
    pub proven: bool,
}

impl ByHand {
    /// What `version` is called at the provider: the person who makes it is told so.
    pub fn called(&self, version: Version) -> String {
        format!("{}_{version}", self.name)
    }

    /// What to do for a new version, one sentence each.
    pub fn steps(&self, version: Version) -> Vec<String> {
        let name = self.called(version);
        self.steps.iter().map(|step| step.replace("{name}", &name)).collect()
    }

    /// What to do about an old version that is called `old`, one sentence each.
    pub fn delete(&self, old: &str) -> Vec<String> {
        self.delete.iter().map(|step| step.replace("{old}", old)).collect()
    }
}

/// Whether a step has another word in braces than `known`, or a brace alone.
pub(crate) fn unknown_word(step: &str, known: &str) -> bool {
    step.replace(&format!("{{{known}}}"), "").contains(['{', '}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_told_the_names() {
        let by_hand = ByHand {
            name: "aos-clerk".to_owned(),
            page: "https://dashboard.clerk.com".to_owned(),
            steps: vec!["call it {name}".to_owned()],
            delete: vec!["delete {old}".to_owned()],
            notice: Duration::ZERO,
            proven: true,
        };
        let version = Version::new(3).unwrap();
        assert_eq!(by_hand.steps(version), ["call it aos-clerk_v3"]);
        assert_eq!(by_hand.delete("aos-clerk_v2"), ["delete aos-clerk_v2"]);
        assert!(!unknown_word("call it {name}, {name}", "name") && !unknown_word("none", "name"));
        for wrong in ["{old}", "{name", "name}", "{ name }", "{{name}}"] {
            assert!(unknown_word(wrong, "name"), "{wrong}");
        }
    }
}
