//! What local processes do with a credential, as the store keeps it: written here, read by whoever decides by it.

use rekey_model::Version;
use serde::{Deserialize, Serialize};

/// A sidecar's report on one credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// By version.
    pub versions: Vec<VersionReport>,
    /// Local connections that read without reporting.
    pub silent: u32,
}

/// A sidecar's report on one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionReport {
    /// The version.
    pub version: Version,
    /// Processes that may still use it.
    pub processes: u32,
    /// Uses that the target accepted.
    pub accepted: u64,
    /// Uses that the target refused.
    pub refused: u64,
}

/// So many refused uses, without an accepted one, mean that a version does not work for a holder.
const REFUSED: u64 = 3;

impl UsageReport {
    /// Whether `version` is refused to the processes behind this holder: several tries, and none went well.
    pub fn refuses(&self, version: Version) -> bool {
        let of = |report: &&VersionReport| report.version == version;
        self.versions.iter().find(of).is_some_and(|r| r.accepted == 0 && r.refused >= REFUSED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_refused_when_nothing_went_well_more_than_once() {
        let report = |accepted, refused| UsageReport {
            versions: vec![VersionReport { version: Version::FIRST, processes: 1, accepted, refused }],
            silent: 0,
        };
        assert!(report(0, 3).refuses(Version::FIRST));
        assert!(!report(0, 2).refuses(Version::FIRST), "one flaky login is no evidence");
        assert!(!report(1, 9).refuses(Version::FIRST), "it works for somebody");
        assert!(!report(0, 9).refuses(Version::FIRST.next()));
    }

    #[test]
    fn a_report_reads_as_it_was_written() {
        let report = UsageReport {
            versions: vec![VersionReport { version: Version::FIRST, processes: 1, accepted: 2, refused: 3 }],
            silent: 4,
        };
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(serde_json::from_value::<UsageReport>(json).unwrap(), report);
    }
}
