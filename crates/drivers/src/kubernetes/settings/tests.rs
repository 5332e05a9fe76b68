//! What is refused of settings, field by field.

use super::*;

fn target() -> TargetSettings {
    let span = |seconds| Span::new(Duration::from_secs(seconds));
    TargetSettings {
        server: "https://10.0.0.1:6443".into(),
        consumer_server: None,
        token_file: "token".into(),
        tls: TlsSettings { ca_file: Some("ca.pem".into()), ..TlsSettings::default() },
        connect_timeout: span(5),
        request_timeout: span(10),
        call_timeout: span(40),
        server_timeout: span(60),
    }
}

fn account() -> Account {
    Account {
        namespace: "orders".into(),
        service_account: "orders.api".into(),
        audiences: Vec::new(),
        life: Span::new(Duration::from_hours(1)),
        probes: Vec::new(),
    }
}

#[test]
fn a_server_is_a_scheme_a_host_and_a_port() {
    assert_eq!(target().problems(), []);
    assert_eq!(route("https://[::1]"), Some(("https", "::1".into(), 443)));
    assert_eq!(
        route("https://kubernetes.default.svc:6443/"),
        Some(("https", "kubernetes.default.svc".into(), 6443))
    );
    for bad in
        ["10.0.0.1:6443", "ftp://a", "https://", "https://a/b", "https://a@b", "https://a?b", "http://a"]
    {
        let fields = |target: TargetSettings| -> Vec<String> {
            target.problems().into_iter().map(|problem| problem.field).collect()
        };
        assert_eq!(fields(TargetSettings { server: bad.into(), ..target() }), ["server"], "{bad}");
        let consumer = TargetSettings { consumer_server: Some(bad.into()), ..target() };
        assert_eq!(fields(consumer), ["consumer_server"], "{bad}");
    }
    let short = TargetSettings { call_timeout: Span::new(Duration::from_secs(11)), ..target() };
    assert!(!short.problems().is_empty(), "an ending takes longer");
}

#[test]
fn what_goes_into_a_path_cannot_leave_it() {
    assert_eq!(account().problems(), []);
    for bad in ["", "A", "a_b", "a/b", "../b", "a b", "-a", "a-", "a..b", "a%2fb", "a?b"] {
        assert!(!Account { namespace: bad.into(), ..account() }.problems().is_empty(), "{bad}");
        assert!(!Account { service_account: bad.into(), ..account() }.problems().is_empty(), "{bad}");
    }
    assert!(!Account { namespace: "a.b".into(), ..account() }.problems().is_empty());
    assert!(!Account { audiences: vec!["a b".into()], ..account() }.problems().is_empty());
    assert!(!Account { life: Span::new(Duration::from_secs(599)), ..account() }.problems().is_empty());
}

#[test]
fn a_probe_is_a_verb_and_a_resource() {
    for good in ["get pods", "get configmaps/settings", "list deployments.apps", "get widgets.a.example/one"]
    {
        assert_eq!(good.parse::<Probe>().unwrap().to_string(), good);
    }
    for bad in ["", "get", "get ", "get pods/", "get a b", "Get pods", "get /a", "get .apps"] {
        assert_eq!(bad.parse::<Probe>(), Err(NotAProbe), "{bad}");
    }
    let asked = "get deployments.apps/web".parse::<Probe>().unwrap().review("shop");
    let attributes = &asked["spec"]["resourceAttributes"];
    assert_eq!(attributes["group"], "apps");
    assert_eq!((&attributes["name"], &attributes["namespace"]), (&"web".into(), &"shop".into()));
}
