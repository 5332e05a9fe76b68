//! What settings of AWS IAM are right, and what each fault is called.

use super::*;
use crate::target::TlsMode;

fn target() -> TargetSettings {
    TargetSettings {
        endpoint: "https://iam.amazonaws.com".to_owned(),
        iam_region: "us-east-1".to_owned(),
        region: "eu-central-1".to_owned(),
        sts_endpoint: None,
        access_key_id_file: "/etc/rekey/id".into(),
        secret_access_key_file: "/etc/rekey/secret".into(),
        tls: TlsSettings { public: true, ..TlsSettings::default() },
        connect_timeout: Span::new(Duration::from_secs(5)),
        request_timeout: Span::new(Duration::from_secs(10)),
        call_timeout: Span::new(Duration::from_secs(30)),
        settle: Span::new(Duration::from_mins(1)),
        visible_within: Span::new(Duration::from_mins(2)),
    }
}

fn fields(problems: &[Problem]) -> Vec<&str> {
    problems.iter().map(|problem| problem.field.as_str()).collect()
}

#[test]
fn what_is_right_passes_and_each_fault_is_named() {
    type Wrong = (&'static str, fn(&mut TargetSettings));
    assert_eq!(target().problems(), []);
    let wrong: [Wrong; 8] = [
        ("endpoint", |it| it.endpoint = "http://iam.example".to_owned()),
        ("endpoint", |it| it.endpoint = "iam.example".to_owned()),
        ("sts_endpoint", |it| it.sts_endpoint = Some("https://sts.example/path".to_owned())),
        ("tls.ca_file", |it| it.tls = TlsSettings::default()),
        ("region", |it| it.region = "Frankfurt".to_owned()),
        ("settle", |it| it.settle = Span::new(Duration::from_hours(1))),
        ("visible_within", |it| it.visible_within = Span::new(Duration::from_hours(1))),
        ("call_timeout", |it| it.call_timeout = Span::new(Duration::from_secs(9))),
    ];
    for (field, change) in wrong {
        let mut target = target();
        change(&mut target);
        assert!(fields(&target.problems()).contains(&field), "{field}: {:?}", target.problems());
    }
}

#[test]
fn authorities_are_declared_one_way_and_plain_speech_stays_on_this_machine() {
    let keys = || (SecretBytes::from("AKIA".to_owned()), SecretBytes::from("secret".to_owned()));
    assert!(target().with(keys(), None).unwrap().iam.tls.is_some());
    let mut here = target();
    here.endpoint = "http://127.0.0.1:5000".to_owned();
    here.sts_endpoint = Some("http://localhost:5000".to_owned());
    here.tls = TlsSettings { mode: TlsMode::VerifyFull, ..TlsSettings::default() };
    assert!(here.with(keys(), None).unwrap().sts.tls.is_none());
    let mut both = target();
    both.tls.ca_file = Some("/etc/rekey/ca.pem".into());
    assert_eq!(fields(&both.problems()), ["tls.authorities"]);
}

#[test]
fn a_user_and_a_key_id_are_what_aws_takes() {
    let account = |user: &str, id: Option<&str>| Account {
        user: user.to_owned(),
        exclusive: false,
        adopt: id.map(|id| Adopt { access_key_id: id.to_owned() }),
    };
    assert_eq!(account("orders@example.com", Some("AKIAIOSFODNN7EXAMPLE")).problems(), []);
    assert_eq!(fields(&account("", None).problems()), ["user"]);
    assert_eq!(fields(&account("a/b", Some("akia")).problems()), ["user", "adopt.access_key_id"]);
}
