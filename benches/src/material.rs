//! The credentials that everybody serves: a hundred, each about 256 bytes as an answer.

use std::collections::HashMap;

use rekey_proto::fleet::{Change, Serving, VersionData, serving::Offline};
use rekey_proto::local;

/// How many there are.
pub(crate) const CREDENTIALS: usize = 100;

/// The name of the credential `number`, counted around.
pub(crate) fn name(number: usize) -> String {
    format!("bench/credential-{:03}", number % CREDENTIALS)
}

fn fields() -> HashMap<String, Vec<u8>> {
    let fields = [
        ("username", "orders_app_v1_k2f9qdm4ztb7"),
        ("password", "b3N0ZW50YXRpb3VzbHktc2VjcmV0LWJ1dC1vbmx5LWEtYmVuY2htYXJr"),
        ("host", "orders-db.internal.example"),
        ("port", "5432"),
        ("database", "orders"),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect()
}

/// As a controller sends it.
pub(crate) fn change(number: usize) -> Change {
    Change {
        name: name(number),
        incarnation: 1,
        order: 1,
        current: Some(VersionData {
            version: 1,
            handle: format!("orders_app_v1_{number:03}"),
            fields: fields(),
            expires_in_ms: None,
        }),
        serving: Some(Serving {
            offline: Offline::ServeUntilExpiry.into(),
            offline_for_ms: None,
            one_at_a_time: false,
        }),
        ..Change::default()
    }
}

/// As a sidecar answers it.
pub(crate) fn answer() -> local::Credential {
    local::Credential {
        name: name(0),
        version: 1,
        stage: local::Stage::Current.into(),
        fields: fields(),
        generation: 1,
        ..local::Credential::default()
    }
}
