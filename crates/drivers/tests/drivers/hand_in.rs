//! Hand-in against a scripted double of a provider (`rekey_testkit::console`): no provider's console can be had here.

use std::sync::Arc;
use std::time::Duration;

use rekey_drivers::hand_in::{Account, HandIn, Probe, TargetSettings, TlsSettings};
use rekey_drivers::{Driver, DriverError, Intent, Owner, Proof};
use rekey_model::{Fields, Handle, SecretBytes, Span, Version};
use rekey_testkit::console::Console;
use rekey_testkit::process::free_port;

use crate::conformance::{self, ByHand, refused};

struct Provider {
    console: Console,
    driver: HandIn,
}

fn driver(port: u16, probe: bool) -> HandIn {
    let secs = |secs| Span::new(Duration::from_secs(secs));
    let target = TargetSettings {
        address: Some(format!("http://127.0.0.1:{port}")),
        tls: TlsSettings::default(),
        connect_timeout: secs(5),
        request_timeout: secs(10),
        call_timeout: secs(20),
    };
    let asks = || Probe {
        get: "/v1/me".to_owned(),
        header: "Authorization: Bearer {value}".parse().unwrap(),
        good: vec![200],
        refused: vec![401, 403],
    };
    let account = Account {
        name: "aos-clerk".to_owned(),
        page: "https://console.example/keys".to_owned(),
        steps: Vec::new(),
        delete: Vec::new(),
        follow: None,
        probe: probe.then(asks),
        notice: None,
        life: None,
    };
    let owner = Owner { installation: "test".to_owned(), credential: "aos/clerk".parse().unwrap() };
    HandIn::new(target.with(None).unwrap(), account, &owner).unwrap()
}

impl Provider {
    fn start() -> Self {
        let console = Console::start();
        let driver = driver(console.port(), true);
        Self { console, driver }
    }

    async fn fields(&self, version: u64) -> Fields {
        self.driver.install(&self.intent(version)).await.unwrap().fields
    }
}

fn given(version: u64, value: &str) -> Intent {
    let secret = SecretBytes::new(value.as_bytes().to_vec());
    let handle = format!("aos-clerk_v{version}").parse().unwrap();
    Intent::chosen(Version::new(version).unwrap(), handle, Arc::new(secret))
}

impl ByHand for Provider {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn intent(&self, version: u64) -> Intent {
        given(version, &self.console.make_key(&format!("aos-clerk_v{version}")))
    }

    fn delete(&self, handle: &Handle) {
        assert!(self.console.delete(handle.as_str()));
    }

    fn nobody_listens(&self) -> Arc<dyn Driver> {
        Arc::new(driver(free_port().unwrap(), true))
    }
}

#[tokio::test]
async fn it_keeps_the_rules_of_what_is_made_by_hand() {
    conformance::by_hand(&Provider::start()).await;
}

#[tokio::test]
async fn only_a_declared_status_proves_anything() {
    let provider = Provider::start();
    let fields = provider.fields(1).await;
    for status in [301, 404, 418, 500, 502, 503] {
        provider.console.answer_all(Some((status, None)));
        let error = provider.driver.probe(&fields, None).await.unwrap_err();
        assert!(matches!(error, DriverError::Unavailable(_)), "{status}: {error:?}");
    }
    provider.console.answer_all(Some((429, Some(7))));
    let error = provider.driver.probe(&fields, None).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    provider.console.answer_all(Some((403, None)));
    refused(provider.driver.probe(&fields, None).await, "a status that was declared so");
}

#[tokio::test]
async fn nobody_reads_a_refused_value_in_the_refusal() {
    let provider = Provider::start();
    for value in ["ck_SECRET", "ck_SECRET\r\nX-Admin: yes"] {
        let fields = provider.driver.install(&given(1, value)).await.unwrap().fields;
        // The double says what it was sent, as some providers do.
        let error = provider.driver.probe(&fields, None).await.unwrap_err();
        assert!(matches!(error, DriverError::Refused(_)));
        assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
    }
}

#[tokio::test]
async fn without_a_probe_nobody_is_asked() {
    let nobody = driver(free_port().unwrap(), false);
    let fields = nobody.install(&given(1, "anything")).await.unwrap().fields;
    assert_eq!(nobody.probe(&fields, None).await.unwrap(), Proof { probes: 0 });
}
