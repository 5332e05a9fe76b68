//! What settings may say.

use super::*;
use crate::Owner;
use crate::target::TlsMode;

fn span(seconds: u64) -> Span {
    Span::new(Duration::from_secs(seconds))
}

fn target() -> TargetSettings {
    TargetSettings {
        host: "db.internal".into(),
        port: 5432,
        consumer_host: None,
        consumer_port: None,
        admin_database: "postgres".into(),
        user: "rekey".into(),
        password_file: "/etc/rekey/orders-pg.password".into(),
        tls: TlsSettings { ca_file: Some("/etc/rekey/ca.pem".into()), ..TlsSettings::default() },
        connect_timeout: span(5),
        statement_timeout: span(5),
        transit: span(5),
        call_timeout: span(30),
        pending_life: span(3600),
    }
}

fn account() -> Account {
    Account {
        database: "orders".into(),
        owner_role: "orders_owner".into(),
        prefix: "orders_app".into(),
        adopt: None,
        search_path: Vec::new(),
        probes: vec!["SELECT count(*) FROM orders".into()],
    }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn good_settings_have_no_problem() {
    assert_eq!(target().problems(), []);
    assert_eq!(account().problems(), []);
    let owner = Owner { installation: "01J-a.b:c_d".into(), credential: "orders/db".parse().unwrap() };
    assert_eq!(owner.problems(), []);
}

#[test]
fn plain_connections_stay_on_this_machine() {
    for (host, good) in [
        ("/run/postgresql", true),
        ("localhost", true),
        ("127.0.0.1", true),
        ("127.8.9.1", true),
        ("::1", true),
        ("localhost.example.com", false),
        ("10.0.0.1", false),
        ("db.internal", false),
        ("127.0.0.1.nip.io", false),
    ] {
        let tls = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
        let settings = TargetSettings { host: host.into(), tls, ..target() };
        assert_eq!(settings.problems().is_empty(), good, "{host}");
    }
    let tls = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
    let consumers = TargetSettings {
        host: "/run/postgresql".into(),
        consumer_host: Some("db.internal".into()),
        tls,
        ..target()
    };
    assert_eq!(fields(&consumers.problems()), ["tls.mode"]);
}

#[test]
fn every_problem_is_told_at_once_and_names_its_field() {
    let bad = TargetSettings {
        host: "a b".into(),
        port: 0,
        user: String::new(),
        tls: TlsSettings { server_name: Some("*".into()), ..TlsSettings::default() },
        transit: Span::new(Duration::ZERO),
        call_timeout: Span::new(Duration::from_secs(1)),
        ..target()
    };
    let expected = ["host", "port", "tls.ca_file", "tls.server_name", "user", "transit", "call_timeout"];
    assert_eq!(fields(&bad.problems()), expected);
    let bad = Account {
        database: "d".repeat(64),
        owner_role: "o\0".into(),
        prefix: "Orders-App".into(),
        adopt: Some(Adopt { login: "two words".into(), member: true }),
        search_path: vec!["app".into(), String::new()],
        probes: vec![" ".into(), "SELECT 1".into(), "x".repeat(4097)],
    };
    let expected =
        ["database", "owner_role", "search_path[1]", "prefix", "adopt.login", "probes[0]", "probes[2]"];
    assert_eq!(fields(&bad.problems()), expected);
}

#[test]
fn a_target_without_password_or_authority_is_none() {
    let problems = target().with(SecretBytes::new(Vec::new()), None).unwrap_err();
    assert_eq!(fields(&problems), ["password_file", "tls.ca_file"]);
    let problems = target().with(SecretBytes::new(b"p".to_vec()), Some(b"not PEM")).unwrap_err();
    assert_eq!(fields(&problems), ["tls.ca_file"]);
}
