//! Five teams' runbooks, each procedure a declaration that can be copied and a run that proves it on a real part.
//!
//! The teams' folders (`agentaskit/`, `aos/` …) have the declarations and say what people did before. A *row* is one
//! procedure: it starts what it needs, rotates while a consumer uses the credential all the time, and measures.
//! `make runbooks` plays all of them; the tests play small forms of the same.

mod agentaskit;
mod aos;
mod cache;
mod cloud;
mod cloud_aegis;
mod cluster;
mod consumer;
mod consumers;
mod flashfusion;
mod login;
mod lost;
mod maria;
mod measured;
mod part;
mod patience;
mod row;
mod run;
mod sentryagent;
mod stage;
mod summary;
mod trial;
mod vault;

pub use measured::Measured;
pub use part::{Lack, Part};
pub use row::{ROWS, Row, Size};
pub use run::{Choice, run};
pub use stage::Stage;
pub use summary::{Outcome, Summary};
