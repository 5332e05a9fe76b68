//! An application on PostgreSQL: it logs in anew each time, and keeps one session for a while as a pool does.

use rekey_client::InUse;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, Config, NoTls};

use crate::consumer::Turn;

/// How often a session is used before another takes its place.
const LIFETIME: u32 = 8;

/// A session that is kept, with the word that its version is in use.
struct Kept {
    session: Client,
    uses: u32,
    _in_use: InUse,
}

/// What it does each time: `query`, in a new session and in the kept one.
pub(crate) fn queries(query: &str) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + use<> {
    uses(query.to_owned(), false)
}

/// The same, and once more by the way past the pooler: `direct_host` and `direct_port`.
pub(crate) fn direct_too(query: &str) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static {
    uses(query.to_owned(), true)
}

fn uses(query: String, direct: bool) -> impl FnMut(&Turn<'_>) -> Result<(), String> + Send + 'static {
    let mut runtime: Option<Runtime> = None;
    let mut kept: Option<Kept> = None;
    move |turn| {
        if runtime.is_none() {
            let made = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime = Some(made.map_err(|error| error.to_string())?);
        }
        let Some(runtime) = &runtime else { return Err("no runtime".to_owned()) };
        let in_use = turn.hold();
        if direct {
            let config = config(turn, ["direct_host", "direct_port"])?;
            let session =
                runtime.block_on(log_in(runtime, &config)).map_err(|why| format!("direct: {why}"))?;
            runtime
                .block_on(session.simple_query(&query))
                .map_err(|error| format!("direct: {}", told(&error)))?;
        }
        let session = runtime.block_on(log_in(runtime, &config(turn, ["host", "port"])?))?;
        runtime
            .block_on(session.simple_query(&query))
            .map_err(|error| format!("a query: {}", told(&error)))?;
        match &mut kept {
            Some(old) if old.uses < LIFETIME => {
                old.uses += 1;
                let again = runtime.block_on(old.session.simple_query(&query));
                if let Err(error) = again {
                    kept = None;
                    return Err(format!("a session that was kept: {}", told(&error)));
                }
            }
            _over => kept = Some(Kept { session, uses: 0, _in_use: in_use }),
        }
        Ok(())
    }
}

/// Where and as whom a credential's fields say that one logs in: in one URL, where there is one.
fn config(turn: &Turn<'_>, [host, port]: [&str; 2]) -> Result<Config, String> {
    if let Ok(url) = turn.text("database_url") {
        return url.parse().map_err(|error| format!("database_url: {error}"));
    }
    let mut config = Config::new();
    config.host(turn.text(host)?).user(turn.text("username")?).password(turn.text("password")?);
    config.port(turn.text(port)?.parse().map_err(|error| format!("the port: {error}"))?);
    config.dbname(turn.text("database")?);
    Ok(config)
}

/// Opens a session.
async fn log_in(runtime: &Runtime, config: &Config) -> Result<Client, String> {
    let connected = config.connect(NoTls).await;
    let (session, connection) = connected.map_err(|error| format!("a login: {}", told(&error)))?;
    runtime.spawn(connection);
    Ok(session)
}

fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}
