//! Tests that need the whole system, and tests of the tree itself. There is nothing to link here: see `tidy/` (borders,
//! bans, budgets) and `suite/` (the real binaries against a private PostgreSQL).
