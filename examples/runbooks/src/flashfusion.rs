//! The rows of `flashfusion`.
