//! One procedure of a runbook, and the list of all of them.

use std::path::Path;

use anyhow::Result;

use crate::measured::Measured;
use crate::part::Part;
use crate::stage::Stage;
use crate::{agentaskit, aos, cloud_aegis, flashfusion, sentryagent};

/// How much of a row is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// All of it.
    Whole,
    /// One rotation, for a test.
    Small,
}

impl Size {
    /// How many rotations a row does.
    pub fn rotations(self) -> u32 {
        match self {
            Self::Whole => 3,
            Self::Small => 1,
        }
    }
}

/// One procedure. It may run after any other row and alone.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its id in the runbooks, such as `A3`.
    pub id: &'static str,
    /// Whose it is: the folder of its declaration.
    pub system: &'static str,
    /// What it does.
    pub title: &'static str,
    /// What it runs on.
    pub needs: &'static [Part],
    /// Its declarations, as files of its folder.
    pub files: &'static [&'static str],
    /// Plays it. An error is what kept it from its end; what failed for consumers is in what it gives.
    pub play: fn(&mut Stage, Size) -> Result<Measured>,
}

impl Row {
    /// The folder of its declaration.
    pub fn folder(&self) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.system)
    }
}

/// All rows, in the order of the runbooks, each on a line of its own.
#[rustfmt::skip]
pub static ROWS: &[Row] = &[
    agentaskit::A3,
    agentaskit::A5,
    agentaskit::A7,
    agentaskit::A10,
    agentaskit::A11,
    agentaskit::A12,
    aos::B2,
    aos::B5,
    aos::B7,
    aos::B8,
    aos::B9,
    aos::B12,
    cloud_aegis::C3,
    cloud_aegis::C4,
    cloud_aegis::C7,
    cloud_aegis::C8,
    cloud_aegis::C9,
    flashfusion::D1,
    flashfusion::D3,
    flashfusion::D4,
    sentryagent::E2,
    sentryagent::E6,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The rows that are to be: what the runbooks ask for beyond recipes, stores and key rings.
    const WANTED: [&str; 22] = [
        "A3", "A5", "A7", "A10", "A11", "A12", "B2", "B5", "B7", "B8", "B9", "B12", "C3", "C4", "C7", "C8",
        "C9", "D1", "D3", "D4", "E2", "E6",
    ];

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    #[test]
    fn rows_stand_once_and_in_the_order_of_the_runbooks() {
        let ids: Vec<&str> = ROWS.iter().map(|row| row.id).collect();
        let in_order: Vec<&str> = WANTED.into_iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(ids, in_order);
    }

    #[test]
    fn every_row_says_what_was_done_before_and_what_is_done_now_in_three_lines_each() {
        for row in ROWS {
            let page = read(&row.folder().join("README.md"));
            let section = page.split("\n## ").find(|section| section.starts_with(&format!("{} ", row.id)));
            let section = section.unwrap_or_else(|| panic!("{} has no section in its README", row.id));
            let (before, now) = section.split_once("*Now*").unwrap();
            let lines = |text: &str| text.lines().filter(|line| line.starts_with("- ")).count();
            assert!(before.contains("*Before*"), "{}", row.id);
            assert_eq!((lines(before), lines(now)), (3, 3), "{}", row.id);
            for file in row.files {
                assert!(now.contains(&format!("({file})")), "the section of {} does not name {file}", row.id);
            }
        }
    }

    #[test]
    fn every_file_beside_the_page_is_a_declaration_of_a_row() {
        let folders: BTreeSet<_> = ROWS.iter().map(Row::folder).collect();
        for folder in folders {
            let told: BTreeSet<&str> =
                ROWS.iter().filter(|row| row.folder() == folder).flat_map(|row| row.files).copied().collect();
            let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
            let names: BTreeSet<String> = entries.map(|name| name.into_string().unwrap()).collect();
            let yaml: BTreeSet<&str> =
                names.iter().map(String::as_str).filter(|name| *name != "README.md").collect();
            assert_eq!(yaml, told, "{}", folder.display());
            for name in yaml {
                assert!(read(&folder.join(name)).starts_with("credential: "), "{name}");
            }
        }
    }
}
