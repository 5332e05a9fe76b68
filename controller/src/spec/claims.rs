//! Whether a spec fits the controller's config and the credentials beside it.

use std::collections::BTreeMap;

use rekey_drivers::{Account, Claim};
use rekey_model::TrustDomain;
use rekey_settings::nearest;

use super::Spec;
use super::problem::Problem;
use crate::policy::Policy;

/// What the controller's config says that a spec may refer to.
#[derive(Debug, Clone)]
pub struct Known {
    /// The installation.
    pub trust_domain: TrustDomain,
    /// Each target's name, and the driver it is for.
    pub targets: BTreeMap<String, &'static str>,
    /// What every declaration must have, and what it may take.
    pub policy: Policy,
}

/// What in `spec` does not fit the controller's config.
pub fn against_config(spec: &Spec, known: &Known) -> Vec<Problem> {
    let mut problems = known.policy.unmet(spec);
    target(spec, known, &mut problems);
    for (i, grant) in spec.deliver.to.iter().enumerate() {
        let sidecars = format!("spiffe://{}/sidecar/", known.trust_domain);
        if !grant.as_str().starts_with(&sidecars) {
            problems.push(Problem::new(
                format!("deliver.to[{i}]"),
                "is no sidecar of this installation",
                format!("begin it with {sidecars}"),
            ));
        }
    }
    problems
}

fn target(spec: &Spec, known: &Known, problems: &mut Vec<Problem>) {
    let driver = &spec.driver;
    let kind = driver.kind().name;
    let first = (kind, driver.target().as_str(), kind.to_owned());
    let also =
        driver.also().iter().map(|also| (also.kind(), also.target().as_str(), also.field().to_owned()));
    for (kind, asked, section) in std::iter::once(first).chain(also) {
        problems.extend(
            unknown(kind, asked, known)
                .map(|(message, remedy)| Problem::new(format!("{section}.target"), message, remedy)),
        );
    }
}

/// What to say of a target of `kind` that there is not.
fn unknown(kind: &str, asked: &str, known: &Known) -> Option<(String, String)> {
    let names: Vec<&str> =
        known.targets.iter().filter(|(_, driver)| **driver == kind).map(|(name, _)| name.as_str()).collect();
    if names.contains(&asked) {
        return None;
    }
    let remedy = match (nearest(asked, &names), names.is_empty()) {
        (Some(meant), _) => format!("did you mean `{meant}`?"),
        (None, false) => format!("name one of: {}", names.join(", ")),
        (None, true) => format!("add a {kind} target to the controller's config first"),
    };
    Some((format!("the controller's config has no such {kind} target"), remedy))
}

/// What `spec` claims that one of `others` has already. A spec of the same name is the same credential.
pub fn against_others<'a>(spec: &Spec, others: impl IntoIterator<Item = &'a Spec>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for other in others.into_iter().filter(|other| other.name != spec.name) {
        let (mine, theirs) = (&spec.driver, &other.driver);
        let beside = |one: &Account| one.also().iter().map(|also| also.target().clone()).collect::<Vec<_>>();
        let together = beside(mine).iter().any(|target| beside(theirs).contains(target));
        if mine.target() == theirs.target() || together {
            let taken = |claim: &&Claim| theirs.facts().claims.iter().any(|it| it.what.overlaps(&claim.what));
            problems.extend(mine.facts().claims.iter().filter(taken).map(|claim| {
                let field = format!("{}.{}", mine.kind().name, claim.field);
                Problem::new(field, format!("{} {}", other.name, claim.taken), claim.remedy)
            }));
        }
    }
    problems
}
