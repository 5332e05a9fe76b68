//! Settings: text that is read once, strictly, and whose problems are told all together, each with its line, its
//! field and a remedy.
//!
//! What is told names keys and never shows a value, because a value may be a secret.

mod document;
mod file;
mod nearest;
mod problem;
mod reader;
mod tree;

pub use document::Document;
pub use file::{Written, check_secret_file, read_left_secret, read_secret_file, read_text};
pub use nearest::nearest;
pub use problem::{Problem, Problems};
pub use reader::Section;

#[cfg(test)]
mod tests;
