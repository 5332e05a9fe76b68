//! What a rotation would do, who holds the credential, what would break. Changes nothing.

use rekey_proto::admin as wire;

use super::caller::Caller;
use super::refusal::Refusal;
use super::{Admin, show};
use crate::executor::Report;
use crate::spec::{Canary, Spec};

impl Admin {
    pub(super) async fn plan_rotation(
        &self,
        _caller: &Caller,
        asked: wire::PlanRotateRequest,
    ) -> Result<wire::PlanRotateResponse, Refusal> {
        let name = show::named(&asked.name)?;
        let report = self.0.executor.report(&name).await.map_err(|e| Refusal::of_commit(&name, e))?;
        let report = report.ok_or_else(|| Refusal::no_credential(name.as_str()))?;
        let mut obstacles: Vec<String> = show::obstacle(&report).into_iter().collect();
        if report.spec.driver.is_followed() {
            obstacles.push(Refusal::followed(&name).to_string());
        }
        if let Err(error) = self.0.drivers.driver(&report.spec) {
            obstacles.push(format!("the target cannot be used: {error}"));
        }
        Ok(wire::PlanRotateResponse {
            steps: steps(&report),
            obstacles,
            warnings: warnings(&report),
            holders: Some(show::count(&report)),
        })
    }
}

fn steps(report: &Report) -> Vec<String> {
    let (ledger, grace) = (&report.ledger, &report.spec.grace);
    let plan = &report.spec.driver.facts().plan;
    let next = ledger.next_version();
    let counting = report.holders.iter().filter(|holder| holder.counts).count();
    let make = format!("make {next}: {}", plan.make.replace("{next}", &next.to_string()));
    let prove = format!("prove it: {}", plan.prove);
    if let Some(barrier) = &report.spec.barrier {
        return vec![
            format!(
                "hand it to {counting} sidecars as what comes next, and wait until each has acknowledged it"
            ),
            format!(
                "let readers wait, at most {}, and go on when each sidecar has confirmed that they do",
                barrier.wait
            ),
            make,
            prove,
            "let readers have it; sessions that are open go on".to_owned(),
        ];
    }
    let mut steps = vec![make, prove];
    steps.extend(report.spec.canary.as_ref().map(canary));
    steps.push(format!("hand it to {counting} sidecars, and wait until each has acknowledged it"));
    if report.spec.driver.is_followed() {
        return steps;
    }
    if let Some(old) = ledger.current.and_then(|current| ledger.version(current)) {
        steps.push(format!(
            "keep both valid for at least {}, and until nobody was seen on {} for {}; after {} an alarm{}",
            grace.floor,
            old.handle,
            grace.quiet,
            grace.deadline,
            origin(&report.spec)
        ));
        steps.push(format!("end {}: {}", old.handle, plan.end));
    }
    steps
}

/// Who tries it first.
fn canary(canary: &Canary) -> String {
    let Canary { holder, uses, within } = canary;
    let who = holder.as_ref().map_or("one sidecar".to_owned(), ToString::to_string);
    format!("hand it to {who} first, until {uses} uses are good there, or none was refused within {within}")
}

/// Which of these times are not the declaration's own.
fn origin(spec: &Spec) -> String {
    let Some(taken) = &spec.taken else { return String::new() };
    let times: Vec<&str> = taken.fields.iter().filter_map(|field| field.strip_prefix("grace.")).collect();
    if times.is_empty() {
        String::new()
    } else {
        format!(" ({} from class {})", times.join(", "), taken.class)
    }
}

fn warnings(report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.spec.deliver.to.is_empty() {
        warnings.push("deliver.to is empty: no sidecar gets it".to_owned());
    }
    let counting: Vec<_> = report.holders.iter().filter(|holder| holder.counts).collect();
    if counting.is_empty() {
        warnings.push("no sidecar holds it: nobody would say that the new version works".to_owned());
    }
    for away in counting.iter().filter(|holder| !holder.live) {
        let acked = away.row.acked.map(|acked| acked.order);
        let declared = report.spec.deliver.offline.serves_alone_for();
        let until = match report.ledger.longest_alone(acked, declared) {
            Some(alone) => format!("until it is back, or for {}", rekey_model::Span::new(alone)),
            None => "until it is back, or until `rekeyctl sidecar remove`".to_owned(),
        };
        warnings.push(format!("{} is away: the rotation waits {until}", away.name));
    }
    warnings.extend(report.troubles.iter().map(|trouble| format!("lately: {trouble}")));
    warnings
}
