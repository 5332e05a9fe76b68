//! Plays rows one after the other, each on a stage that works, and sums them up.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use rekey_testkit::platform::{Programs, folder};

use crate::part::Lack;
use crate::patience::now;
use crate::row::{ROWS, Row, Size};
use crate::stage::Stage;
use crate::summary::{Outcome, Summary};

/// What is to be run, and where its results go.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Only these rows; empty: all.
    pub rows: Vec<String>,
    /// Only this system's.
    pub system: Option<String>,
    /// How much of each.
    pub size: Size,
    /// Where the summary goes.
    pub folder: PathBuf,
    /// Whether the files of the run are kept.
    pub keep: bool,
}

impl Choice {
    /// The rows that are meant; an error names what there is not.
    fn rows(&self) -> Result<Vec<&'static Row>> {
        for id in &self.rows {
            ensure!(ROWS.iter().any(|row| row.id == id), "there is no row {id}; there are {}", ids());
        }
        let is_meant = |row: &&Row| {
            (self.rows.is_empty() || self.rows.iter().any(|id| id == row.id))
                && self.system.as_deref().is_none_or(|system| system == row.system)
        };
        let rows: Vec<_> = ROWS.iter().filter(is_meant).collect();
        ensure!(!rows.is_empty(), "no row is meant; there are {}", ids());
        Ok(rows)
    }
}

fn ids() -> String {
    ROWS.iter().map(|row| row.id).collect::<Vec<_>>().join(" ")
}

/// Runs what was chosen, shows progress on standard error, and writes `summary.json`.
pub fn run(choice: &Choice, programs: Programs) -> Result<Summary> {
    let begun = now();
    let rows = choice.rows()?;
    let mut summary = Summary::of(ROWS.len(), rows.len());
    let mut hall = Hall::open(choice, programs)?;
    for row in rows {
        let lacking = lacking(row);
        if let Some(first) = lacking.first() {
            eprintln!("{:4} cannot run: {} is missing", row.id, first.part);
            summary.lacking.extend(lacking);
            continue;
        }
        eprintln!("{:4} {}: {}", row.id, row.system, row.title);
        let outcome = hall.play(row, choice.size);
        for why in &outcome.why {
            eprintln!("     failed: {why}");
        }
        summary.results.push(outcome);
    }
    summary.seconds = begun.elapsed().as_secs_f64();
    std::fs::create_dir_all(&choice.folder).context("make the folder of the summary")?;
    let path = choice.folder.join("summary.json");
    std::fs::write(&path, summary.json()?).with_context(|| format!("write {}", path.display()))?;
    hall.close();
    Ok(summary)
}

/// What of its parts a row lacks on this machine.
fn lacking(row: &Row) -> Vec<Lack> {
    let lack = |part: &crate::Part| {
        let install = part.install()?;
        Some(Lack { row: row.id.to_owned(), part: part.name().to_owned(), install })
    };
    row.needs.iter().filter_map(lack).collect()
}

/// Keeps a stage for the next row, and builds another after a row that failed.
struct Hall {
    programs: Programs,
    place: PathBuf,
    out: PathBuf,
    stages: u32,
    stage: Option<Stage>,
    keep: bool,
}

impl Hall {
    fn open(choice: &Choice, programs: Programs) -> Result<Self> {
        // The parts run as somebody else when this runs as root, and must reach their files.
        let parent = match rekey_testkit::unprivileged() {
            Some(_) => std::env::temp_dir(),
            None => choice.folder.clone(),
        };
        let place = folder(
            &std::path::absolute(parent)?,
            &format!("rekey-runbooks-{}-{}", std::process::id(), serial()),
        )?;
        let out = choice.folder.clone();
        Ok(Self { programs, place, out, stages: 0, stage: None, keep: choice.keep })
    }

    fn stage(&mut self) -> Result<&mut Stage> {
        if self.stage.is_none() {
            self.stages += 1;
            let place = folder(&self.place, &format!("stage-{}", self.stages))?;
            self.stage = Some(Stage::build(self.programs.clone(), &place, &self.out, "info")?);
        }
        self.stage.as_mut().context("it was just built")
    }

    fn play(&mut self, row: &'static Row, size: Size) -> Outcome {
        let begun = now();
        let played = self.stage().and_then(|stage| {
            let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (row.play)(stage, size)));
            caught.unwrap_or_else(|_panic| anyhow::bail!("it panicked; its words stand above"))
        });
        let outcome = Outcome::of(row, played, begun.elapsed());
        if !outcome.ok
            && let Some(mut stage) = self.stage.take()
        {
            self.keep = true;
            if let Ok(controller) = stage.platform.controller() {
                eprintln!("     the controller's log ends:\n{}", controller.log_end());
            }
        }
        outcome
    }

    fn close(self) {
        drop(self.stage);
        if self.keep {
            eprintln!("the files of this run are in {}", self.place.display());
        } else {
            std::fs::remove_dir_all(&self.place).ok();
        }
    }
}

/// Tells runs of one process from each other.
fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::SeqCst)
}
