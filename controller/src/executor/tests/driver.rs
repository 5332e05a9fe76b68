//! A target in memory that does what a script says, and notices when somebody is cut who still uses a version.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::{
    Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Listed, ListedVersion, Proof,
    Session, Sessions, Source, Usage,
};
use rekey_model::{Fields, Handle, SecretBytes, Version};
use tokio::sync::Notify;

use super::super::{Drivers, TargetError};
use crate::spec::Spec;

/// How one call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It happens, and the answer is lost.
    AnswerLost,
    /// It does not happen, and the answer is lost.
    CallLost,
    /// No.
    Refused,
    /// Nobody is there.
    Away,
    /// It never ends.
    Hangs,
    /// It happens when [`Target::let_land`] says so, if somebody still waits for it then.
    Late,
}

/// One login at the target.
#[derive(Debug, Default)]
pub(super) struct Role {
    pub(super) secret: Vec<u8>,
    pub(super) accepted: bool,
    pub(super) lasting: bool,
    pub(super) sessions: u32,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) faults: BTreeMap<&'static str, VecDeque<Fault>>,
    pub(super) calls: Vec<String>,
    /// What live holders serve now.
    pub(super) served: BTreeMap<u8, String>,
    /// What an emergency may cut under its users.
    pub(super) emergency: bool,
    /// What must not happen.
    pub(super) wrong: Vec<String>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Target(Arc<Mutex<State>>, Arc<Notify>);

impl Target {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail(&self, verb: &'static str, faults: &[Fault]) {
        self.lock().faults.entry(verb).or_default().extend(faults);
    }

    /// Lets the calls that are late land now.
    pub(super) fn let_land(&self) {
        self.1.notify_waiters();
    }

    pub(super) fn accepted(&self) -> Vec<String> {
        self.lock().roles.iter().filter(|(_, role)| role.accepted).map(|(name, _)| name.clone()).collect()
    }

    /// Runs one call under its fault.
    async fn call<T>(
        &self,
        verb: &'static str,
        handle: &Handle,
        act: impl FnOnce(&mut State) -> Result<T, DriverError> + Send,
    ) -> Result<T, DriverError> {
        let fault = {
            let mut state = self.lock();
            state.calls.push(format!("{verb} {handle}"));
            state.faults.get_mut(verb).and_then(VecDeque::pop_front)
        };
        match fault {
            None => act(&mut self.lock()),
            Some(Fault::AnswerLost) => {
                drop(act(&mut self.lock()));
                Err(DriverError::Unknown(source("the line broke")))
            }
            Some(Fault::CallLost) => Err(DriverError::Unknown(source("the line broke"))),
            Some(Fault::Refused) => Err(DriverError::Refused(source("not allowed"))),
            Some(Fault::Away) => Err(DriverError::Unavailable(source("nobody there"))),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Late) => {
                self.1.notified().await;
                act(&mut self.lock())
            }
        }
    }
}

fn source(text: &str) -> Source {
    text.into()
}

impl Drivers for Target {
    fn driver(&self, _spec: &Spec) -> Result<Arc<dyn Driver>, TargetError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Driver for Target {
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        Box::pin(self.call("install", &intent.handle, move |state| {
            let role = state.roles.entry(intent.handle.to_string()).or_default();
            let secret = intent.secret.as_ref().unwrap().expose().to_vec();
            if !role.secret.is_empty() && role.secret != secret {
                state.wrong.push(format!("{} was made with two secrets", intent.handle));
            }
            let role = state.roles.entry(intent.handle.to_string()).or_default();
            role.accepted = true;
            role.lasting = false;
            role.secret.clone_from(&secret);
            let fields = BTreeMap::from([
                ("username".parse().unwrap(), SecretBytes::new(intent.handle.as_str().as_bytes().to_vec())),
                ("password".parse().unwrap(), SecretBytes::new(secret)),
            ]);
            Ok(Installed { fields: Fields::new(fields).unwrap(), handle: intent.handle.clone() })
        }))
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.call("find", &intent.handle, move |state| {
            let found = state.roles.contains_key(intent.handle.as_str());
            Ok(if found { Found::Present } else { Found::Absent })
        }))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        let name: Handle =
            String::from_utf8(fields.get("username").unwrap().expose().to_vec()).unwrap().parse().unwrap();
        let secret = fields.get("password").unwrap().expose().to_vec();
        Box::pin(async move {
            self.call("probe", &name.clone(), move |state| match state.roles.get(name.as_str()) {
                Some(role) if role.accepted && role.secret == secret => Ok(Proof { probes: 1 }),
                Some(_) | None => Err(DriverError::Refused(source("login refused"))),
            })
            .await
        })
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.call("usage", handle, move |state| {
            let sessions = state.roles.get(handle.as_str()).map_or(0, |role| role.sessions);
            let one =
                || Session { client: String::new(), application: String::new(), since_ms: 0, age: None };
            Ok(Usage::Sessions((0..sessions).map(|_| one()).collect()))
        }))
    }

    fn set_expiry<'a>(&'a self, handle: &'a Handle, expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.call("lift", handle, move |state| match state.roles.get_mut(handle.as_str()) {
            Some(role) => {
                role.lasting = expiry == Expiry::Never;
                Ok(())
            }
            None => Err(DriverError::Refused(source("no such role"))),
        }))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, sessions: Sessions) -> DriverFuture<'a, Cut> {
        Box::pin(self.call("revoke", handle, move |state| {
            let users: Vec<u8> = state
                .served
                .iter()
                .filter(|(_, served)| *served == handle.as_str())
                .map(|(h, _)| *h)
                .collect();
            if !users.is_empty() && !state.emergency {
                state.wrong.push(format!("I5: {handle} was ended while {users:?} serve it"));
            }
            let Some(role) = state.roles.get_mut(handle.as_str()) else {
                return Ok(Cut::default());
            };
            role.accepted = false;
            if sessions == Sessions::Leave {
                return Ok(Cut { sessions_ended: 0, sessions_left: role.sessions });
            }
            Ok(Cut { sessions_ended: std::mem::take(&mut role.sessions), sessions_left: 0 })
        }))
    }

    fn clean_up<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, ()> {
        Box::pin(self.call("clean-up", handle, move |state| {
            state.roles.remove(handle.as_str());
            Ok(())
        }))
    }

    fn list(&self) -> DriverFuture<'_, Listed> {
        let handle: Handle = "all".parse().unwrap();
        Box::pin(async move {
            self.call("list", &handle, |state| {
                let version =
                    |name: &str| name.split("_v").nth(1)?.split('_').next()?.parse::<Version>().ok();
                let one = |(name, role): (&String, &Role)| ListedVersion {
                    version: version(name).unwrap(),
                    handle: name.parse().unwrap(),
                    accepted: role.accepted,
                    adopted: false,
                };
                Ok(Listed::Versions(state.roles.iter().map(one).collect()))
            })
            .await
        })
    }

    fn settle(&self) -> Duration {
        Duration::from_millis(200)
    }
}
