//! The calls of `rekey.admin.v1.Admin`, each handed to its topic. Wire errors are made here and nowhere else.

use std::pin::Pin;

use futures_util::Stream;
use rekey_proto::admin as wire;
use tonic::{Request, Response, Status};

use super::Admin;
use super::caller::Caller;
use super::refusal::Refusal;

/// A stream of answers.
pub(super) type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Takes a request apart into who asks and what.
fn open<T>(request: Request<T>) -> Result<(Caller, T), Status> {
    // The guard puts it there; without it, nothing is done.
    let caller = request.extensions().get::<Caller>().cloned();
    let caller = caller.ok_or_else(|| Refusal::UnknownCaller("the call came past the guard").to_status())?;
    Ok((caller, request.into_inner()))
}

fn answer<T>(outcome: Result<T, Refusal>) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|refusal| refusal.to_status())
}

/// Declares the calls: name on the wire, request, answer, method of [`Admin`].
macro_rules! calls {
    ($($call:ident($request:ty) -> $answer:ty = $method:ident;)*) => {
        #[tonic::async_trait]
        impl wire::admin_server::Admin for Admin {
            type WatchRotationStream = Streaming<wire::RotationProgress>;
            type RevokeStream = Streaming<wire::RevokeProgress>;
            $(
                async fn $call(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                    let (caller, request) = open(request)?;
                    answer(self.$method(&caller, request).await)
                }
            )*
        }
    };
}

calls! {
    apply(wire::ApplyRequest) -> wire::ApplyResponse = declare;
    adopt(wire::AdoptRequest) -> wire::AdoptResponse = adopt_login;
    hand_in(wire::HandInRequest) -> wire::HandInResponse = take_hand_in;
    delete(wire::DeleteRequest) -> wire::DeleteResponse = forget;
    status(wire::StatusRequest) -> wire::StatusResponse = tell_status;
    plan_rotate(wire::PlanRotateRequest) -> wire::PlanRotateResponse = plan_rotation;
    rotate(wire::RotateRequest) -> wire::RotateResponse = begin_rotation;
    watch_rotation(wire::WatchRotationRequest) -> Streaming<wire::RotationProgress> = tell_progress;
    rollback(wire::RollbackRequest) -> wire::RollbackResponse = roll_back;
    hold(wire::HoldRequest) -> wire::HoldResponse = put_hold;
    release(wire::ReleaseRequest) -> wire::ReleaseResponse = take_hold;
    retry(wire::RetryRequest) -> wire::RetryResponse = try_again;
    verify(wire::VerifyRequest) -> wire::VerifyResponse = try_current;
    record(wire::RecordRequest) -> wire::RecordResponse = write_down;
    revoke(wire::RevokeRequest) -> Streaming<wire::RevokeProgress> = cut;
    who(wire::WhoRequest) -> wire::WhoResponse = tell_who;
    list_sidecars(wire::ListSidecarsRequest) -> wire::ListSidecarsResponse = tell_sidecars;
    remove_sidecar(wire::RemoveSidecarRequest) -> wire::RemoveSidecarResponse = end_sidecar;
    reconcile(wire::ReconcileRequest) -> wire::ReconcileResponse = take_up_again;
    create_token(wire::CreateTokenRequest) -> wire::CreateTokenResponse = make_token;
    list_tokens(wire::ListTokensRequest) -> wire::ListTokensResponse = tell_tokens;
    revoke_token(wire::RevokeTokenRequest) -> wire::RevokeTokenResponse = end_token;
    add_admin(wire::AddAdminRequest) -> wire::AddAdminResponse = add_operator;
    list_admins(wire::ListAdminsRequest) -> wire::ListAdminsResponse = tell_operators;
    remove_admin(wire::RemoveAdminRequest) -> wire::RemoveAdminResponse = end_operator;
    query_audit(wire::QueryAuditRequest) -> wire::QueryAuditResponse = tell_audit;
    refresh(wire::RefreshRequest) -> wire::RefreshResponse = refresh_holders;
    list_webhooks(wire::ListWebhooksRequest) -> wire::ListWebhooksResponse = tell_webhooks;
    test_webhook(wire::TestWebhookRequest) -> wire::TestWebhookResponse = try_webhook;
    who_am_i(wire::WhoAmIRequest) -> wire::WhoAmIResponse = tell_caller;
}
