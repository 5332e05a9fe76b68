//! A target in memory that does what a script says, and notices when somebody is cut who still uses a version.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rekey_drivers::{
    Class, Cut, Driver, DriverError, DriverFuture, Expiry, Found, Installed, Intent, Lack, Later, Listed,
    ListedVersion, Place, Proof, Session, Sessions, Source, Usage,
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
    /// The answer is lost first, and it happens a little later.
    Later,
    /// Somebody between repeats it: it happens twice, and the last answer comes.
    Twice,
    /// Not now, says the target (429), and how long to wait.
    Wait,
    /// It says that it was done, and nothing was.
    Lie,
    /// It is done, and what it answers cannot be used: nothing comes of it that could be recorded.
    Odd,
}

/// One login at the target.
#[derive(Debug, Default)]
pub(super) struct Role {
    pub(super) secret: Vec<u8>,
    pub(super) accepted: bool,
    pub(super) lasting: bool,
    pub(super) sessions: u32,
    /// The token of ours that it was made with.
    pub(super) token: String,
    /// When it stops working by itself unless it is to last, in the controller's time.
    pub(super) dies: Option<Duration>,
}

/// What the target asks for with [`Fault::Wait`].
pub(super) const WAIT: Duration = Duration::from_millis(700);
/// When what was to happen later does.
const LATER: Duration = Duration::from_millis(150);

/// Who makes the secrets, and under what rules.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) class: Class,
    pub(super) slots: Option<u32>,
    /// Whether everything in the account is declared ours.
    pub(super) exclusive: bool,
    /// Whether a new value kills what was there.
    pub(super) one_value: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { class: Class::A, slots: None, exclusive: true, one_value: false }
    }
}

/// What somebody else makes: nothing is made here.
#[derive(Debug)]
pub(super) struct Theirs {
    /// The login that consumers get.
    pub(super) login: &'static str,
    /// The values that work. Where the provider cannot be asked: all.
    pub(super) works: Vec<&'static str>,
    /// Whether nobody is there where a version is to be made beyond the first.
    pub(super) stalls: bool,
    pub(super) place: Place,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) theirs: Option<Theirs>,
    /// How many secrets the target has made.
    pub(super) made: u32,
    /// Since the controller's start.
    elapsed: Duration,
    /// What happens later, and when.
    later: Vec<(Duration, Intent)>,
    pub(super) roles: BTreeMap<String, Role>,
    pub(super) faults: BTreeMap<&'static str, VecDeque<Fault>>,
    pub(super) calls: Vec<String>,
    /// What live holders serve now.
    pub(super) served: BTreeMap<u8, String>,
    /// What an emergency may cut under its users.
    pub(super) emergency: bool,
    /// Whether the rotator misses a right.
    pub(super) lacks: bool,
    /// Somebody else shut what is served, and whoever serves it is not to blame.
    pub(super) meddled: bool,
    /// What the declared probe says after a login; none: it succeeds.
    pub(super) unfit: Option<&'static str>,
    /// How many calls are under way that only a test, or a time limit, ends.
    pub(super) stuck: usize,
    /// What must not happen.
    pub(super) wrong: Vec<String>,
}

/// A call that does not end by itself.
struct Stuck<'a>(&'a Target);

impl<'a> Stuck<'a> {
    fn at(target: &'a Target) -> Self {
        target.lock().stuck += 1;
        Self(target)
    }
}

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.lock().stuck -= 1;
    }
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

    /// The time is `elapsed`.
    pub(super) fn tick(&self, elapsed: Duration) {
        self.lock().tick(elapsed);
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
            Some(Fault::Wait) => {
                let later = Later { after: WAIT, why: "too many requests".to_owned() };
                Err(DriverError::Unavailable(Box::new(later)))
            }
            Some(Fault::Later | Fault::Twice | Fault::Lie | Fault::Odd) => {
                panic!("only the making of a version goes wrong like this")
            }
            Some(Fault::Refused) => Err(DriverError::Refused(source("not allowed"))),
            Some(Fault::Away) => Err(DriverError::Unavailable(source("nobody there"))),
            Some(Fault::Hangs) => {
                let _stuck = Stuck::at(self);
                std::future::pending().await
            }
            Some(Fault::Late) => {
                let stuck = Stuck::at(self);
                self.1.notified().await;
                drop(stuck);
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

    fn place(&self, _spec: &Spec) -> Result<Option<Place>, TargetError> {
        Ok(self.lock().theirs.as_ref().map(|theirs| theirs.place.clone()))
    }

    fn made(&self, _spec: &Spec) -> (Class, Option<u32>) {
        let state = self.lock();
        (state.rules.class, state.rules.slots)
    }
}

impl State {
    /// Time passes: what was to happen later does, and what was not to last ends.
    fn tick(&mut self, elapsed: Duration) {
        self.elapsed = elapsed;
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= elapsed);
        self.later = later;
        let due: Vec<(Duration, Intent)> = due;
        for (_, intent) in due {
            drop(self.make(&intent));
        }
        self.roles.retain(|_, role| role.lasting || role.dies.is_none_or(|dies| dies > elapsed));
    }

    fn make(&mut self, intent: &Intent) -> Result<Installed, DriverError> {
        if let Some(theirs) = &self.theirs {
            if theirs.stalls && intent.version != Version::FIRST {
                return Err(DriverError::Unavailable(source("nobody there")));
            }
            let fields = answer(theirs.login, intent.secret.as_ref().unwrap().expose().to_vec()).fields;
            return Ok(Installed { fields, handle: intent.handle.clone() });
        }
        match self.rules.class {
            Class::A | Class::H => Ok(self.make_ours(intent)),
            Class::B { .. } | Class::C | Class::D { .. } => self.make_theirs(intent),
        }
    }

    fn make_ours(&mut self, intent: &Intent) -> Installed {
        if self.rules.one_value {
            self.roles.retain(|name, _| name == intent.handle.as_str());
        }
        let role = self.roles.entry(intent.handle.to_string()).or_default();
        let secret = intent.secret.as_ref().unwrap().expose().to_vec();
        if !role.secret.is_empty() && role.secret != secret {
            self.wrong.push(format!("{} was made with two secrets", intent.handle));
        }
        role.accepted = true;
        role.lasting = self.rules.one_value;
        role.secret.clone_from(&secret);
        answer(intent.handle.as_str(), secret)
    }

    /// The target makes name and secret; with a token that it knows it answers as before.
    fn make_theirs(&mut self, intent: &Intent) -> Result<Installed, DriverError> {
        if intent.secret.is_some() {
            self.wrong.push("we chose a secret that the target makes".to_owned());
        }
        let token = intent.handle.to_string();
        let mut known = self.roles.iter().filter(|_| matches!(self.rules.class, Class::B { .. }));
        if let Some((name, role)) = known.find(|(_, role)| role.token == token) {
            return Ok(answer(name, role.secret.clone()));
        }
        if self.rules.slots.is_some_and(|slots| self.roles.len() >= slots as usize) {
            let names: Vec<&str> = self.roles.keys().map(String::as_str).collect();
            let why = format!("both slots are taken, by {}", names.join(" and "));
            return Err(DriverError::Refused(source(&why)));
        }
        self.made += 1;
        let (name, secret) = (format!("key{}", self.made), format!("secret{}", self.made).into_bytes());
        let dies = match self.rules.class {
            Class::D { expires } => Some(self.elapsed + expires),
            Class::A | Class::B { .. } | Class::C | Class::H => None,
        };
        let role = Role { secret: secret.clone(), accepted: true, token, dies, ..Role::default() };
        self.roles.insert(name.clone(), role);
        Ok(answer(&name, secret))
    }

    fn make_oddly(&mut self, intent: &Intent, fault: Fault) -> Result<Installed, DriverError> {
        match fault {
            Fault::Later => {
                self.later.push((self.elapsed + LATER, intent.clone()));
                Err(DriverError::Unknown(source("no answer in time")))
            }
            Fault::Twice => self.make(intent).and_then(|_first| self.make(intent)),
            Fault::Lie => Ok(answer("nothing", b"nothing".to_vec())),
            Fault::Odd => {
                let handle = self.make(intent)?.handle;
                Ok(Installed { fields: Fields::new(BTreeMap::new()).unwrap(), handle })
            }
            Fault::AnswerLost
            | Fault::CallLost
            | Fault::Refused
            | Fault::Away
            | Fault::Hangs
            | Fault::Late
            | Fault::Wait => panic!("{fault:?} is not odd"),
        }
    }

    fn enter(&self, name: &Handle, secret: &[u8]) -> Result<(), DriverError> {
        if let Some(theirs) = &self.theirs {
            let works = theirs.works.iter().any(|value| value.as_bytes() == secret);
            return if works { Ok(()) } else { Err(DriverError::Refused(source("login refused"))) };
        }
        match self.roles.get(name.as_str()) {
            Some(role) if role.accepted && role.secret == secret => Ok(()),
            Some(_) | None => Err(DriverError::Refused(source("login refused"))),
        }
    }

    fn find(&mut self, intent: &Intent) -> Result<Found, DriverError> {
        let candidates = self.roles.iter().filter(|(name, _)| intent.may_have_made(&name.parse().unwrap()));
        let by_token = matches!(self.rules.class, Class::B { .. });
        let ours = candidates.filter(|(_, role)| !by_token || role.token == intent.handle.as_str());
        let strangers: Vec<Handle> = ours.map(|(name, _)| name.parse().unwrap()).collect();
        match self.rules.class {
            Class::H => Ok(Found::Present),
            Class::A if self.roles.contains_key(intent.handle.as_str()) => Ok(Found::Present),
            Class::A | Class::D { .. } => Ok(Found::Absent),
            Class::B { .. } | Class::C if strangers.is_empty() => Ok(Found::Absent),
            Class::C if !self.rules.exclusive => {
                Err(DriverError::Refused(source(&format!("{} may be somebody else's", strangers[0]))))
            }
            Class::B { .. } | Class::C => Ok(Found::Strangers(strangers)),
        }
    }
}

/// What a consumer logs in with.
fn name_and_secret(fields: &Fields) -> (Handle, Vec<u8>) {
    let text = |name: &str| fields.get(name).unwrap().expose().to_vec();
    (String::from_utf8(text("username")).unwrap().parse().unwrap(), text("password"))
}

/// What a consumer gets.
fn answer(name: &str, secret: Vec<u8>) -> Installed {
    let fields = BTreeMap::from([
        ("username".parse().unwrap(), SecretBytes::new(name.as_bytes().to_vec())),
        ("password".parse().unwrap(), SecretBytes::new(secret)),
    ]);
    Installed { fields: Fields::new(fields).unwrap(), handle: name.parse().unwrap() }
}

impl Driver for Target {
    fn install<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Installed> {
        let mut state = self.lock();
        let special = [Fault::Later, Fault::Twice, Fault::Lie, Fault::Odd];
        let next = state.faults.get("install").and_then(VecDeque::front).copied();
        if let Some(fault) = next.filter(|fault| special.contains(fault)) {
            state.faults.entry("install").or_default().pop_front();
            state.calls.push(format!("install {}", intent.handle));
            let outcome = state.make_oddly(intent, fault);
            return Box::pin(async move { outcome });
        }
        drop(state);
        Box::pin(self.call("install", &intent.handle, move |state| state.make(intent)))
    }

    fn fields(&self, intent: &Intent) -> Option<Fields> {
        let secret = intent.secret.as_ref()?.expose().to_vec();
        let login = self.lock().theirs.as_ref().map(|theirs| theirs.login);
        Some(answer(login.unwrap_or(intent.handle.as_str()), secret).fields)
    }

    fn find<'a>(&'a self, intent: &'a Intent) -> DriverFuture<'a, Found> {
        Box::pin(self.call("find", &intent.handle, move |state| state.find(intent)))
    }

    fn probe<'a>(&'a self, fields: &'a Fields, _old: Option<&'a Handle>) -> DriverFuture<'a, Proof> {
        Box::pin(async move {
            if fields.get("password").is_none() {
                return Err(DriverError::Refused(source("there is nothing to log in with")));
            }
            let (name, secret) = name_and_secret(fields);
            self.call("probe", &name.clone(), move |state| {
                state.enter(&name, &secret)?;
                state.unfit.map_or(Ok(Proof { probes: 1 }), |why| Err(DriverError::Refused(source(why))))
            })
            .await
        })
    }

    fn log_in<'a>(&'a self, fields: &'a Fields) -> DriverFuture<'a, ()> {
        Box::pin(async move {
            let (name, secret) = name_and_secret(fields);
            self.call("log-in", &name.clone(), move |state| state.enter(&name, &secret)).await
        })
    }

    fn usage<'a>(&'a self, handle: &'a Handle) -> DriverFuture<'a, Usage> {
        Box::pin(self.call("usage", handle, move |state| {
            let sessions = state.roles.get(handle.as_str()).map_or(0, |role| role.sessions);
            let one = || Session {
                id: None,
                client: String::new(),
                application: String::new(),
                since_ms: 0,
                age: None,
            };
            Ok(Usage::Sessions((0..sessions).map(|_| one()).collect()))
        }))
    }

    fn set_expiry<'a>(&'a self, handle: &'a Handle, expiry: Expiry) -> DriverFuture<'a, ()> {
        Box::pin(self.call("lift", handle, move |state| match state.roles.get_mut(handle.as_str()) {
            Some(role) => {
                role.lasting = expiry == Expiry::Never;
                Ok(())
            }
            None if state.theirs.is_some() => Ok(()),
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
            if state.rules.one_value {
                // There is one password, whichever version is named.
                state.roles.values_mut().for_each(|role| role.accepted = false);
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
                if matches!(state.rules.class, Class::D { .. }) || state.rules.one_value {
                    return Ok(Listed::CannotTell);
                }
                let version =
                    |name: &str| name.split("_v").nth(1)?.split('_').next()?.parse::<Version>().ok();
                let one = |(name, role): (&String, &Role)| ListedVersion {
                    version: version(name),
                    handle: name.parse().unwrap(),
                    accepted: role.accepted,
                    adopted: false,
                };
                Ok(Listed::Versions(state.roles.iter().map(one).collect()))
            })
            .await
        })
    }

    fn check(&self) -> DriverFuture<'_, Vec<Lack>> {
        let lacks = self.lock().lacks.then(|| Lack::new("a right is missing", "GRANT it"));
        Box::pin(async { Ok(lacks.into_iter().collect()) })
    }

    fn settle(&self) -> Duration {
        Duration::from_millis(200)
    }
}
