//! What a connection may report: only on credentials that it may read, and on versions that it can have got here.

use std::collections::BTreeMap;

use rekey_model::Version;
use rekey_proto::encoded::{CredentialUse, ReportRequest};
use tonic::Status;

use super::Shared;
use crate::live::Entry;
use crate::usage::{Consumer, Report, Use};

/// How many credentials one report may speak of.
const MOST_CREDENTIALS: usize = 256;
/// How many versions of one credential it may speak of.
const MOST_VERSIONS: usize = 64;

/// The part of `request` that counts. What is not this connection's business is left out without a word, so that a
/// report tells nobody what exists.
pub(super) fn check(shared: &Shared, consumer: &Consumer, request: ReportRequest) -> Result<Report, Status> {
    if request.uses.len() > MOST_CREDENTIALS {
        return Err(Status::invalid_argument(format!("a report has at most {MOST_CREDENTIALS} credentials")));
    }
    let snapshot = shared.live.snapshot();
    let mut report = Report::new();
    for one in request.uses {
        if one.versions_in_use.len() > MOST_VERSIONS || one.outcomes.len() > MOST_VERSIONS {
            let most = format!("a report has at most {MOST_VERSIONS} versions of one credential");
            return Err(Status::invalid_argument(most));
        }
        let entry = snapshot.entry(&one.name).filter(|_| shared.may_read(consumer, &one.name));
        if let Some(entry) = entry {
            report.insert(entry.name.clone(), known_versions(entry, &one));
        }
    }
    Ok(report)
}

fn known_versions(entry: &Entry, one: &CredentialUse) -> BTreeMap<Version, Use> {
    let known = |number: u64| Version::new(number).filter(|v| entry.known.binary_search(v).is_ok());
    let mut versions: BTreeMap<Version, Use> = BTreeMap::new();
    for version in one.versions_in_use.iter().filter_map(|number| known(*number)) {
        versions.entry(version).or_default().in_use = true;
    }
    for outcome in &one.outcomes {
        if let Some(version) = known(outcome.version) {
            let row = versions.entry(version).or_default();
            row.accepted = outcome.accepted;
            row.refused = outcome.refused;
        }
    }
    versions
}
