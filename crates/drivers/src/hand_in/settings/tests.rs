//! Of settings, everything that is wrong is named.

use super::*;

fn target() -> TargetSettings {
    let secs = |secs| Span::new(Duration::from_secs(secs));
    TargetSettings {
        address: Some("https://api.clerk.com".to_owned()),
        tls: TlsSettings { public: true, ..TlsSettings::default() },
        connect_timeout: secs(5),
        request_timeout: secs(10),
        call_timeout: secs(15),
    }
}

fn account() -> Account {
    let header = "Authorization: Bearer {value}".parse().unwrap();
    Account {
        name: "aos-clerk".to_owned(),
        page: "https://dashboard.clerk.com/last-active?path=api-keys".to_owned(),
        steps: vec!["Add a key, call it {name}".to_owned()],
        delete: vec!["Delete {old}".to_owned()],
        probe: Some(Probe { get: "/v1/me".to_owned(), header, good: vec![200], refused: vec![401] }),
        notice: None,
        life: None,
        follow: None,
    }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn a_target_is_asked_over_tls_or_on_this_machine_or_not_at_all() {
    assert_eq!(target().problems(), []);
    for address in [None, Some("http://127.0.0.1:8080"), Some("http://localhost:1")] {
        let target =
            TargetSettings { address: address.map(str::to_owned), tls: TlsSettings::default(), ..target() };
        assert_eq!(target.problems(), [], "{address:?}");
        assert_eq!(target.with(None).unwrap().has_address(), address.is_some());
    }
    for address in ["http://api.clerk.com", "https://api.clerk.com/v1", "api.clerk.com"] {
        let target = TargetSettings { address: Some(address.to_owned()), ..target() };
        assert_eq!(fields(&target.problems()), ["address"], "{address}");
    }
    let no_authority = TargetSettings { tls: TlsSettings::default(), ..target() };
    assert_eq!(fields(&no_authority.problems()), ["tls.ca_file"]);
}

#[test]
fn everything_that_is_wrong_with_an_account_is_named() {
    assert_eq!(account().problems(), []);
    let mut wrong = Account {
        name: "-x".to_owned(),
        page: "http://dashboard.clerk.com".to_owned(),
        steps: vec![String::new(), "call it {old}".to_owned()],
        delete: vec!["two\nlines".to_owned()],
        life: Some(Span::new(Duration::from_secs(1))),
        ..account()
    };
    if let Some(probe) = &mut wrong.probe {
        probe.get = "v1/me".to_owned();
        probe.good = vec![];
        probe.refused = vec![99];
    }
    let problems = wrong.problems();
    let expected = [
        "name",
        "page",
        "steps[0]",
        "steps[1]",
        "delete[0]",
        "life",
        "probe.get",
        "probe.good",
        "probe.refused",
    ];
    assert_eq!(fields(&problems), expected);
    let mut both = account();
    both.probe.as_mut().unwrap().refused = vec![200];
    assert_eq!(fields(&both.problems()), ["probe.refused"]);
}

#[test]
fn a_header_has_one_place_for_the_value() {
    let header: Header = "X-Api-Key:{value}".parse().unwrap();
    assert_eq!(format!("{header:?}"), "x-api-key: {value}");
    for wrong in
        ["Authorization", "Authorization: Bearer", "A: {value} {value}", "Host: {value}", "A B: {value}"]
    {
        assert_eq!(wrong.parse::<Header>(), Err(NotAHeader), "{wrong}");
    }
}
