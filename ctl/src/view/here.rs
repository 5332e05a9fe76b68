//! What is known without, or about, a controller: versions and contexts.

use serde::Serialize;

use super::people::Me;
use crate::context::{Context, Contexts};
use crate::failure::Outcome;
use crate::output::{Style, View};
use crate::table::columns;
use crate::text::printable;

/// This program's version and the controller's.
#[derive(Debug, Serialize)]
pub struct Versions {
    rekeyctl: &'static str,
    controller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
}

impl Versions {
    /// This program's, and what the controller said or why it did not.
    pub fn of(asked: Outcome<Me>) -> Self {
        let (controller, why_not) = match asked {
            Ok(me) => (Some(me.controller().to_owned()), None),
            Err(failure) => (None, Some(failure.message)),
        };
        Self { rekeyctl: env!("CARGO_PKG_VERSION"), controller, why_not }
    }
}

impl View for Versions {
    fn text(&self, _style: Style) -> String {
        let controller = match (&self.controller, &self.why_not) {
            (Some(version), _) => printable(version),
            (None, why) => format!("not known: {}", printable(why.as_deref().unwrap_or("it did not say"))),
        };
        format!("rekeyctl    {}\ncontroller  {controller}\n", self.rekeyctl)
    }
}

/// Contexts.
#[derive(Debug, Serialize)]
pub struct KnownContexts {
    current: Option<String>,
    contexts: Vec<KnownContext>,
}

#[derive(Debug, Serialize)]
struct KnownContext {
    name: String,
    controller: String,
    key_file: Option<String>,
}

impl KnownContexts {
    /// All of them, in the order of their names.
    pub fn of(contexts: &Contexts) -> Self {
        let known = |(name, context): (&String, &Context)| KnownContext {
            name: name.clone(),
            controller: context.controller.clone(),
            key_file: context.identity.as_ref().map(|identity| identity.key_file.display().to_string()),
        };
        Self { current: contexts.current.clone(), contexts: contexts.contexts.iter().map(known).collect() }
    }
}

impl View for KnownContexts {
    fn text(&self, _style: Style) -> String {
        if self.contexts.is_empty() {
            return "No context yet: `rekeyctl context add --help`.\n".to_owned();
        }
        let rows = self.contexts.iter().map(|context| {
            let mark = if self.current.as_ref() == Some(&context.name) { "*" } else { "" };
            let key = context.key_file.as_deref().unwrap_or("- (the kernel says who you are)");
            [mark.to_owned(), printable(&context.name), printable(&context.controller), printable(key)]
        });
        columns(["", "NAME", "CONTROLLER", "KEY"], rows)
    }
}
