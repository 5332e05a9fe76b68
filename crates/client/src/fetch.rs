//! Reads over one long stream: one message out, one message in, no call to set up.

use rekey_model::CredentialName;
use rekey_proto::local as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::answer;
use crate::client::Client;
use crate::credential::Credential;
use crate::error::Error;

/// A stream of reads, made by [`Client::fetch`]. It is opened by the first read, and again after it broke.
#[derive(Debug)]
pub struct Fetch {
    client: Client,
    open: Option<Open>,
}

/// Both halves of an open stream.
#[derive(Debug)]
struct Open {
    requests: mpsc::Sender<wire::FetchRequest>,
    answers: Streaming<wire::FetchResponse>,
}

impl Fetch {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, open: None }
    }

    /// Reads the current version of a credential.
    ///
    /// That it cannot be read is an answer and leaves the stream open. When this future is dropped before its end, the
    /// next read opens a new stream, because an answer may still be on its way on the old one.
    pub async fn get(&mut self, name: &str) -> Result<Credential, Error> {
        let name: CredentialName = name.parse()?;
        let limit = self.client.timeouts().call;
        let open = self.open.take();
        let reading = async {
            let mut open = match open {
                Some(open) => open,
                None => Open::new(&self.client).await?,
            };
            let answer = open.ask(&name, limit).await?;
            Ok::<_, Error>((open, answer))
        };
        let (open, answer) = tokio::time::timeout(limit, reading).await.ok().ok_or(Error::Late(limit))??;
        self.open = Some(open);
        match answer.answer {
            Some(wire::fetch_response::Answer::Credential(credential)) => {
                answer::credential(&name, credential)
            }
            Some(wire::fetch_response::Answer::Error(error)) => {
                Err(answer::unavailable(&name, &error).into())
            }
            None => Err(Error::Malformed("it says nothing")),
        }
    }
}

impl Open {
    async fn new(client: &Client) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(1);
        let answers = client.link().await?.calls().fetch(ReceiverStream::new(queue)).await;
        let answers = answers.map_err(|status| answer::call_failure(&status, client.timeouts().call))?;
        Ok(Self { requests, answers: answers.into_inner() })
    }

    async fn ask(
        &mut self,
        name: &CredentialName,
        limit: std::time::Duration,
    ) -> Result<wire::FetchResponse, Error> {
        let request = wire::FetchRequest { name: name.to_string() };
        self.requests.send(request).await.ok().ok_or(Error::Disconnected)?;
        let answer = self.answers.message().await.map_err(|status| answer::call_failure(&status, limit))?;
        answer.ok_or(Error::Disconnected)
    }
}
