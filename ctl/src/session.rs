//! One run of a command: the controller it talks to, and where its answers go.

use std::future::Future;
use std::time::Duration;

use rekey_proto::admin::admin_client::AdminClient;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::cli::Global;
use crate::connect;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::Output;

/// One run of a command.
#[derive(Debug, Clone)]
pub struct Session {
    /// The controller.
    pub client: AdminClient<Channel>,
    /// Where answers go.
    pub output: Output,
    limit: Duration,
}

impl Session {
    /// A run against the controller that `global` names.
    pub fn open(global: &Global, output: Output) -> Outcome<Self> {
        let context = connect::choose(global)?;
        Ok(Self { client: connect::open(&context)?, output, limit: global.call_timeout.get() })
    }

    /// The answer of one call, within the time that a call may take.
    pub async fn call<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Outcome<T> {
        match tokio::time::timeout(self.limit, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_elapsed) => Err(Failure::new(
                Exit::TimedOut,
                "the controller did not answer in time",
                "whatever was asked may still happen: look with `rekeyctl status`; --call-timeout waits longer",
            )),
        }
    }
}
