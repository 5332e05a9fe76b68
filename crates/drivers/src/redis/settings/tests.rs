//! What settings may say.

use super::*;
use crate::target::TlsMode;

fn target() -> TargetSettings {
    TargetSettings {
        nodes: vec!["a.internal:6379".into(), "b.internal:6379".into()],
        consumer_host: None,
        consumer_port: None,
        user: "rekey".into(),
        password_file: "/etc/rekey/cache.password".into(),
        persist: Persist::AclFile,
        tls: TlsSettings { ca_file: Some("/etc/rekey/ca.pem".into()), ..TlsSettings::default() },
        connect_timeout: Span::new(Duration::from_secs(5)),
        command_timeout: Span::new(Duration::from_secs(5)),
        call_timeout: Span::new(Duration::from_secs(30)),
    }
}

fn account() -> Account {
    Account { user: "orders".into(), adopt: None, one_password: false, probes: vec!["GET some:key".into()] }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn good_settings_have_no_problem() {
    assert_eq!(target().problems(), []);
    assert_eq!(account().problems(), []);
    let adopt = Some(Adopt { sha256: "0a".repeat(32) });
    assert_eq!(Account { adopt, ..account() }.problems(), []);
}

#[test]
fn every_node_is_a_host_and_a_port_and_named_once() {
    for (node, shown) in [("a:1", "a:1"), ("10.0.0.1:65535", "10.0.0.1:65535"), ("[::1]:6379", "[::1]:6379")]
    {
        assert_eq!(node.parse::<Route>().unwrap().to_string(), shown);
    }
    for bad in
        ["", "a", "a:", ":1", "a:0", "a:65536", "::1:6379", "a b:1", "/run/redis.sock:1", "redis://a:1"]
    {
        let problems = TargetSettings { nodes: vec![bad.into()], ..target() }.problems();
        assert_eq!(fields(&problems), ["nodes[0]"], "{bad:?}");
    }
    let twice = TargetSettings { nodes: vec!["a:1".into(), "b:1".into(), "a:1".into()], ..target() };
    assert_eq!(fields(&twice.problems()), ["nodes[2]"]);
    assert_eq!(fields(&TargetSettings { nodes: Vec::new(), ..target() }.problems()), ["nodes"]);
}

#[test]
fn plain_connections_stay_on_this_machine() {
    let plain = TlsSettings { mode: TlsMode::Disable, ..TlsSettings::default() };
    let at = |nodes: &[&str], consumer: Option<&str>| {
        let nodes = nodes.iter().map(ToString::to_string).collect();
        let consumer_host = consumer.map(str::to_owned);
        TargetSettings { nodes, consumer_host, tls: plain.clone(), ..target() }.problems()
    };
    assert_eq!(at(&["127.0.0.1:1", "localhost:1", "[::1]:1"], None), []);
    assert_eq!(fields(&at(&["127.0.0.1:1", "10.0.0.1:1"], None)), ["tls.mode"]);
    assert_eq!(fields(&at(&["127.0.0.1:1"], Some("cache.internal"))), ["tls.mode"]);
    let untrusted = TargetSettings { tls: TlsSettings::default(), ..target() };
    assert_eq!(fields(&untrusted.problems()), ["tls.ca_file"]);
}

#[test]
fn an_account_is_a_user_of_its_own_and_its_probes_are_single_commands() {
    for bad in ["", "default", "a b", "a#b", "a\"b", &"a".repeat(129)] {
        assert_eq!(fields(&Account { user: (*bad).to_owned(), ..account() }.problems()), ["user"], "{bad}");
    }
    for bad in ["", " ", "AUTH x", "subscribe news", "MULTI"] {
        assert_eq!(
            fields(&Account { probes: vec![bad.into()], ..account() }.problems()),
            ["probes[0]"],
            "{bad}"
        );
    }
    for bad in ["", "abc", &"A".repeat(64)] {
        let adopt = Some(Adopt { sha256: bad.to_owned() });
        assert_eq!(fields(&Account { adopt, ..account() }.problems()), ["adopt.sha256"], "{bad}");
    }
}
