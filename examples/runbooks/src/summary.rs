//! What a run has come to: a table for people, `summary.json` for programs, one line that says all.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::measured::Measured;
use crate::part::Lack;
use crate::row::Row;

/// The most texts of failures that are kept of a row.
const MOST_WHYS: usize = 20;

/// Everything that a run has come to.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Rows that ran.
    rows: usize,
    /// Those of them that failed.
    failed: usize,
    /// Rows that could not run, each part that was missing.
    pub lacking: Vec<Lack>,
    /// How long it all took.
    pub seconds: f64,
    /// By row, in order.
    pub results: Vec<Outcome>,
    #[serde(skip)]
    known: usize,
    #[serde(skip)]
    wanted: usize,
}

/// What one row has come to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    row: &'static str,
    system: &'static str,
    title: &'static str,
    target: String,
    version: String,
    rotations: u32,
    uses: u64,
    failures: usize,
    propagation_ms: Spread,
    ended: String,
    seconds: f64,
    /// Whether it reached its end and nothing failed.
    pub ok: bool,
    /// What failed.
    pub why: Vec<String>,
    notes: Vec<String>,
}

/// The middle and the greatest of a sample, in milliseconds.
#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
struct Spread {
    p50: u64,
    max: u64,
}

impl Spread {
    fn of(mut sample: Vec<u64>) -> Self {
        sample.sort_unstable();
        let middle = sample.len() / 2;
        let max = sample.last().copied().unwrap_or(0);
        Self { p50: sample.get(middle).copied().unwrap_or(0), max }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A promotion that everybody knew of in less than a millisecond there is not: this is no sample.
        if self.max == 0 { f.write_str("–") } else { write!(f, "{}/{}", self.p50, self.max) }
    }
}

impl Outcome {
    /// Judges what a row gave: an error, or any failure of a consumer, or nothing measured, is a failure.
    pub fn of(row: &Row, played: Result<Measured>, took: Duration) -> Self {
        let (measured, error) = match played {
            Ok(measured) => (measured, None),
            Err(error) => (Measured::default(), Some(format!("{error:#}"))),
        };
        let failures = measured.failures.len();
        let mut why: Vec<String> = error.into_iter().chain(measured.failures).take(MOST_WHYS).collect();
        if why.is_empty() && measured.ended.is_empty() {
            why.push("it does not say how it ended".to_owned());
        }
        Self {
            row: row.id,
            system: row.system,
            title: row.title,
            target: measured.target,
            version: measured.version,
            rotations: measured.rotations,
            uses: measured.uses,
            failures,
            propagation_ms: Spread::of(measured.propagation_ms),
            ended: measured.ended,
            seconds: took.as_secs_f64(),
            ok: why.is_empty(),
            why,
            notes: measured.notes,
        }
    }
}

impl Summary {
    /// Nothing yet, of `wanted` rows out of `known`.
    pub fn of(known: usize, wanted: usize) -> Self {
        Self { rows: 0, failed: 0, lacking: Vec::new(), seconds: 0.0, results: Vec::new(), known, wanted }
    }

    /// Whether every row that was wanted ran and nothing failed.
    pub fn is_good(&self) -> bool {
        self.lacking.is_empty() && self.results.len() == self.wanted && self.failed() == 0
    }

    /// As `summary.json` has it.
    pub fn json(&mut self) -> Result<String> {
        (self.rows, self.failed) = (self.results.len(), self.failed());
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn failed(&self) -> usize {
        self.results.iter().filter(|outcome| !outcome.ok).count()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "row",
            "target and version",
            "rotations",
            "uses",
            "failures",
            "ms p50/max",
            "s",
            "how the old one ended",
        ];
        let lines = self.results.iter().map(|row| {
            [
                row.row.to_owned(),
                format!("{} {}", row.target, row.version),
                row.rotations.to_string(),
                row.uses.to_string(),
                row.failures.to_string(),
                row.propagation_ms.to_string(),
                format!("{:.1}", row.seconds),
                if row.ok { row.ended.clone() } else { format!("FAILED: {}", row.why.join("; ")) },
            ]
        });
        let table: Vec<[String; 8]> = std::iter::once(head.map(str::to_owned)).chain(lines).collect();
        let width = |column: usize| {
            let cells = table.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for line in &table {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        for Lack { row, part, install } in &self.lacking {
            writeln!(f, "{row} could not run: {part} is missing: {install}")?;
        }
        let of = if self.wanted < self.known { format!(" of {}", self.known) } else { String::new() };
        writeln!(f, "rows={}{of} failed={}", self.results.len(), self.failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ROWS;

    fn good() -> Measured {
        Measured { ended: "dropped".to_owned(), uses: 9, ..Measured::at("PostgreSQL", "15") }
    }

    fn summary(results: Vec<Result<Measured>>) -> Summary {
        let mut summary = Summary::of(results.len(), results.len());
        summary.results =
            results.into_iter().map(|played| Outcome::of(&ROWS[0], played, Duration::ZERO)).collect();
        summary
    }

    fn last_line(summary: &Summary) -> String {
        summary.to_string().lines().last().unwrap().to_owned()
    }

    #[test]
    fn a_run_in_which_nothing_failed_is_good() {
        let summary = summary(vec![Ok(good()), Ok(good())]);
        assert!(summary.is_good());
        assert_eq!(last_line(&summary), "rows=2 failed=0");
    }

    #[test]
    fn an_error_a_failed_use_and_an_empty_result_are_failures() {
        let failed = Measured { failures: vec!["v3: a login".to_owned()], ..good() };
        let summary =
            summary(vec![Ok(good()), Err(anyhow::anyhow!("no")), Ok(failed), Ok(Measured::default())]);
        assert!(!summary.is_good());
        assert_eq!(last_line(&summary), "rows=4 failed=3");
        assert!(summary.to_string().contains("FAILED: v3: a login"), "{summary}");
    }

    #[test]
    fn a_row_that_could_not_run_is_named_and_no_success() {
        let mut summary = summary(vec![Ok(good())]);
        summary.wanted = 2;
        summary.lacking.push(Lack {
            row: "A5".into(),
            part: "Kubernetes".into(),
            install: "build it".into(),
        });
        assert!(!summary.is_good());
        assert!(
            summary.to_string().contains("A5 could not run: Kubernetes is missing: build it"),
            "{summary}"
        );
    }

    #[test]
    fn the_summary_has_the_keys_that_others_read() {
        let mut summary = summary(vec![Ok(Measured { propagation_ms: vec![9, 1, 4], ..good() })]);
        let json: serde_json::Value = serde_json::from_str(&summary.json().unwrap()).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&json), ["failed", "lacking", "results", "rows", "seconds"]);
        let result = &json["results"][0];
        let wanted = [
            "ended",
            "failures",
            "notes",
            "ok",
            "propagation_ms",
            "rotations",
            "row",
            "seconds",
            "system",
            "target",
            "title",
            "uses",
            "version",
            "why",
        ];
        assert_eq!(keys(result), wanted);
        assert_eq!(
            (&result["propagation_ms"]["p50"], &result["propagation_ms"]["max"]),
            (&4.into(), &9.into())
        );
    }

    #[test]
    fn of_a_choice_the_last_line_says_so() {
        let mut summary = summary(vec![Ok(good())]);
        summary.known = 22;
        assert_eq!(last_line(&summary), "rows=1 of 22 failed=0");
    }
}
