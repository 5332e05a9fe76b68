//! Declaring credentials, all or none, and forgetting one.

use std::collections::BTreeMap;

use rekey_model::CredentialName;
use rekey_proto::admin as wire;
use rekey_proto::admin::applied_credential::Change;
use rekey_proto::admin::delete_request::AtTarget as Fate;
use rekey_rotation::{AtTarget, Event, Ledger, Unchecked};
use serde_json::Value;

use super::caller::Caller;
use super::checks::{self, Answers};
use super::differ::differences;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::audit::{Entry, Outcome, Verb};
use crate::executor::Checked;
use crate::policy::{GIVEN, Policy};
use crate::spec::{Problem, Spec, TAKEN, claims, ties};
use crate::store::{CredentialRow, Tx};

/// The most declarations in one request.
const MOST: usize = 10_000;
/// The largest declaration.
const LARGEST: usize = 64 << 10;

/// A declaration that reads, and where it stood in the request.
pub(super) struct Declared {
    pub(super) place: usize,
    pub(super) json: Value,
    pub(super) spec: Spec,
}

impl Admin {
    pub(super) async fn declare(
        &self,
        caller: &Caller,
        asked: wire::ApplyRequest,
    ) -> Result<wire::ApplyResponse, Refusal> {
        if asked.specs_json.len() > MOST {
            return Err(Refusal::invalid("specs_json", format!("at most {MOST} declarations at a time")));
        }
        let mut problems = Vec::new();
        let declared = read(&asked.specs_json, &self.0.known.policy, &mut problems);
        let rows = self.0.store.credentials().await?;
        self.check(&declared, &rows, &mut problems);
        if !problems.is_empty() {
            return Ok(refused(problems));
        }
        // Nothing waits for a target while the store is held.
        let answers = self.ask_targets(&declared, &rows).await;
        for one in &declared {
            if let Some(Checked::Lacks(lacks)) = answers.get(&one.place) {
                let found = checks::problems(one, lacks);
                problems.extend(found.into_iter().map(|problem| placed(one.place, problem)));
            }
        }
        if !problems.is_empty() {
            return Ok(refused(problems));
        }
        self.store_declared(caller, declared, &answers, asked.dry_run).await
    }

    /// Stores all, or none; by now others may have declared something else.
    async fn store_declared(
        &self,
        caller: &Caller,
        declared: Vec<Declared>,
        answers: &Answers,
        dry_run: bool,
    ) -> Result<wire::ApplyResponse, Refusal> {
        let mut problems = Vec::new();
        let mut tx = self.0.store.begin().await?;
        let rows = tx.load_all().await?;
        self.check(&declared, &rows, &mut problems);
        if !problems.is_empty() {
            return Ok(refused(problems));
        }
        let mut credentials = Vec::new();
        for one in declared {
            let row = checks::row_of(&one, &rows).cloned();
            let answer = answers.get(&one.place);
            credentials.push(write(&mut tx, caller, (one, answer), row).await?);
        }
        if dry_run {
            tx.rollback().await?;
        } else {
            tx.commit().await?;
            let updated = credentials.iter().filter(|one| one.change() == Change::Updated);
            updated.filter_map(|one| one.name.parse().ok()).for_each(|name| self.0.executor.look_now(&name));
        }
        Ok(wire::ApplyResponse { credentials, problems: Vec::new() })
    }

    /// What does not fit: the config, the credentials beside it, and what the credential is already.
    fn check(&self, declared: &[Declared], rows: &[CredentialRow], problems: &mut Vec<wire::SpecProblem>) {
        let stays = |row: &&CredentialRow| declared.iter().all(|one| one.spec.name != row.name);
        let others: Vec<Spec> =
            rows.iter().filter(stays).filter_map(|row| Spec::parse(&row.spec).ok()).collect();
        let mut first: BTreeMap<&CredentialName, usize> = BTreeMap::new();
        for one in declared {
            let mut found = claims::against_config(&one.spec, &self.0.known);
            let beside = declared.iter().filter(|other| other.place < one.place).map(|other| &other.spec);
            found.extend(claims::against_others(&one.spec, others.iter().chain(beside.clone())));
            found.extend(ties::alone(&one.spec));
            found.extend(ties::against_others(&one.spec, others.iter().chain(beside)));
            if let Some(place) = first.insert(&one.spec.name, one.place) {
                let message = format!("is declared twice here (number {} is the first)", place + 1);
                found.push(Problem::new("credential", message, "keep one of them"));
            }
            if let Some(row) = rows.iter().find(|row| row.name == one.spec.name) {
                found.extend(against_itself(one, row));
            }
            problems.extend(found.into_iter().map(|problem| placed(one.place, problem)));
        }
    }

    pub(super) async fn forget(
        &self,
        caller: &Caller,
        asked: wire::DeleteRequest,
    ) -> Result<wire::DeleteResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let at_target = match asked.at_target() {
            Fate::End => AtTarget::End,
            Fate::Leave => AtTarget::Leave,
            Fate::Unspecified => {
                let message = "say what becomes of its logins at the target: end or leave";
                return Err(Refusal::invalid("at_target", message));
            }
        };
        let before =
            self.0.store.credential(&name).await?.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
        self.changed(caller, &name, Event::Delete { at_target }).await?;
        let ledger = before.ledger;
        let left = ledger.current.and_then(|current| ledger.version(current));
        let left = left.filter(|_| at_target == AtTarget::Leave).map(|record| record.handle.to_string());
        Ok(wire::DeleteResponse { left_at_target: left.into_iter().collect() })
    }
}

/// Reads every declaration, and notes every problem of those that do not read.
fn read(specs: &[String], policy: &Policy, problems: &mut Vec<wire::SpecProblem>) -> Vec<Declared> {
    let mut declared = Vec::new();
    for (place, text) in specs.iter().enumerate() {
        if text.len() > LARGEST {
            let problem = Problem::new("", "is larger than 64 KiB", "leave out what is not needed");
            problems.push(placed(place, problem));
            continue;
        }
        let mut json: Value = match serde_json::from_str(text) {
            Ok(json) => json,
            Err(_syntax) => {
                problems.push(placed(place, Problem::new("", "is no JSON", "send one JSON document")));
                continue;
            }
        };
        let found = match (take(policy, &mut json), Spec::parse(&json)) {
            (Ok(()), Ok(spec)) => {
                declared.push(Declared { place, json, spec });
                continue;
            }
            (Ok(()), Err(found)) => found,
            (Err(problem), read) => without_class(problem, read.err().unwrap_or_default()),
        };
        problems.extend(found.into_iter().map(|problem| placed(place, problem)));
    }
    declared
}

/// Has a declaration take what its class gives.
fn take(policy: &Policy, json: &mut Value) -> Result<(), Problem> {
    if json.get(TAKEN).is_some() {
        let remedy = "take it out: the controller writes there what a declaration took from its class";
        return Err(Problem::new(TAKEN, "is not yours to declare", remedy));
    }
    policy.complete(json)
}

/// The problems of a declaration that took nothing: what its class might have given is no problem of its own.
fn without_class(problem: Problem, found: Vec<Problem>) -> Vec<Problem> {
    let given = |field: &str| {
        GIVEN.iter().any(|(section, key, _)| field == *section || field == format!("{section}.{key}"))
    };
    let own = found.into_iter().filter(|it| it.message != "is missing" || !given(&it.field));
    std::iter::once(problem).chain(own).collect()
}

fn refused(mut problems: Vec<wire::SpecProblem>) -> wire::ApplyResponse {
    problems.sort_by(|a, b| (a.spec, &a.field).cmp(&(b.spec, &b.field)));
    wire::ApplyResponse { credentials: Vec::new(), problems }
}

fn placed(place: usize, problem: Problem) -> wire::SpecProblem {
    wire::SpecProblem {
        spec: u32::try_from(place).unwrap_or(u32::MAX),
        field: problem.field,
        message: problem.message,
        remedy: problem.remedy,
    }
}

/// What cannot be changed while versions live: they would be looked for, and ended, somewhere else.
fn against_itself(Declared { spec, json, .. }: &Declared, row: &CredentialRow) -> Vec<Problem> {
    if row.ledger.deleted.is_some() {
        let remedy = "wait until `rekeyctl status` no longer lists it";
        return vec![Problem::new("credential", "is being deleted", remedy)];
    }
    if json.get("group") != row.spec.get("group")
        && let Some(open) = row.ledger.open_rotation()
    {
        let message = format!("cannot change while a rotation is open ({})", open.phase);
        return vec![Problem::new("group", message, "apply it again when the rotation has ended")];
    }
    let over = row.ledger.versions.values().all(|version| version.stage.is_final());
    if over && row.ledger.endings.is_empty() {
        return Vec::new();
    }
    // As it is written: a declaration that no longer reads is bound by it too.
    let driver = &spec.driver;
    let mut fixed = vec!["target"];
    fixed.extend(driver.facts().fixed.iter().map(|(field, _)| *field));
    let kind = driver.kind().name;
    let mut changed: Vec<String> = Vec::new();
    if row.spec.get(kind).is_none() {
        changed.push(kind.to_owned());
    }
    if json.get("also") != row.spec.get("also") {
        changed.push("also".to_owned());
    }
    for field in fixed {
        let place = format!("/{kind}/{}", field.replace('.', "/"));
        if json.pointer(&place) != row.spec.pointer(&place) {
            changed.push(format!("{kind}.{field}"));
        }
    }
    changed
        .into_iter()
        .map(|field| {
            let message = "cannot change while a version lives, which would be looked for elsewhere";
            let remedy = "declare another credential, move its users there, then delete this one";
            Problem::new(field, message, remedy)
        })
        .collect()
}

/// Writes one declaration and its audit, unless nothing differs; and that its target is still to be asked, if it is.
async fn write(
    tx: &mut Tx,
    caller: &Caller,
    (one, answer): (Declared, Option<&Checked>),
    row: Option<CredentialRow>,
) -> Result<wire::AppliedCredential, Refusal> {
    let asks = checks::is_to_be_asked(&one, row.as_ref());
    let unasked = if asks { checks::unasked(answer) } else { None };
    let unchecked = unasked.clone().map(|why| Unchecked { since: tx.now(), why });
    let differences = differences(row.as_ref().map_or(&Value::Null, |row| &row.spec), &one.json);
    let (name, adopts) = (one.spec.name.clone(), one.spec.driver.adopt().is_some());
    let change = match &row {
        None => Change::Created,
        Some(_) if differences.is_empty() => Change::Unchanged,
        Some(_) => Change::Updated,
    };
    let (about, next_step) = match change {
        Change::Created if adopts => ("created".to_owned(), format!("rekeyctl adopt {name}")),
        Change::Created => ("created".to_owned(), format!("rekeyctl status {name} --watch")),
        Change::Updated | Change::Unchanged | Change::Unspecified => {
            let fields: Vec<&str> = differences.iter().map(|it| it.field.as_str()).collect();
            (fields.join(", "), String::new())
        }
    };
    store(tx, (one, change), row, unchecked).await?;
    if change != Change::Unchanged {
        let entry = Entry::new(caller.actor(), Verb::Apply, Outcome::Done);
        tx.audit(&entry.about(&name).because(about)).await?;
    }
    Ok(wire::AppliedCredential {
        name: name.to_string(),
        change: change.into(),
        differences,
        next_step,
        checked: asks && unasked.is_none(),
        unchecked: unasked.unwrap_or_default(),
    })
}

/// Stores a declaration in place of the one in `row`, and whether its target is still to be asked. Since when it is, stays
/// known where nothing else changes.
async fn store(
    tx: &mut Tx,
    (one, change): (Declared, Change),
    row: Option<CredentialRow>,
    unchecked: Option<Unchecked>,
) -> Result<(), Refusal> {
    let ties = ties::of(&one.spec);
    let id = match row {
        None => tx.create(&one.spec.name, one.json, Ledger::default().declared(unchecked)).await?.id,
        Some(row) if change == Change::Unchanged => {
            if row.ledger.unchecked.is_some() && unchecked.is_none() {
                let ledger = row.ledger.declared(None);
                tx.save(&mut CredentialRow { ledger, ..row }).await?;
            }
            return Ok(());
        }
        Some(row) => {
            let ledger = row.ledger.declared(unchecked);
            tx.save(&mut CredentialRow { spec: one.json, ledger, ..row }).await?;
            row.id
        }
    };
    Ok(tx.tie(id, &ties).await?)
}

#[cfg(test)]
mod tests {
    use rekey_model::Stage;
    use rekey_runtime::random;
    use serde_json::json;

    use super::*;
    use crate::admin::tests::spec;

    fn declared(json: Value) -> Declared {
        Declared { place: 0, spec: Spec::parse(&json).unwrap(), json }
    }

    /// A ledger with one version, whose ending is or is not over.
    fn ledger(stage: Stage, ends: bool) -> Ledger {
        let now = json!({ "wall_ms": 0, "boot": 1, "boot_ms": 0 });
        let ending = json!({ "cause": "emergency", "state": "intended", "since": now, "refusals": 0, "last_error": null });
        let version = json!({
            "handle": "orders_app_v1_x", "stage": stage, "attempt": 0, "adopted": false, "lasting": true, "created": now,
            "proven": null, "promoted": null, "doubt": null, "ended": null, "sessions_ended": 0,
        });
        let endings = if ends { json!({ "1": ending }) } else { json!({}) };
        let ledger = json!({ "versions": { "1": version }, "endings": endings });
        serde_json::from_value(ledger).unwrap()
    }

    #[test]
    fn where_a_version_is_looked_for_stays_until_it_is_surely_gone() {
        let row = |spec: Value, ledger| CredentialRow {
            id: random::id(),
            name: "orders/db".parse().unwrap(),
            spec,
            ledger,
            seq: 1,
        };
        let (here, mut there) = (spec("orders/db", "orders_app"), spec("orders/db", "orders_app"));
        there["postgres"]["target"] = "elsewhere".into();
        let moved = |row: &CredentialRow| against_itself(&declared(there.clone()), row).len();
        assert_eq!(moved(&row(here.clone(), ledger(Stage::Current, false))), 1);
        assert_eq!(moved(&row(here.clone(), ledger(Stage::Revoked, true))), 1, "it is not cut yet");
        assert_eq!(moved(&row(here.clone(), ledger(Stage::Revoked, false))), 0);
        let mut unreadable = here;
        unreadable["written_by_a_later_release"] = 1.into();
        assert_eq!(moved(&row(unreadable, ledger(Stage::Current, false))), 1, "it is bound by what it says");
    }
}
