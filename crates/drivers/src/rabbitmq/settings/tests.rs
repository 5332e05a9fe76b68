//! What settings may say.

use std::time::Duration;

use super::*;
use crate::target::TlsMode;

/// A change, and the field that it is wrong in.
type Case<T> = (fn(&mut T), &'static str);

fn target() -> TargetSettings {
    let five = Span::new(Duration::from_secs(5));
    TargetSettings {
        address: "https://rabbit.internal:15671".into(),
        consumer_host: None,
        consumer_port: None,
        user: "rekey".into(),
        password_file: "not-read-here".into(),
        tls: TlsSettings { public: true, ..TlsSettings::default() },
        connect_timeout: five,
        request_timeout: five,
        transit: five,
        call_timeout: Span::new(Duration::from_secs(30)),
    }
}

fn account() -> Account {
    let permission = |vhost: &str| Permission {
        vhost: vhost.into(),
        configure: String::new(),
        write: ".*".into(),
        read: "^orders".into(),
    };
    Account {
        prefix: "orders".into(),
        adopt: Some(Adopt { login: "orders_legacy".into() }),
        tags: vec!["monitoring".into()],
        permissions: vec![permission("/"), permission("orders")],
    }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn good_settings_have_no_problem() {
    assert_eq!(target().problems(), []);
    assert_eq!(account().problems(), []);
    let ready = target().with(SecretBytes::from("p".to_owned()), None).unwrap();
    assert_eq!((ready.consumer.host.as_str(), ready.consumer.port), ("rabbit.internal", 5671));
    assert_eq!(
        fields(&target().with(SecretBytes::from(String::new()), None).unwrap_err()),
        ["password_file"]
    );
}

#[test]
fn each_problem_of_a_target_is_named() {
    let with = |change: fn(&mut TargetSettings)| {
        let mut target = target();
        change(&mut target);
        target.problems()
    };
    let cases: [Case<TargetSettings>; 8] = [
        (|target| target.address = "https://a/b".into(), "address"),
        (|target| target.address = "http://127.0.0.1:15672".into(), "address"),
        (|target| target.tls.mode = TlsMode::Disable, "tls.mode"),
        (|target| target.consumer_host = Some("a b".into()), "consumer_host"),
        (|target| target.consumer_port = Some(0), "port"),
        (|target| target.user = "a:b".into(), "user"),
        (|target| target.transit = Span::new(Duration::from_hours(1)), "transit"),
        (|target| target.call_timeout = Span::new(Duration::from_secs(1)), "call_timeout"),
    ];
    for (change, field) in cases {
        assert!(fields(&with(change)).contains(&field), "{field}: {:?}", with(change));
    }
}

#[test]
fn each_problem_of_an_account_is_named() {
    let cases: [Case<Account>; 9] = [
        (|account| account.prefix = "a/b".into(), "prefix"),
        (|account| account.adopt = Some(Adopt { login: "..".into() }), "adopt.login"),
        (|account| account.adopt = Some(Adopt { login: "orders_v1_x".into() }), "adopt.login"),
        (|account| account.tags = vec!["administrator".into()], "tags[0]"),
        (|account| account.tags = vec!["rekey:mine:a".into()], "tags[0]"),
        (|account| account.tags = vec!["a".into(); 9], "tags"),
        (|account| account.permissions.clear(), "permissions"),
        (|account| account.permissions[1].vhost = "/".into(), "permissions[1].vhost"),
        (|account| account.permissions[0].read = "a".repeat(513), "permissions[0].read"),
    ];
    for (change, field) in cases {
        let mut account = account();
        change(&mut account);
        assert_eq!(fields(&account.problems()), [field]);
    }
}
