//! Which holder has a new version before all others, and what it is to show.

use rekey_drivers::Account;
use rekey_model::{Span, SpiffeId};
use rekey_settings::Section;

/// How one holder tries a new version before all others get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Which, as long as it is live; none: the first live one by name.
    pub holder: Option<SpiffeId>,
    /// After how many uses behind it the version is judged; at least one.
    pub uses: u64,
    /// After how long it is judged by fewer.
    pub within: Span,
}

/// Reads `canary`. It has no meaning where two versions are never valid at once.
pub(super) fn read(root: &Section<'_>, driver: Option<&Account>) -> Option<Canary> {
    let section = root.optional_section("canary")?;
    let holder = section.optional_like("holder", "spiffe://rekey.local/sidecar/orders/a");
    let uses = section.required_like("uses", "20");
    let within = section.required_like("within", "10m");
    if driver.is_some_and(|driver| !driver.facts().strategy.two_live_versions()) {
        root.problem(
            "canary",
            "has no meaning here: the new value kills the old one at once, so that nobody could stay with that",
            "take it out; one can try a version first where two are valid at once",
        );
    }
    if uses == Some(0) {
        section.problem("uses", "is zero: nothing would be tried", "write at least `uses: 1`");
    }
    Some(Canary { holder, uses: uses?, within: within? })
}
