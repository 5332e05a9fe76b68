//! What only a person can make: a key of a provider's console, handed in (hand-in, class H).
//!
//! Nothing is made or ended here: a version's value is what somebody handed in. All that a provider is asked is whether it
//! takes a value, by one declared request; without one a value is taken on the word of whoever hands it in.

mod plug;
mod probe;
mod settings;

use std::time::Duration;

use rekey_model::{Fields, Handle, SecretBytes};

pub use crate::target::{TlsMode, TlsSettings};
pub use plug::Plug;
pub use settings::{Account, Header, Probe, Target, TargetSettings};

use crate::answer;
use crate::driver::given;
use crate::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Owner, Problem, Proof,
    Sessions, Usage,
};

/// The driver's name.
pub const NAME: &str = "hand-in";
/// The field that consumers get.
const FIELD: &str = "value";

/// One credential: a value of which a person makes each version.
#[derive(Debug, Clone)]
pub struct HandIn {
    target: Target,
    account: Account,
}

impl HandIn {
    /// The driver for `account` at `target`; everything that is wrong with the settings, if anything is.
    pub fn new(target: Target, account: Account, owner: &Owner) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> = account.problems().into_iter().chain(owner.problems()).collect();
        if account.probe.is_some() && !target.has_address() {
            problems.push(Problem::new("probe", "needs a target with an address"));
        }
        if problems.is_empty() { Ok(Self { target, account }) } else { Err(problems) }
    }

    /// What a person does instead.
    fn by_hand<T>(&self) -> Result<T, DriverError> {
        Err(DriverError::Refused(format!("somebody deletes it at {}", self.account.page).into()))
    }
}

/// What consumers get of a value.
fn fields(value: &SecretBytes) -> Result<Fields, DriverError> {
    let copy = SecretBytes::new(value.expose().to_vec());
    given([(FIELD, copy)]).map_err(|why| DriverError::Refused(why.into()))
}

impl Driver for HandIn {
    /// Somebody made it already: this gives it the form that consumers get.
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        let installed = intent.secret.as_deref().map(fields);
        let none = || DriverError::Refused("nobody handed it in".into());
        let installed = installed.unwrap_or_else(|| Err(none()));
        let installed = installed.map(|fields| Installed { fields, handle: intent.handle.clone() });
        Box::pin(async { installed })
    }

    fn fields(&self, intent: &Intent) -> Option<Fields> {
        fields(intent.secret.as_deref()?).ok()
    }

    /// What was handed in is there.
    fn find<'a>(&'a self, _intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(async { Ok(Found::Present) })
    }

    /// Sends the declared request with the value. A status of which nothing was declared proves nothing, either way.
    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(answer::call(self.target.call, async move |_| self.prove(fields).await))
    }

    /// A console may show it to a person; nobody else can ask.
    fn usage<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(async { Ok(Usage::CannotTell) })
    }

    fn set_expiry<'a>(&'a self, _handle: &'a Handle, _expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Refused: a person deletes it where it was made.
    fn revoke<'a>(&'a self, _handle: &'a Handle, _sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(async { self.by_hand() })
    }

    /// Nothing is left of what was deleted.
    fn clean_up<'a>(&'a self, _handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// No call changes anything.
    fn settle(&self) -> Duration {
        Duration::ZERO
    }
}
