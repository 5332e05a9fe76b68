//! The three calls that give an identity: join, renew, rejoin.

use std::time::Duration;

use rekey_model::{Moment, SecretBytes};
use rekey_proto::fleet::identity_client::IdentityClient;
use rekey_proto::fleet::{IdentityResponse, JoinRequest, RejoinRequest, RenewRequest};
use rekey_runtime::Clock;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::leaf::LeafKey;
use super::{KeyError, Leaf, LeafError};
use crate::dial::DialError;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(10);
/// How much an answer may hold.
const MOST: usize = 64 * 1024;

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The controller is out of reach.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The controller does not know the token, or this leaf; asking again will not help.
    #[error("the controller refuses this sidecar: {message}; {remedy}")]
    Refused {
        /// What the controller said.
        message: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The call failed for now.
    #[error("call the controller: {0}")]
    Call(String),
    /// What came is no identity.
    #[error(transparent)]
    Answer(#[from] LeafError),
    /// The key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no identity and no token.
    #[error(
        "there is no identity yet and no join token: set identity.join_token_file (`rekeyctl token create`)"
    )]
    NoToken,
    /// The token cannot be read.
    #[error("identity.join_token_file: {0}")]
    Token(String),
}

/// What a person can do about a refused token.
const NEW_TOKEN: &str =
    "make a new token with `rekeyctl token create` and put it in identity.join_token_file";

pub(super) async fn join(channel: Channel, token: &SecretBytes, clock: &Clock) -> Result<Leaf, EnrolError> {
    let key = LeafKey::generate()?;
    let token = String::from_utf8_lossy(token.expose()).into_owned();
    let request = JoinRequest { token, csr_der: key.csr()? };
    let mut client = client(channel);
    answered(clock, key, client.join(request)).await
}

pub(super) async fn renew(channel: Channel, clock: &Clock) -> Result<Leaf, EnrolError> {
    let key = LeafKey::generate()?;
    let request = RenewRequest { csr_der: key.csr()? };
    let mut client = client(channel);
    answered(clock, key, client.renew(request)).await
}

pub(super) async fn rejoin(channel: Channel, over: &Leaf, clock: &Clock) -> Result<Leaf, EnrolError> {
    let key = LeafKey::generate()?;
    let csr_der = key.csr()?;
    let proof = over.prove(&csr_der)?;
    let leaf_der = over.chain.first().cloned().unwrap_or_default();
    let mut client = client(channel);
    answered(clock, key, client.rejoin(RejoinRequest { leaf_der, csr_der, proof })).await
}

fn client(channel: Channel) -> IdentityClient<Channel> {
    IdentityClient::new(channel).max_decoding_message_size(MOST)
}

async fn answered(
    clock: &Clock,
    key: LeafKey,
    call: impl Future<Output = Result<Response<IdentityResponse>, Status>>,
) -> Result<Leaf, EnrolError> {
    let asked = clock.now();
    let answer = clock.within(CALL, call).await;
    match answer {
        Some(Ok(answer)) => Ok(leaf(answer.into_inner(), key, asked)?),
        Some(Err(status)) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
            Err(EnrolError::Refused { message: short(status.message()), remedy: NEW_TOKEN })
        }
        Some(Err(status)) => {
            Err(EnrolError::Call(format!("{:?}: {}", status.code(), short(status.message()))))
        }
        None => Err(EnrolError::Call("no answer in time".to_owned())),
    }
}

/// Its life counts from the asking: never longer than the controller thinks.
fn leaf(answer: IdentityResponse, key: LeafKey, asked: Moment) -> Result<Leaf, LeafError> {
    if answer.chain_der.is_empty() {
        return Err(LeafError::NoCertificate);
    }
    if answer.lives_ms == 0 {
        return Err(LeafError::Dead);
    }
    Ok(Leaf {
        chain: answer.chain_der,
        instance: answer.instance.parse()?,
        spiffe_id: answer.spiffe_id.parse()?,
        since: asked,
        lives: Duration::from_millis(answer.lives_ms),
        key,
    })
}

/// What a peer said, fit for a log line.
fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}
