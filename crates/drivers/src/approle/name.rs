//! What a version is called, and what its metadata says.

use std::collections::HashMap;

use rekey_model::{Handle, Version};

use crate::Owner;

/// A version's name at the target, taken apart: our marker, and the accessor once OpenBao has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) marker: &'a str,
    pub(super) accessor: Option<&'a str>,
}

impl<'a> Name<'a> {
    pub(super) fn of(handle: &'a Handle) -> Self {
        match handle.as_str().split_once('#') {
            Some((marker, accessor)) => Self { marker, accessor: Some(accessor) },
            None => Self { marker: handle.as_str(), accessor: None },
        }
    }

    /// Whether what is marked `mark` and has `accessor` is meant. A marker alone means all that it marks.
    pub(super) fn means(self, mark: &Mark, accessor: &str) -> bool {
        mark.marker == self.marker && self.accessor.is_none_or(|mine| mine == accessor)
    }
}

/// What the metadata of a secret-id of ours says beside whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) version: Version,
    pub(super) marker: String,
}

impl Mark {
    /// The version's name at the target; none where the accessor can be in none.
    pub(super) fn handle(&self, accessor: &str) -> Option<Handle> {
        format!("{}#{accessor}", self.marker).parse().ok()
    }

    /// The metadata of a new secret-id.
    pub(super) fn written(owner: &Owner, version: Version, marker: &str) -> serde_json::Value {
        serde_json::json!({
            INSTALLATION: owner.installation,
            CREDENTIAL: owner.credential.as_str(),
            VERSION: version.get().to_string(),
            MARKER: marker,
        })
    }

    /// What the metadata says; none where it is not this credential's.
    pub(super) fn read(owner: &Owner, metadata: Option<&HashMap<String, String>>) -> Option<Self> {
        let says = |key: &str| metadata.and_then(|metadata| metadata.get(key)).map(String::as_str);
        let ours = says(INSTALLATION) == Some(&owner.installation)
            && says(CREDENTIAL) == Some(owner.credential.as_str());
        let version = says(VERSION)?.parse().ok().and_then(Version::new)?;
        ours.then_some(Self { version, marker: says(MARKER)?.to_owned() })
    }
}

const INSTALLATION: &str = "rekey_installation";
const CREDENTIAL: &str = "rekey_credential";
const VERSION: &str = "rekey_version";
const MARKER: &str = "rekey_marker";

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(installation: &str) -> Owner {
        Owner { installation: installation.into(), credential: "orders/api".parse().unwrap() }
    }

    #[test]
    fn a_mark_is_read_by_its_owner_alone() {
        let version = Version::new(3).unwrap();
        let written = Mark::written(&owner("home"), version, "orders_v3_a");
        let metadata: HashMap<String, String> = serde_json::from_value(written).unwrap();
        let mark = Mark::read(&owner("home"), Some(&metadata)).unwrap();
        assert_eq!(mark, Mark { version, marker: "orders_v3_a".into() });
        assert_eq!(Mark::read(&owner("other"), Some(&metadata)), None);
        assert_eq!(Mark::read(&owner("home"), None), None);
    }

    #[test]
    fn a_marker_alone_means_all_that_it_marks() {
        let mark = Mark { version: Version::FIRST, marker: "orders_v1_a".into() };
        let handle = mark.handle("11-22").unwrap();
        assert_eq!(handle.as_str(), "orders_v1_a#11-22");
        assert!(Name::of(&handle).means(&mark, "11-22") && !Name::of(&handle).means(&mark, "33"));
        let marker = "orders_v1_a".parse().unwrap();
        assert!(Name::of(&marker).means(&mark, "33"));
        let other = "orders_v1_b".parse().unwrap();
        assert!(!Name::of(&other).means(&mark, "33"));
    }
}
