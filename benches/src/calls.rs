//! Reads over the socket: `Get`, a call each, and `Fetch`, a message each.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use rekey_proto::local::credentials_client::CredentialsClient;
use rekey_proto::local::{FetchRequest, GetRequest};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::clock::now;
use crate::material;
use crate::parts::{Server, Stage};
use crate::rounds::{Amount, Pair, at};
use crate::table::{Measure, Table};

/// Connections of the busy load.
const CONNECTIONS: usize = 8;
/// Reads in flight on each.
const IN_FLIGHT: usize = 8;

type Naming = fn(Request<()>) -> Result<Request<()>, Status>;
type Client = CredentialsClient<InterceptedService<Channel, Naming>>;

/// How a read is made.
#[derive(Debug, Clone, Copy)]
enum Shape {
    Get,
    Fetch,
}

/// What one round of one server gave.
#[derive(Debug, Default)]
struct Round {
    p50_us: f64,
    p99_us: f64,
    cpu_alone_us: f64,
    per_second: f64,
    cpu_busy_us: f64,
}

/// Both shapes.
pub(crate) async fn measure(stage: &Stage, amount: Amount, table: &mut Table) -> Result<()> {
    let names =
        ["Get p50", "Get p99", "Get server CPU, alone", "Get at 64 in flight", "Get server CPU at 64"];
    shape(stage, Shape::Get, amount, names, table).await?;
    let names = [
        "Fetch p50",
        "Fetch p99",
        "Fetch server CPU, alone",
        "Fetch at 64 in flight",
        "Fetch server CPU at 64",
    ];
    shape(stage, Shape::Fetch, amount, names, table).await
}

async fn shape(
    stage: &Stage,
    shape: Shape,
    amount: Amount,
    names: [&'static str; 5],
    table: &mut Table,
) -> Result<()> {
    let mut pairs: [Pair; 5] = Default::default();
    for number in 0..=amount.rounds {
        let (ours, anchor) = if number % 2 == 0 {
            let ours = round(&stage.sidecar, shape, amount).await?;
            (ours, round(&stage.echo, shape, amount).await?)
        } else {
            let anchor = round(&stage.echo, shape, amount).await?;
            (round(&stage.sidecar, shape, amount).await?, anchor)
        };
        // The first round warms everybody up.
        if number > 0 {
            for (pair, (ours, anchor)) in
                pairs.iter_mut().zip(ours.figures().into_iter().zip(anchor.figures()))
            {
                pair.push(ours, anchor);
            }
        }
    }
    let units = ["us", "us", "us", "1/s", "us"];
    let aims = [if matches!(shape, Shape::Get) { "ratio <= 1.10" } else { "" }, "", "", "more is better", ""];
    for (pair, ((name, unit), aim)) in pairs.iter().zip(names.into_iter().zip(units).zip(aims)) {
        table.add(Measure { name, unit, anchor: "bare tonic echo", aim }, pair);
    }
    Ok(())
}

impl Round {
    fn figures(self) -> [f64; 5] {
        [self.p50_us, self.p99_us, self.cpu_alone_us, self.per_second, self.cpu_busy_us]
    }
}

/// First one reader alone, then sixty-four at once.
async fn round(server: &Server, shape: Shape, amount: Amount) -> Result<Round> {
    let mut reader = Reader::open(connect(server.socket()).await?, shape).await?;
    let mut took = Vec::with_capacity(amount.calls);
    let cpu = server.cpu_time()?;
    for number in 0..amount.calls {
        let started = now();
        reader.read(number).await?;
        took.push(started.elapsed().as_secs_f64() * 1e6);
    }
    let alone = server.cpu_time()?.saturating_sub(cpu);

    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = connect(server.socket()).await?;
        for _ in 0..IN_FLIGHT {
            readers.push(Reader::open(client.clone(), shape).await?);
        }
    }
    let each = (amount.calls * 4 / readers.len()).max(1);
    let reads = each * readers.len();
    let (cpu, started) = (server.cpu_time()?, now());
    let mut reading = JoinSet::new();
    for mut reader in readers {
        reading.spawn(async move {
            for number in 0..each {
                reader.read(number).await?;
            }
            Ok::<(), anyhow::Error>(())
        });
    }
    while let Some(done) = reading.join_next().await {
        done??;
    }
    let (took_all, busy) = (started.elapsed(), server.cpu_time()?.saturating_sub(cpu));
    Ok(Round {
        p50_us: at(took.clone(), 50, 100),
        p99_us: at(took, 99, 100),
        cpu_alone_us: micros_each(alone, amount.calls),
        per_second: 1e6 / micros_each(took_all, reads),
        cpu_busy_us: micros_each(busy, reads),
    })
}

fn micros_each(whole: Duration, parts: usize) -> f64 {
    whole.as_secs_f64() * 1e6 / f64::from(u32::try_from(parts).unwrap_or(u32::MAX))
}

/// A connection of its own.
pub(crate) async fn connect(socket: &Path) -> Result<Client> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://bench.local").connect_with_connector(connector).await?;
    Ok(CredentialsClient::with_interceptor(channel, named as Naming))
}

#[expect(clippy::unnecessary_wraps, reason = "an interceptor may refuse")]
fn named(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().insert(rekey_proto::CLIENT_METADATA, MetadataValue::from_static("bench/1"));
    Ok(request)
}

/// One who reads.
enum Reader {
    Get(Client),
    Fetch(mpsc::Sender<FetchRequest>, Streaming<rekey_proto::local::FetchResponse>),
}

impl Reader {
    async fn open(mut client: Client, shape: Shape) -> Result<Self> {
        Ok(match shape {
            Shape::Get => Self::Get(client),
            Shape::Fetch => {
                let (ask, asked) = mpsc::channel(1);
                let answers = client.fetch(ReceiverStream::new(asked)).await?.into_inner();
                Self::Fetch(ask, answers)
            }
        })
    }

    async fn read(&mut self, number: usize) -> Result<()> {
        let name = material::name(number);
        match self {
            Self::Get(client) => {
                let answer = client.get(GetRequest { name }).await?.into_inner();
                answer.credential.context("no credential").map(drop)
            }
            Self::Fetch(ask, answers) => {
                ask.send(FetchRequest { name }).await?;
                let answer = answers.message().await?.context("the stream ended")?;
                answer.answer.context("no answer").map(drop)
            }
        }
    }
}
