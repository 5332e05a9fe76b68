//! Asking the targets of what is declared: before it is stored, outside any transaction, and within a bounded time.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use rekey_drivers::Lack;

use super::Admin;
use super::declare::Declared;
use crate::executor::Checked;
use crate::spec::Problem;
use crate::store::CredentialRow;

/// The longest that one request asks targets: less than the listener gives a call. What did not answer is asked later.
const LONGEST: Duration = Duration::from_secs(3);
/// Questions to one target at a time.
const WIDTH: usize = 4;

/// What the targets said, by the place of a declaration in the request.
pub(super) type Answers = BTreeMap<usize, Checked>;

impl Admin {
    /// Asks the targets of those declarations that are new or say something new about the target.
    pub(super) async fn ask_targets(&self, declared: &[Declared], rows: &[CredentialRow]) -> Answers {
        let mut by_target: BTreeMap<&str, Vec<&Declared>> = BTreeMap::new();
        for one in declared.iter().filter(|one| is_to_be_asked(one, row_of(one, rows))) {
            by_target.entry(one.spec.driver.target().as_str()).or_default().push(one);
        }
        let mut answers = Answers::new();
        let each = by_target.into_values().map(|those| Box::pin(self.ask_target(those)));
        let mut asked = stream::select_all(each);
        let all = async {
            while let Some((place, answer)) = asked.next().await {
                answers.insert(place, answer);
            }
        };
        tokio::select! {
            () = all => {}
            () = self.0.clock.sleep(LONGEST) => {}
        }
        answers
    }

    /// Asks one target. Once it does not answer it is not asked about the others.
    fn ask_target(&self, declared: Vec<&Declared>) -> impl Stream<Item = (usize, Checked)> + Send {
        let one = |one: &Declared| {
            let (executor, place, spec) = (self.0.executor.clone(), one.place, one.spec.clone());
            async move { (place, executor.check(&spec).await) }
        };
        let questions: Vec<_> = declared.into_iter().map(one).collect();
        let asked = stream::iter(questions).buffer_unordered(WIDTH);
        asked.scan(true, |answers, (place, answer)| {
            let answered = std::mem::replace(answers, !matches!(answer, Checked::Away(_)));
            std::future::ready(answered.then_some((place, answer)))
        })
    }
}

/// Whether its target is to be asked: it is new, its target was not asked yet, or what is said of the target is new.
pub(super) fn is_to_be_asked(one: &Declared, row: Option<&CredentialRow>) -> bool {
    let kind = one.spec.driver.kind().name;
    row.is_none_or(|row| row.ledger.unchecked.is_some() || row.spec.get(kind) != one.json.get(kind))
}

/// What is stored of the same credential.
pub(super) fn row_of<'r>(one: &Declared, rows: &'r [CredentialRow]) -> Option<&'r CredentialRow> {
    rows.iter().find(|row| row.name == one.spec.name)
}

/// What is missing at a target, as problems of the section that names it.
pub(super) fn problems(one: &Declared, lacks: &[Lack]) -> Vec<Problem> {
    let kind = one.spec.driver.kind().name;
    let field = format!("{kind}.target");
    lacks.iter().map(|lack| Problem::new(field.clone(), lack.what.clone(), lack.remedy.clone())).collect()
}

/// Why a target that was to be asked was not, if it was not.
pub(super) fn unasked(answer: Option<&Checked>) -> Option<String> {
    match answer {
        Some(Checked::Good | Checked::Lacks(_)) => None,
        Some(Checked::Away(why)) => Some(why.clone()),
        None => Some(format!("the target did not answer within {LONGEST:?}")),
    }
}
