//! One thing that is wrong with a spec. Names fields, never the values in them.

use std::fmt;

/// One thing that is wrong with a spec: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted path of the field, such as `grace.floor` or `deliver.to[2]`; empty: the whole spec.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// A problem with `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), remedy: remedy.into() }
    }
}

impl From<rekey_settings::Problem> for Problem {
    fn from(problem: rekey_settings::Problem) -> Self {
        let rekey_settings::Problem { file: _, line: _, field, message, remedy } = problem;
        Self { field, message, remedy }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}: {}", self.message, self.remedy)
        } else {
            write!(f, "{}: {}: {}", self.field, self.message, self.remedy)
        }
    }
}
