//! What callers are allowed, told and refused.

use rekey_proto::admin as wire;
use rekey_proto::admin::admin_client::AdminClient;
use rekey_proto::refusal::Refusal;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::target::WRONG;
use super::world::{World, spec};
use crate::admin::roles::{Role, TABLE};

/// Makes a call by its name, with nothing in it; how it was refused, if it was.
async fn call(channel: &Channel, name: &str) -> Option<Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = format!("/rekey.admin.v1.Admin/{name}").parse().unwrap();
    let codec: ProstCodec<wire::WhoAmIRequest, wire::WhoAmIResponse> = ProstCodec::default();
    grpc.unary(Request::new(wire::WhoAmIRequest {}), path, codec).await.err()
}

fn reason(status: &Status) -> String {
    Refusal::of(status).map(|refusal| refusal.reason).unwrap_or_default()
}

#[tokio::test]
async fn every_role_may_call_what_the_table_says_and_nothing_else() {
    let world = World::new().await;
    let roles = [
        (Role::Viewer, wire::Role::Viewer),
        (Role::Operator, wire::Role::Operator),
        (Role::Responder, wire::Role::Responder),
        (Role::Admin, wire::Role::Admin),
    ];
    for (role, number) in roles {
        let channel = world.operator(&format!("has-{}", role.as_str()), &[number]).await;
        for row in &TABLE {
            let refused = call(&channel, row.call).await;
            let denied = refused.is_some_and(|status| status.code() == Code::PermissionDenied);
            assert_eq!(denied, !role.may(row.role), "{role:?} {}", row.call);
        }
        let unknown = call(&channel, "Invented").await.unwrap();
        assert_eq!(unknown.code(), Code::PermissionDenied, "a call without a row is refused to {role:?}");
    }
    let request = wire::QueryAuditRequest { verb: "revoke".to_owned(), ..Default::default() };
    let denied = world.root().query_audit(request).await.unwrap().into_inner().records;
    let by: Vec<&str> = denied.iter().map(|record| record.actor.as_str()).collect();
    assert_eq!(by, ["has-operator", "has-viewer"], "who was denied stands in the audit");
    assert!(denied.iter().all(|record| record.outcome == "refused"));
}

#[tokio::test]
async fn nobody_without_a_certificate_may_do_anything() {
    let world = World::new().await;
    for row in &TABLE {
        let refused = call(&world.dialled(None), row.call).await.unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated, "{}", row.call);
    }
}

#[tokio::test]
async fn a_removed_operator_is_out_at_once() {
    let world = World::new().await;
    let channel = world.operator("alice", &[wire::Role::Admin]).await;
    assert!(call(&channel, "Status").await.is_none());
    let renewed = world.operator("alice", &[wire::Role::Viewer]).await;
    assert!(call(&channel, "Status").await.is_some(), "a certificate that was replaced still works");
    assert!(call(&renewed, "Status").await.is_none());
    let request = wire::RemoveAdminRequest { name: "alice".to_owned() };
    world.root().remove_admin(request.clone()).await.unwrap();
    assert!(call(&renewed, "Status").await.is_some());
    let listed = world.root().list_admins(wire::ListAdminsRequest {}).await.unwrap().into_inner();
    assert_eq!(listed.admins, []);
    let other = wire::RemoveAdminRequest { name: "bob".to_owned() };
    assert_eq!(world.root().remove_admin(other).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn apply_changes_all_or_nothing_and_the_same_again_changes_nothing() {
    let world = World::new().await;
    let mut root = world.root();
    let mut apply = async |specs: &[serde_json::Value], dry_run| {
        let specs_json = specs.iter().map(ToString::to_string).collect();
        root.apply(wire::ApplyRequest { specs_json, dry_run }).await.unwrap().into_inner()
    };
    let (a, mut b) = (spec("a", "app_a"), spec("b", "app_b"));
    b["grace"]["floor"] = "1ms".into();
    b["ower"] = "x".into();
    let answer = apply(&[a.clone(), b.clone()], false).await;
    let fields: Vec<_> = answer.problems.iter().map(|p| (p.spec, p.field.as_str())).collect();
    assert_eq!(fields, [(1, "grace.floor"), (1, "ower")]);
    assert!(world.store.credentials().await.unwrap().is_empty());
    let same_prefix = apply(&[a.clone(), spec("b", "app_a")], false).await;
    assert_eq!(same_prefix.problems[0].field, "postgres.prefix");
    let twice = apply(&[a.clone(), a.clone()], false).await;
    assert!(twice.problems[0].message.contains("declared twice"), "{twice:?}");
    let dry = apply(std::slice::from_ref(&a), true).await;
    assert_eq!(dry.credentials[0].change, i32::from(wire::applied_credential::Change::Created));
    assert!(world.store.credentials().await.unwrap().is_empty());
    apply(std::slice::from_ref(&a), false).await;
    let again = apply(std::slice::from_ref(&a), false).await;
    assert_eq!(again.credentials[0].change, i32::from(wire::applied_credential::Change::Unchanged));
    let mut longer = a;
    longer["grace"]["floor"] = "60ms".into();
    let updated = apply(&[longer], false).await;
    assert_eq!(updated.credentials[0].differences[0].field, "grace.floor");
}

#[tokio::test]
async fn a_pair_binds_from_the_declaration_on_and_a_plan_says_so() {
    let world = World::new().await;
    let apply = async |pair: Option<&str>| {
        let specs_json =
            [("orders/db", "orders_app"), ("orders/other", "other_app")].map(|(name, prefix)| {
                let mut spec = spec(name, prefix);
                if let Some(pair) = pair {
                    spec["pair"] = pair.into();
                    // What begins now stays in its grace.
                    (spec["grace"]["floor"], spec["grace"]["deadline"]) = ("30m".into(), "2h".into());
                }
                spec.to_string()
            });
        let request = wire::ApplyRequest { specs_json: specs_json.into(), dry_run: false };
        assert_eq!(world.root().apply(request).await.unwrap().into_inner().problems, []);
    };
    apply(None).await;
    world.until(|status| status.current == 1 && status.rotation.is_none()).await;
    apply(Some("database")).await;
    let begin = |name: &str| wire::RotateRequest { name: name.to_owned(), ..Default::default() };
    let mut outcome = Err(Status::ok(""));
    for _ in 0..600 {
        outcome = world.root().rotate(begin("orders/db")).await;
        if outcome.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    outcome.unwrap();
    let refused = world.root().rotate(begin("orders/other")).await.unwrap_err();
    assert_eq!(reason(&refused), "GATED", "{refused:?}");
    assert!(refused.message().contains("its pair orders/db rotates"), "{refused:?}");
    let plan = wire::PlanRotateRequest { name: "orders/other".to_owned() };
    let plan = world.root().plan_rotate(plan).await.unwrap().into_inner();
    assert!(plan.obstacles[0].contains("its pair orders/db rotates"), "{:?}", plan.obstacles);
    apply(None).await;
    world.root().rotate(begin("orders/other")).await.unwrap();
}

#[tokio::test]
async fn what_versions_hang_on_cannot_be_declared_otherwise() {
    let world = World::new().await;
    world.declared().await;
    let specs_json = vec![spec("orders/db", "other_app").to_string()];
    let answer = world.root().apply(wire::ApplyRequest { specs_json, dry_run: false }).await.unwrap();
    let problems = answer.into_inner().problems;
    assert_eq!(problems.iter().map(|p| p.field.as_str()).collect::<Vec<_>>(), ["postgres.prefix"]);
}

#[tokio::test]
async fn a_login_is_adopted_and_alarms_until_it_is_gone() {
    let world = World::new().await;
    let mut declared = spec("orders/db", "orders_app");
    declared["postgres"]["adopt"] = serde_json::json!({ "login": "legacy" });
    let specs_json = vec![declared.to_string()];
    let answer = world.root().apply(wire::ApplyRequest { specs_json, dry_run: false }).await.unwrap();
    assert_eq!(answer.into_inner().credentials[0].next_step, "rekeyctl adopt orders/db");
    let rotate = wire::RotateRequest { name: "orders/db".to_owned(), ..Default::default() };
    let refused = world.root().rotate(rotate).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_ADOPTED");
    let wrong = wire::AdoptRequest { name: "orders/db".to_owned(), password: WRONG.to_vec() };
    assert_eq!(reason(&world.root().adopt(wrong).await.unwrap_err()), "TARGET_REFUSED");
    let records = world.root().query_audit(wire::QueryAuditRequest::default()).await.unwrap().into_inner();
    let tried = records.records.iter().find(|record| record.verb == "adopt").unwrap();
    assert_eq!((tried.outcome.as_str(), tried.credential.as_str()), ("refused", "orders/db"));
    assert!(tried.reason.contains("authentication failed"), "{tried:?}");
    assert!(!format!("{records:?}").contains("a wrong password"), "the audit holds a password");
    let adopt = wire::AdoptRequest { name: "orders/db".to_owned(), password: b"pw".to_vec() };
    assert_eq!(world.root().adopt(adopt.clone()).await.unwrap().into_inner().version, 1);
    let status = world.until(|status| status.current == 1).await;
    let kinds: Vec<&str> = status.alarms.iter().map(|alarm| alarm.kind.as_str()).collect();
    assert_eq!(kinds, [rekey_rotation::AlarmKind::AdoptedAlive.as_str()]);
    assert_eq!(world.root().adopt(adopt).await.unwrap_err().code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_rotation_is_followed_to_its_end_and_a_second_is_told_of_the_first() {
    let world = World::new().await;
    world.declared().await;
    let rotate =
        || wire::RotateRequest { name: "orders/db".to_owned(), reason: "x".to_owned(), ..Default::default() };
    let begun = world.root().rotate(rotate()).await.unwrap().into_inner().rotation.unwrap();
    let second = world.root().rotate(rotate()).await.unwrap_err();
    assert_eq!(reason(&second), "ROTATION_OPEN");
    assert!(second.message().contains(&begun.id), "{second:?}");
    let watch = wire::WatchRotationRequest { rotation_id: begun.id };
    let mut stream = world.root().watch_rotation(watch).await.unwrap().into_inner();
    let mut phases = Vec::new();
    while let Some(progress) = stream.message().await.unwrap() {
        phases.push(progress.rotation.unwrap().phase);
    }
    assert_eq!(phases.last().map(String::as_str), Some("Done"), "{phases:?}");
    let status = world.until(|status| status.current == 2).await;
    assert_eq!(status.history[0].phase, "Done");
}

#[tokio::test]
async fn a_revocation_ends_with_a_receipt_and_the_same_again_joins_it() {
    let world = World::new().await;
    world.declared().await;
    let hold = wire::HoldRequest { name: "orders/db".to_owned(), reason: "nobody touches it".to_owned() };
    world.root().hold(hold).await.unwrap();
    let responder = world.operator("rita", &[wire::Role::Responder]).await;
    let request = wire::RevokeRequest {
        name: "orders/db".to_owned(),
        version: 1,
        reason: "leaked".to_owned(),
        no_replacement: false,
        request_id: String::new(),
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut client = AdminClient::new(responder.clone());
        let mut stream = client.revoke(request.clone()).await.unwrap().into_inner();
        let mut last = wire::RevokeProgress::default();
        while let Some(progress) = stream.message().await.unwrap() {
            assert!(!last.receipt, "something came after the receipt");
            last = progress;
        }
        assert!(last.receipt && last.cut_ms >= last.intent_ms, "{last:?}");
        assert_eq!((last.versions[0].sessions_ended, last.by.as_str()), (2, "rita"));
        assert_eq!(last.left_to_do, Vec::<String>::new());
        assert_eq!(last.replacement, 2, "a hold stops no replacement");
        ids.push(last.id);
    }
    assert_eq!(ids[0], ids[1]);
    let no_reason = wire::RevokeRequest { reason: " ".to_owned(), ..request };
    assert_eq!(
        AdminClient::new(responder).revoke(no_reason).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_token_is_for_a_sidecar_and_the_local_socket_stands_in_the_audit() {
    let world = World::new().await;
    let token = |spiffe: &str| wire::CreateTokenRequest { spiffe_id: spiffe.to_owned(), lives_ms: 0 };
    for other in ["spiffe://rekey.local/admin/eve", "spiffe://other.local/sidecar/a", "x"] {
        let refused = world.root().create_token(token(other)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{other}");
    }
    let made = world.root().create_token(token("spiffe://rekey.local/sidecar/a")).await.unwrap().into_inner();
    let listed = world.root().list_tokens(wire::ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert_eq!(listed.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), [made.id.as_str()]);
    let end = wire::RevokeTokenRequest { id: made.id };
    world.root().revoke_token(end.clone()).await.unwrap();
    assert_eq!(world.root().revoke_token(end).await.unwrap_err().code(), Code::NotFound);
    let records = world.root().query_audit(wire::QueryAuditRequest::default()).await.unwrap().into_inner();
    let made: Vec<_> = records.records.iter().filter(|r| r.verb == "token-create").collect();
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].authenticated_by, "local-socket");
    assert!(!format!("{records:?}").contains("rkj_"), "a token's text stands in the audit");
}

#[tokio::test]
async fn a_rotation_goes_on_without_holders_only_for_a_reason_and_where_it_waits_for_them() {
    let world = World::new().await;
    world.declared().await;
    let retry = |reason: &str| wire::RetryRequest {
        rotation: "orders/db".to_owned(),
        no_holders: true,
        reason: reason.to_owned(),
    };
    assert_eq!(world.root().retry(retry(" ")).await.unwrap_err().code(), Code::InvalidArgument);
    let refused = world.root().retry(retry("none is to come")).await.unwrap_err();
    assert_eq!(reason(&refused), "OUT_OF_ORDER", "{refused:?}");
}

#[tokio::test]
async fn what_was_done_by_hand_stands_in_the_audit_with_who_says_so() {
    let world = World::new().await;
    let by_hand = wire::RecordRequest {
        name: "web/clerk".to_owned(),
        kind: "clerk secret key".to_owned(),
        old: "sk_4f2a".to_owned(),
        new: "sk_9c01".to_owned(),
        reason: "TICKET-9".to_owned(),
    };
    let seq = world.root().record(by_hand.clone()).await.unwrap().into_inner().seq;
    let query = wire::QueryAuditRequest { verb: "record".to_owned(), ..Default::default() };
    let records = world.root().query_audit(query).await.unwrap().into_inner().records;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].seq, &*records[0].credential), (seq, "web/clerk"));
    assert_eq!(records[0].reason, "by hand: clerk secret key, sk_4f2a -> sk_9c01: TICKET-9");
    for wrong in [
        wire::RecordRequest { new: String::new(), ..by_hand.clone() },
        wire::RecordRequest { kind: "a\u{1b}b".to_owned(), ..by_hand.clone() },
        wire::RecordRequest { old: "x".repeat(129), ..by_hand.clone() },
        wire::RecordRequest { reason: String::new(), ..by_hand },
    ] {
        assert_eq!(world.root().record(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_credential_takes_from_its_class_and_nobody_declares_what_it_took() {
    let world = World::new().await;
    let mut own = spec("orders/db", "orders_app");
    let map = own.as_object_mut().unwrap();
    map.remove("grace");
    map.insert("class".to_owned(), "databases".into());
    map.insert("environment".to_owned(), "production".into());
    let apply = async |spec: &serde_json::Value| {
        let request = wire::ApplyRequest { specs_json: vec![spec.to_string()], dry_run: false };
        world.root().apply(request).await.unwrap().into_inner().problems
    };
    let fields = |problems: &[wire::SpecProblem]| -> Vec<String> {
        problems.iter().map(|it| it.field.clone()).collect()
    };
    let mut unknown = own.clone();
    unknown["class"] = "database".into();
    unknown["owner"] = "".into();
    let problems = apply(&unknown).await;
    assert_eq!(fields(&problems), ["class", "owner"], "what the class might give is no problem of its own");
    assert!(problems[0].remedy.contains("databases"));
    let mut forged = own.clone();
    forged["from_class"] = serde_json::json!({ "grace": { "floor": "1ms" } });
    assert_eq!(fields(&apply(&forged).await), ["from_class"]);
    assert_eq!(apply(&own).await, []);
    assert_eq!(apply(&own).await, []);
    let status = world.until(|status| status.current == 1).await;
    let declared: serde_json::Value = serde_json::from_str(&status.spec_json).unwrap();
    assert_eq!(declared, own, "what is shown can be applied again");
    assert!(status.from_class_json.contains("90d"), "{}", status.from_class_json);
    assert_ne!(status.next_rotation_ms, 0);
    let plan = wire::PlanRotateRequest { name: "orders/db".to_owned() };
    let steps = world.root().plan_rotate(plan).await.unwrap().into_inner().steps;
    assert!(steps.iter().any(|step| step.contains("quiet from class databases")), "{steps:?}");
}

#[tokio::test]
async fn what_is_declared_anew_counts_at_once_for_what_waits_for_its_next_look() {
    let world = World::new().await;
    world.declared().await;
    let mut declared = spec("orders/db", "orders_app");
    let apply = async |spec: &serde_json::Value| {
        let request = wire::ApplyRequest { specs_json: vec![spec.to_string()], dry_run: false };
        assert_eq!(world.root().apply(request).await.unwrap().into_inner().problems, []);
    };
    // The target is looked at every three minutes.
    declared["grace"]["quiet"] = "30m".into();
    apply(&declared).await;
    let rotate =
        wire::RotateRequest { name: "orders/db".to_owned(), reason: "x".to_owned(), ..Default::default() };
    world.root().rotate(rotate).await.unwrap();
    world.until(|status| status.versions.iter().any(|version| version.sessions.is_some())).await;
    declared["grace"]["quiet"] = "50ms".into();
    apply(&declared).await;
    world.until(|status| status.current == 2 && status.rotation.is_none()).await;
}
