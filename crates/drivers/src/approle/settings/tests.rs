//! What is refused of settings, field by field.

use super::*;
use crate::target::TlsMode;

fn target() -> TargetSettings {
    let span = |seconds| Span::new(Duration::from_secs(seconds));
    TargetSettings {
        address: "https://bao.internal:8200".into(),
        consumer_address: None,
        mount: "approle".into(),
        login: Login::Token,
        secret_file: "token".into(),
        tls: TlsSettings { ca_file: Some("ca.pem".into()), ..TlsSettings::default() },
        connect_timeout: span(5),
        request_timeout: span(10),
        call_timeout: span(30),
        max_request_duration: span(90),
    }
}

fn account() -> Account {
    Account {
        role: "orders".into(),
        ttl: None,
        num_uses: None,
        cidrs: Vec::new(),
        tokens: Tokens::Watch,
        policies: Vec::new(),
        probes: Vec::new(),
    }
}

#[test]
fn an_address_is_a_scheme_a_host_and_a_port() {
    assert_eq!(target().problems(), []);
    for bad in [
        "bao.internal:8200",
        "ftp://bao.internal",
        "https://",
        "https://bao.internal/prefix",
        "https://user@bao.internal",
        "https://bao.internal?a=b",
        "http://bao.internal:8200",
    ] {
        for consumer in [false, true] {
            let mut target = target();
            *(if consumer { target.consumer_address.get_or_insert_default() } else { &mut target.address }) =
                bad.into();
            let fields: Vec<_> = target.problems().into_iter().map(|problem| problem.field).collect();
            assert_eq!(fields, [if consumer { "consumer_address" } else { "address" }], "{bad}");
        }
    }
}

#[test]
fn plain_http_is_for_loopback() {
    let tls = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
    let at =
        |address: &str| TargetSettings { address: address.into(), tls: tls.clone(), ..target() }.problems();
    assert_eq!(at("http://127.0.0.1:8200"), []);
    assert_eq!(at("http://localhost:8200"), []);
    for bad in ["http://bao.internal:8200", "https://bao.internal:8200"] {
        assert_eq!(at(bad).first().map(|problem| problem.field.as_str()), Some("tls.mode"), "{bad}");
    }
}

#[test]
fn what_goes_into_a_path_cannot_leave_it() {
    for bad in ["", "a b", "../sys", "a/../b", "a//b", "/a", "a/", "a?b", "a%2fb"] {
        assert!(!TargetSettings { mount: bad.into(), ..target() }.problems().is_empty(), "{bad}");
        assert!(!Account { role: bad.into(), ..account() }.problems().is_empty(), "{bad}");
        assert!(!Account { probes: vec![bad.into()], ..account() }.problems().is_empty(), "{bad}");
    }
    assert!(!Account { role: "a/b".into(), ..account() }.problems().is_empty());
    let good =
        Account { probes: vec!["secret/data/orders".into()], cidrs: vec!["10.0.0.0/8".into()], ..account() };
    assert_eq!(good.problems(), []);
    assert!(!Account { cidrs: vec!["here".into()], ..account() }.problems().is_empty());
    assert!(!Account { num_uses: Some(0), ..account() }.problems().is_empty());
    assert!(!Account { ttl: Some(Span::new(Duration::from_secs(1))), ..account() }.problems().is_empty());
}
