//! The rows of `sentryagent`.
