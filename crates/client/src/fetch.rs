//! Reads over one long stream: one message out, one message in, no call to set up.

use std::time::Duration;

use rekey_model::CredentialName;
use rekey_proto::local as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::answer;
use crate::client::Client;
use crate::credential::Credential;
use crate::error::Error;
use crate::link::Link;

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
        // An open stream is taken out for as long as its answer is awaited, and put back when that has come.
        let (open, answer) = match self.open.take() {
            Some(open) => match tokio::time::timeout(limit, open.ask(&name, limit)).await {
                Ok(Err(Error::Disconnected)) => self.ask_anew(&name, limit).await?,
                Ok(done) => done?,
                Err(_) => return Err(Error::Late(limit)),
            },
            None => self.ask_anew(&name, limit).await?,
        };
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

    async fn ask_anew(
        &self,
        name: &CredentialName,
        limit: Duration,
    ) -> Result<(Open, wire::FetchResponse), Error> {
        let mut route = self.client.route();
        loop {
            let link = route.link().await?;
            let asking = async { Open::new(&link, limit).await?.ask(name, limit).await };
            match tokio::time::timeout(limit, asking).await.unwrap_or(Err(Error::Late(limit))) {
                Ok(answer) => return Ok(answer),
                Err(error) => route.failed(error)?,
            }
        }
    }
}

impl Open {
    async fn new(link: &Link, limit: Duration) -> Result<Self, Error> {
        let (requests, queue) = mpsc::channel(1);
        let answers = link.calls().fetch(ReceiverStream::new(queue)).await;
        let answers = answers.map_err(|status| answer::call_failure(&status, limit))?;
        Ok(Self { requests, answers: answers.into_inner() })
    }

    async fn ask(
        mut self,
        name: &CredentialName,
        limit: Duration,
    ) -> Result<(Self, wire::FetchResponse), Error> {
        let request = wire::FetchRequest { name: name.to_string() };
        self.requests.send(request).await.ok().ok_or(Error::Disconnected)?;
        let answer = self.answers.message().await.map_err(|status| answer::call_failure(&status, limit))?;
        Ok((self, answer.ok_or(Error::Disconnected)?))
    }
}
