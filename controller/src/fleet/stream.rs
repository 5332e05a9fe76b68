//! The `Fleet` service: the generated one, but for the codec. The generated server encodes a message for every stream;
//! ours sends frames whose bytes many streams share.

use std::convert::Infallible;
use std::task::{Context, Poll};

use rekey_proto::fleet::Up;
use rekey_runtime::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{Body as HttpBody, BoxFuture, Service, StdError};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::frame::{Frame, FrameCodec};
use super::refusal::Refusal;
use super::{Fleet, issue, session};

/// The most bytes of one message, either way.
pub(super) const MOST_MESSAGE: usize = 256 * 1024;

/// How many messages wait for the connection to take them; beyond that the session waits.
const QUEUE: usize = 8;

/// The `Fleet` service, ready for a server.
#[derive(Debug, Clone)]
pub struct FollowServer(pub(super) Fleet);

impl NamedService for FollowServer {
    const NAME: &'static str = "rekey.fleet.v1.Fleet";
}

impl<B> Service<HttpRequest<B>> for FollowServer
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<B>) -> Self::Future {
        if request.uri().path() != "/rekey.fleet.v1.Fleet/Follow" {
            return Box::pin(async { Ok(Status::unimplemented("no such call").into_http()) });
        }
        let follow = Follow(self.0.clone());
        Box::pin(async move {
            let mut grpc = Grpc::new(FrameCodec)
                .max_decoding_message_size(MOST_MESSAGE)
                .max_encoding_message_size(MOST_MESSAGE);
            Ok(grpc.streaming(follow, request).await)
        })
    }
}

/// The one call of the service.
struct Follow(Fleet);

impl StreamingService<Up> for Follow {
    type Response = Frame;
    type ResponseStream = ReceiverStream<Result<Frame, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Up>>) -> Self::Future {
        let opened = self.0.begin(request).map_err(|refusal| refusal.to_status());
        Box::pin(async move { opened })
    }
}

impl Fleet {
    /// Answers at once with an empty stream; what comes of it the session decides, in a task of its own.
    fn begin(
        &self,
        request: Request<Streaming<Up>>,
    ) -> Result<Response<ReceiverStream<Result<Frame, Status>>>, Refusal> {
        let peer = Peer::of(&request);
        let who = self.sidecar_behind(peer)?;
        let at = peer.ok_or(Refusal::Anonymous)?.id();
        issue::admits(&self.limits().sessions, who.instance, self.clock().now())?;
        let (out, frames) = mpsc::channel(QUEUE);
        self.spawner().start("follow", session::serve(self.clone(), (who, at), request.into_inner(), out));
        Ok(Response::new(ReceiverStream::new(frames)))
    }
}
