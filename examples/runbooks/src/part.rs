//! What rows run on, and what is said where one of them is missing.

use rekey_testkit::{kube, mariadb, moto, openbao, pgbouncer, postgres, prometheus, redis};
use serde::Serialize;

/// A part that somebody else makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// PostgreSQL.
    Postgres,
    /// `PgBouncer`.
    PgBouncer,
    /// Redis.
    Redis,
    /// MariaDB.
    Mariadb,
    /// AWS, as a double.
    Moto,
    /// A Kubernetes API server.
    Kube,
    /// OpenBao.
    Bao,
    /// Prometheus.
    Prometheus,
}

/// A part that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// The row that cannot run.
    pub row: String,
    /// What it lacks.
    pub part: String,
    /// What to type.
    pub install: String,
}

impl Part {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::PgBouncer => "PgBouncer",
            Self::Redis => "Redis",
            Self::Mariadb => "MariaDB",
            Self::Moto => "moto",
            Self::Kube => "Kubernetes",
            Self::Bao => "OpenBao",
            Self::Prometheus => "Prometheus",
        }
    }

    /// Whether `apt`, `cargo` and `pip` give it, so that `make test` has it.
    pub fn is_easy(self) -> bool {
        !matches!(self, Self::Kube | Self::Bao)
    }

    /// What to type where it is missing on this machine.
    pub fn install(self) -> Option<String> {
        let lacking = match self {
            Self::Postgres => postgres::lacking(),
            Self::PgBouncer => pgbouncer::lacking(),
            Self::Redis => redis::lacking(),
            Self::Mariadb => mariadb::lacking(),
            Self::Moto => moto::lacking(),
            Self::Kube => kube::lacking(),
            Self::Bao => openbao::lacking(),
            Self::Prometheus => prometheus::lacking(),
        }?;
        // "PgBouncer is not installed: apt-get install -y pgbouncer"
        Some(lacking.split_once(": ").map_or(lacking.clone(), |(_, line)| line.to_owned()))
    }
}
