//! The figures of a campaign, kept in a file so that the next run goes on where this one stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Figures by name, saved after each change.
#[derive(Debug)]
pub(crate) struct Record {
    folder: PathBuf,
    file: PathBuf,
    figures: BTreeMap<String, u64>,
}

impl Record {
    /// What `folder` holds of the campaign `name`; nothing yet is nothing.
    pub(crate) fn open(folder: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let file = folder.join(format!("{name}.json"));
        let figures = match fs::read(&file) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("{} is damaged", file.display()))?
            }
            Err(_none_yet) => BTreeMap::new(),
        };
        Ok(Self { folder: folder.to_owned(), file, figures })
    }

    /// Where other files of the campaign go.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A figure; 0 if nothing was counted.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.figures.get(name).copied().unwrap_or(0)
    }

    /// Counts `more`, durable when this returns.
    pub(crate) fn add(&mut self, counted: &[(&str, u64)]) -> Result<()> {
        for (name, more) in counted {
            *self.figures.entry((*name).to_owned()).or_default() += more;
        }
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(&self.figures)?)?;
        fs::rename(&new, &self.file).with_context(|| format!("write {}", self.file.display()))
    }
}
