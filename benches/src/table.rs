//! The result: one table for people, one list for programs.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::rounds::Pair;

/// All measures in the order in which they were made.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    measure: &'static str,
    value: f64,
    unit: &'static str,
    anchor: &'static str,
    anchor_value: f64,
    ratio: f64,
    #[serde(skip)]
    spread: (f64, f64),
    #[serde(skip)]
    aim: &'static str,
}

/// What is measured beside what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) anchor: &'static str,
    /// In words; empty where there is none.
    pub(crate) aim: &'static str,
}

impl Table {
    pub(crate) fn add(&mut self, measure: Measure, pair: &Pair) {
        let (value, anchor_value) = pair.medians();
        let (ratio, least, most) = pair.ratio();
        let Measure { name, unit, anchor, aim } = measure;
        let spread = (least, most);
        self.rows.push(Row { measure: name, value, unit, anchor, anchor_value, ratio, spread, aim });
    }

    /// Prints the table.
    pub(crate) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{:<34} {:>12} {:<5} {:<24} {:>12} {:>7}  {:<13} aim",
            "measure", "value", "unit", "anchor", "its value", "ratio", "rounds"
        )?;
        for row in &self.rows {
            let spread = format!("{:.2}..{:.2}", row.spread.0, row.spread.1);
            writeln!(
                out,
                "{:<34} {:>12.2} {:<5} {:<24} {:>12.2} {:>7.2}  {spread:<13} {}",
                row.measure, row.value, row.unit, row.anchor, row.anchor_value, row.ratio, row.aim
            )?;
        }
        Ok(())
    }

    /// Writes the list.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_vec_pretty(self)?)?)
    }
}
