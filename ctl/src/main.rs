//! Starts `rekeyctl`.

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(rekeyctl::run().await.number())
}
