//! What local processes get, who gets it, and what they report.

use std::time::Duration;

use rekey_proto::fleet::down::Message as Down;
use rekey_proto::fleet::up::Message as Up;
use rekey_proto::fleet::{Accepted, Change, CredentialUsage, LeaseGrant, Previous};
use rekey_proto::local::credentials_client::CredentialsClient;
use rekey_proto::local::fetch_response::Answer;
use rekey_proto::local::read_error::Reason;
use rekey_proto::local::watch_response::Update;
use rekey_proto::local::{
    Credential, CredentialUse, FetchRequest, GetRequest, ListRequest, ReportRequest, VersionOutcome,
    WatchRequest,
};
use rekey_proto::refusal::Refusal;
use rekey_sidecar::callers::{Callers, Process, Rule, Who};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::controller::{Session, change};
use crate::whole::{UID, Whole, get};

const DB: &str = "orders/db";

fn allow(rows: &[(u32, &[&str])]) -> Callers {
    let rule = |(uid, names): &(u32, &[&str])| Rule {
        who: Who::User(*uid),
        require_pid: false,
        may_read: names.iter().map(|name| name.parse().unwrap()).collect(),
    };
    Callers::new(rows.iter().map(rule).collect())
}

#[tokio::test]
async fn before_the_first_snapshot_everybody_is_told_to_wait() {
    let mut whole = Whole::start().await;
    let channel = whole.connect(None).await;
    let health = async || {
        let mut client = HealthClient::new(channel.clone());
        let service = "rekey.v1.Credentials".to_owned();
        client.check(HealthCheckRequest { service }).await.unwrap().into_inner().status as i32
    };
    assert_eq!(health().await, 2);
    let mut client = whole.client(UID).await;
    let status = get(&mut client, DB).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let refusal = Refusal::of(&status).unwrap();
    assert_eq!(refusal.reason, "WAITING");
    assert!(refusal.retry_after.is_some());
    whole.controller.level(vec![change(DB, 1, 1)]).await;
    assert_eq!(get(&mut client, DB).await.unwrap().fields["password"], b"word-1");
    assert_eq!(health().await, 1);
}

#[tokio::test]
async fn a_caller_gets_what_the_config_says_and_cannot_tell_the_rest_from_nothing() {
    let mut whole = Whole::start().await;
    whole.callers.replace(allow(&[(UID, &[DB]), (7, &["*"])]));
    let _session = whole.controller.level(vec![change(DB, 1, 1), change("orders/mail", 1, 1)]).await;
    let rows = [
        (UID, DB, None),
        (UID, "orders/mail", Some(Code::NotFound)),
        (UID, "orders/none", Some(Code::NotFound)),
        (UID, "Orders", Some(Code::InvalidArgument)),
        (7, "orders/mail", None),
        (8, DB, Some(Code::NotFound)),
        (8, "Orders", Some(Code::InvalidArgument)),
        (65_534, DB, Some(Code::NotFound)),
    ];
    for (uid, name, refused) in rows {
        let mut client = whole.client(uid).await;
        let got = get(&mut client, name).await;
        assert_eq!(got.as_ref().err().map(tonic::Status::code), refused, "{uid} {name}");
    }
    let mut client = whole.client(UID).await;
    let forbidden = get(&mut client, "orders/mail").await.unwrap_err();
    let unknown = get(&mut client, "orders/none").await.unwrap_err();
    assert_eq!(
        (forbidden.code(), forbidden.message(), forbidden.details()),
        (unknown.code(), unknown.message(), unknown.details())
    );
    let listed = client.list(ListRequest {}).await.unwrap().into_inner().credentials;
    let names: Vec<&str> = listed.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, [DB]);
}

#[tokio::test]
async fn who_does_not_say_who_it_is_is_refused() {
    let mut whole = Whole::start().await;
    let _session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    let own = Process { uid: UID, gid: UID, pid: None };
    let mut silent = CredentialsClient::new(whole.connect(Some(own)).await);
    let ask = |client: Option<&'static str>| {
        let mut request = tonic::Request::new(GetRequest { name: DB.to_owned() });
        if let Some(client) = client {
            request.metadata_mut().insert(rekey_proto::CLIENT_METADATA, client.parse().unwrap());
        }
        request
    };
    for bad in [None, Some(""), Some("curl"), Some("/1"), Some("a/")] {
        assert_eq!(silent.get(ask(bad)).await.unwrap_err().code(), Code::InvalidArgument, "{bad:?}");
    }
    assert!(silent.get(ask(Some("a/1"))).await.is_ok());
    let mut nobody = CredentialsClient::new(whole.connect(None).await);
    assert_eq!(nobody.get(ask(Some("a/1"))).await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test]
async fn fetch_answers_in_order_and_an_error_does_not_end_it() {
    let mut whole = Whole::start().await;
    let mut session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    let mut client = whole.client(UID).await;
    let (ask, asked) = mpsc::channel(8);
    let mut answers = client.fetch(ReceiverStream::new(asked)).await.unwrap().into_inner();
    let mut one = async |name: &str| {
        ask.send(FetchRequest { name: name.to_owned() }).await.unwrap();
        match answers.message().await.unwrap().unwrap().answer.unwrap() {
            Answer::Credential(credential) => Ok(credential.version),
            Answer::Error(error) => Err(error.reason()),
        }
    };
    assert_eq!(one(DB).await, Ok(1));
    assert_eq!(one("orders/none").await, Err(Reason::NotFound));
    assert_eq!(one("").await, Err(Reason::Invalid));
    session.change(1, change(DB, 2, 2)).await;
    session.ack().await;
    assert_eq!(one(DB).await, Ok(2));
    whole.callers.replace(allow(&[]));
    assert_eq!(one(DB).await, Err(Reason::NotFound), "a reload counts on open streams");
}

#[tokio::test]
async fn a_watch_opens_at_once_and_follows() {
    let mut whole = Whole::start().await;
    let mut client = whole.client(UID).await;
    let request = WatchRequest { name: DB.to_owned() };
    let mut watch = client.watch(request.clone()).await.unwrap().into_inner();
    let mut last = None;
    let mut next = async || loop {
        let response = watch.message().await.unwrap().expect("it ended");
        let told = match response.update.unwrap() {
            Update::Credential(credential) => Ok(credential.version),
            Update::Unavailable(error) => Err(error.reason()),
        };
        // The same comes again when it is no longer stale.
        if last.replace(told) != Some(told) {
            break told;
        }
    };
    assert_eq!(next().await, Err(Reason::Waiting));
    let mut session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    assert_eq!(next().await, Ok(1));
    session.change(1, change(DB, 2, 2)).await;
    assert_eq!(next().await, Ok(2));
    session.change(2, Change { current: None, fenced: vec![2], ..change(DB, 3, 0) }).await;
    assert_eq!(next().await, Err(Reason::Revoked));
    // Two at once: the one that was overtaken may be skipped, the last one never.
    session.change(3, change(DB, 4, 3)).await;
    session.change(4, change(DB, 5, 4)).await;
    session.ack().await;
    while next().await != Ok(4) {}
    session.snapshot(vec![], 4).await;
    assert_eq!(watch.message().await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.watch(request).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_says_when_a_value_may_no_longer_be_served() {
    let mut whole = Whole::start().await;
    let mut alone = change(DB, 1, 1);
    alone.serving.as_mut().unwrap().offline_for_ms = Some(60_000);
    let session = whole.controller.level(vec![alone]).await;
    let mut client = whole.client(UID).await;
    let mut watch = client.watch(WatchRequest { name: DB.to_owned() }).await.unwrap().into_inner();
    assert!(matches!(watch.message().await.unwrap().unwrap().update, Some(Update::Credential(_))));
    whole.controller.state.away.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(session);
    whole.pass(Duration::from_secs(59)).await;
    assert!(get(&mut client, DB).await.is_ok());
    whole.pass(Duration::from_secs(1)).await;
    let told = loop {
        match watch.message().await.unwrap().unwrap().update.unwrap() {
            Update::Credential(_) => {}
            Update::Unavailable(error) => break error.reason(),
        }
    };
    assert_eq!(told, Reason::Stale);
    let status = get(&mut client, DB).await.unwrap_err();
    assert_eq!(Refusal::of(&status).unwrap().reason, "STALE");
}

#[tokio::test]
async fn a_watch_says_when_its_source_is_out_of_reach_and_when_it_is_back() {
    let mut whole = Whole::start().await;
    let session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    let mut client = whole.client(UID).await;
    let mut watch = client.watch(WatchRequest { name: DB.to_owned() }).await.unwrap().into_inner();
    let mut until = async |stale: bool| {
        let told = async {
            loop {
                let told = watch.message().await.unwrap().unwrap();
                assert!(
                    matches!(told.update, Some(Update::Credential(credential)) if credential.version == 1)
                );
                if told.freshness.unwrap().stale == stale {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), told).await.expect("it is not told");
    };
    until(false).await;
    // Its lease ends with no word said, before the stream is given up.
    whole.pass(Duration::from_secs(30)).await;
    until(true).await;
    drop(session);
    let clock = whole.clock.clone();
    let passing = crate::stream::keep_passing(&clock);
    tokio::pin!(passing);
    let _session = tokio::select! {
        session = whole.controller.level(vec![change(DB, 1, 1)]) => session,
        () = &mut passing => unreachable!(),
    };
    until(false).await;
}

#[tokio::test]
async fn a_watch_ends_when_a_reload_takes_its_rule_away() {
    let mut whole = Whole::start().await;
    let _session = whole.controller.level(vec![change(DB, 1, 1), change("orders/mail", 1, 1)]).await;
    let mut client = whole.client(UID).await;
    let mut watches = Vec::new();
    for name in [DB, "orders/mail"] {
        watches.push(client.watch(WatchRequest { name: name.to_owned() }).await.unwrap().into_inner());
    }
    whole.callers.replace(allow(&[(UID, &["orders/mail"])]));
    let [forbidden, allowed] = &mut watches[..] else { panic!("two were opened") };
    let ended = async {
        loop {
            if let Err(status) = forbidden.message().await {
                return status.code();
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await.expect("it stays open");
    assert_eq!(ended, Code::NotFound, "as a read would answer");
    assert!(allowed.message().await.unwrap().is_some());
}

#[tokio::test]
async fn a_lease_says_anew_how_long_a_grace_lasts_and_readers_see_it() {
    let mut whole = Whole::start().await;
    let previous = |ms| vec![Previous { version: 1, accept_for_ms: ms }];
    let leaving = Change { previous: previous(60_000), ..change(DB, 2, 2) };
    let mut session = whole.controller.level(vec![leaving]).await;
    let mut client = whole.client(UID).await;
    let until = |credential: &Credential| credential.previous[0].accept_until.unwrap().seconds;
    let first = get(&mut client, DB).await.unwrap();
    let mut last = first.clone();
    for _ in 0..4 {
        whole.pass(Duration::from_secs(10)).await;
        let number =
            session.next(|up| if let Up::Renew(renew) = up { Some(renew.number) } else { None }).await;
        let accepted = Accepted { name: DB.into(), incarnation: 1, order: 2, previous: previous(60_000) };
        let other = Accepted { name: DB.into(), incarnation: 1, order: 3, previous: previous(1) };
        let accepted = vec![other, accepted];
        session.send(Down::LeaseGrant(LeaseGrant { number, lease_ms: 30_000, accepted })).await;
        whole.pass(Duration::ZERO).await;
        last = get(&mut client, DB).await.unwrap();
    }
    assert!(until(&last) >= until(&first) + 30, "{first:?} {last:?}");
    assert_eq!((last.version, last.generation, &last.fields), (2, first.generation, &first.fields));
}

#[tokio::test]
async fn a_reader_of_what_was_cut_gets_the_replacement() {
    let mut whole = Whole::start().await;
    let mut session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    session.change(1, Change { current: None, fenced: vec![1], ..change(DB, 2, 0) }).await;
    session.ack().await;
    let (mut client, clock) = (whole.client(UID).await, whole.clock.clone());
    let reads = get(&mut client, DB);
    let replaces = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        session.change(2, Change { fenced: vec![1], ..change(DB, 3, 2) }).await;
        session.ack().await
    };
    let (read, _) = tokio::join!(reads, replaces);
    assert_eq!(read.unwrap().version, 2);
    session.change(3, Change { current: None, fenced: vec![1, 2], ..change(DB, 4, 0) }).await;
    session.ack().await;
    // However late the call comes: its two seconds begin with it.
    let time_passes = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            clock.advance(Duration::from_secs(2));
        }
    };
    let read = tokio::select! {
        read = get(&mut client, DB) => read,
        () = time_passes => unreachable!(),
    };
    let refusal = Refusal::of(&read.unwrap_err()).unwrap();
    assert_eq!(refusal.reason, "REVOKED");
}

/// Waits for a usage report in which some line fits; none may be without what `sound` asks for.
async fn usage(
    session: &mut Session,
    sound: impl Fn(&CredentialUsage),
    fits: impl Fn(&CredentialUsage) -> bool,
) {
    let pick = |up: &Up| {
        let Up::Usage(usage) = up else { return None };
        usage.credentials.iter().for_each(&sound);
        usage.credentials.iter().any(&fits).then_some(())
    };
    session.next(pick).await;
}

#[tokio::test]
async fn reports_go_up_and_die_with_their_connection() {
    let mut whole = Whole::start().await;
    whole.callers.replace(allow(&[(UID, &[DB])]));
    let mut session = whole.controller.level(vec![change(DB, 1, 1), change("orders/mail", 1, 1)]).await;
    session.change(1, change(DB, 2, 2)).await;
    session.ack().await;
    let mut client = whole.client(UID).await;
    get(&mut client, DB).await.unwrap();
    let one = |name: &str| CredentialUse {
        name: name.to_owned(),
        versions_in_use: vec![1, 2, 77],
        outcomes: vec![VersionOutcome { version: 2, accepted: 5, refused: 1 }],
    };
    let report = ReportRequest { uses: vec![one(DB), one("orders/mail"), one("orders/none")] };
    client.report(report).await.unwrap();
    let clock = whole.clock.clone();
    let passing = crate::stream::keep_passing(&clock);
    tokio::pin!(passing);
    let sound = |u: &CredentialUsage| {
        assert!(u.name == DB || (u.versions.is_empty() && u.silent_processes == 0), "{u:?}");
        assert!(u.versions.iter().all(|v| v.version < 3), "{u:?}");
    };
    let reported = |u: &CredentialUsage| {
        u.name == DB && u.order == 2 && u.versions.iter().map(|v| v.processes).sum::<u32>() == 2
    };
    tokio::select! {
        () = usage(&mut session, sound, reported) => {}
        () = &mut passing => unreachable!(),
    }
    drop(client);
    let gone = |u: &CredentialUsage| u.name == DB && u.versions.is_empty() && u.silent_processes == 0;
    tokio::select! {
        () = usage(&mut session, sound, gone) => {}
        () = &mut passing => unreachable!(),
    }
}

#[tokio::test]
async fn streams_end_when_the_sidecar_does() {
    let mut whole = Whole::start().await;
    let _session = whole.controller.level(vec![change(DB, 1, 1)]).await;
    let mut client = whole.client(UID).await;
    let mut watch = client.watch(WatchRequest { name: DB.to_owned() }).await.unwrap().into_inner();
    watch.message().await.unwrap();
    whole.ended.cancel();
    assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
}
