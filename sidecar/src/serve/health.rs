//! `grpc.health.v1`: serving from the first snapshot on.

use std::sync::Arc;

use rekey_proto::encoded::credentials_server::SERVICE_NAME;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::live::Live;

/// What the health service says.
#[derive(Debug, Clone)]
pub struct Health {
    pub(super) reporter: HealthReporter,
}

impl Health {
    /// Not serving.
    pub async fn new() -> Self {
        let health = Self { reporter: HealthReporter::new() };
        health.say(ServingStatus::NotServing).await;
        health
    }

    /// Says that it serves once there is a complete snapshot, then ends.
    pub async fn begin(self, live: Arc<Live>) {
        live.complete().await;
        self.say(ServingStatus::Serving).await;
    }

    /// Says that it no longer serves.
    pub async fn end(&self) {
        self.say(ServingStatus::NotServing).await;
    }

    async fn say(&self, status: ServingStatus) {
        self.reporter.set_service_status("", status).await;
        self.reporter.set_service_status(SERVICE_NAME, status).await;
    }
}
