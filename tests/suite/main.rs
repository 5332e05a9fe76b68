//! The real binaries against a private PostgreSQL.
