//! A receiver that answers as it is told to: nothing is lost, nothing comes out of order, and the same has the same id.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::audit::{Actor, Entry, Outcome};
use crate::store::tests::stage::Stage;

/// What came in one request.
#[derive(Debug, Clone)]
struct Heard {
    head: String,
    body: Value,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let of =
            |line: &str| line.split_once(": ").filter(|(key, _)| *key == name).map(|(_, value)| value.len());
        let line = self.head.lines().find(|line| of(line).is_some()).unwrap_or_default();
        line.split_once(": ").map_or("", |(_, value)| value)
    }

    fn seq(&self) -> u64 {
        self.body["data"]["seq"].as_u64().unwrap()
    }
}

/// A receiver: what it heard, and the statuses that it says, one after the other; 0: it hangs up; then 204.
struct Receiver {
    heard: Arc<Mutex<Vec<Heard>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    port: u16,
    serving: tokio::task::AbortHandle,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    async fn start(tasks: &mut tokio::task::JoinSet<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let answers: Arc<Mutex<Vec<u16>>> = Arc::default();
        let (notes, says) = (Arc::clone(&heard), Arc::clone(&answers));
        let serving = tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                let request = loop {
                    let mut some = [0; 4096];
                    let size = stream.read(&mut some).await.unwrap();
                    bytes.extend_from_slice(&some[..size]);
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let whole = text.split_once("\r\n\r\n").and_then(|(head, body)| {
                        Some(Heard { head: head.to_lowercase(), body: serde_json::from_str(body).ok()? })
                    });
                    if let Some(whole) = whole {
                        break whole;
                    }
                };
                notes.lock().unwrap().push(request);
                let status = {
                    let mut says = says.lock().unwrap_or_else(PoisonError::into_inner);
                    if says.is_empty() { 204 } else { says.remove(0) }
                };
                if status != 0 {
                    let answer =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        Self { heard, answers, port, serving }
    }

    fn says(&self, answers: &[u16]) {
        *self.answers.lock().unwrap() = answers.to_vec();
    }

    fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn webhook(&self, events: &[Verb]) -> Webhook {
        Webhook {
            name: "ops".parse().unwrap(),
            to: To::Url(format!("http://127.0.0.1:{}/hook", self.port).parse().unwrap()),
            secret_file: None,
            events: events.to_vec(),
            format: Format::Json,
            timeout: Duration::from_secs(20),
            ca_file: PathBuf::from("/nowhere"),
        }
    }
}

struct World {
    stage: Stage,
    store: Store,
    receiver: Receiver,
    _tasks: tokio::task::JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        let (stage, mut tasks) = (Stage::sqlite(), tokio::task::JoinSet::new());
        let store = stage.store().await;
        let receiver = Receiver::start(&mut tasks).await;
        Self { stage, store, receiver, _tasks: tasks }
    }

    async fn begin(&self, all: Vec<Webhook>) -> Webhooks {
        Webhooks::begin(self.store.clone(), self.stage.clock.clone(), all).await.unwrap()
    }

    async fn happens(&self, verbs: &[Verb]) {
        for verb in verbs {
            let mut tx = self.store.begin().await.unwrap();
            tx.audit(&Entry::new(Actor::controller(), *verb, Outcome::Done)).await.unwrap();
            tx.commit().await.unwrap();
        }
    }

    async fn row(&self) -> WebhookRow {
        self.store.webhooks().await.unwrap().remove(0)
    }
}

fn backoff() -> Backoff {
    Backoff::new(WAITS.0, WAITS.1)
}

#[tokio::test]
async fn what_happens_is_told_in_order_once_and_only_what_is_asked_for() {
    let world = World::new().await;
    world.happens(&[Verb::Rotate]).await;
    let hook = world.receiver.webhook(&[Verb::Rotate, Verb::Promote]);
    let hooks = world.begin(vec![hook.clone()]).await;
    world.happens(&[Verb::Rotate, Verb::Choose, Verb::Promote, Verb::Ended]).await;
    assert_eq!(hooks.standing().await.unwrap()[0].behind, 2);
    assert!(matches!(hooks.tell(&hook, &mut backoff()).await, Ok(Next::Nothing)));
    let heard = world.receiver.take();
    let kinds: Vec<&Value> = heard.iter().map(|it| &it.body["type"]).collect();
    assert_eq!(kinds, ["rekey.rotate", "rekey.promote"], "and nothing from before it was there");
    assert!(heard[0].seq() < heard[1].seq());
    assert!(matches!(hooks.tell(&hook, &mut backoff()).await, Ok(Next::Nothing)));
    assert!(world.receiver.take().is_empty(), "it was told again");
    assert_eq!(hooks.standing().await.unwrap()[0].behind, 0);
}

#[tokio::test]
async fn what_fails_is_told_again_under_the_same_id_before_anything_later() {
    let world = World::new().await;
    let hook = world.receiver.webhook(&[]);
    let hooks = world.begin(vec![hook.clone()]).await;
    world.happens(&[Verb::Hold, Verb::Release]).await;
    world.receiver.says(&[500, 0, 302, 429]);
    let mut backoff = backoff();
    for why in ["500", "gave no answer", "go elsewhere", "no time"] {
        assert!(matches!(hooks.tell(&hook, &mut backoff).await, Ok(Next::Retry(_))), "{why}");
        let row = world.row().await;
        assert!(row.last_error.contains(why) && row.failing.is_some(), "{row:?}");
    }
    // As after a crash: another process goes on where the store says.
    let after = world.begin(vec![hook.clone()]).await;
    assert!(matches!(after.tell(&hook, &mut backoff).await, Ok(Next::Nothing)));
    let heard = world.receiver.take();
    let ids: Vec<&str> = heard.iter().map(|it| it.header("webhook-id")).collect();
    assert_eq!(ids.len(), 6);
    assert!(ids[..5].iter().all(|id| *id == ids[0]) && ids[5] != ids[0], "{ids:?}");
    assert_eq!(heard[5].body["type"], "rekey.release");
    let row = world.row().await;
    assert_eq!((row.told, row.failing, row.last_error.as_str()), (heard[5].seq(), None, ""));
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_told_nothing_until_somebody_tests_it() {
    let world = World::new().await;
    let hook = world.receiver.webhook(&[]);
    let hooks = world.begin(vec![hook.clone()]).await;
    world.happens(&[Verb::Hold, Verb::Release]).await;
    world.receiver.says(&[410, 500]);
    hooks.tell(&hook, &mut backoff()).await.unwrap();
    assert!(matches!(hooks.tell(&hook, &mut backoff()).await, Ok(Next::Nothing)));
    assert_eq!(world.receiver.take().len(), 1, "it was asked again");
    let now = world.stage.clock.now();
    assert!(behind(&world.row().await, now).unwrap().contains("410"));
    assert_eq!(hooks.test("other").await.unwrap(), None);
    assert!(hooks.test("ops").await.unwrap().unwrap().unwrap_err().contains("500"));
    assert!(world.row().await.stopped);
    assert_eq!(hooks.test("ops").await.unwrap(), Some(Ok(204)));
    hooks.tell(&hook, &mut backoff()).await.unwrap();
    let kinds: Vec<Value> = world.receiver.take().into_iter().map(|it| it.body["type"].clone()).collect();
    assert_eq!(kinds, ["rekey.test", "rekey.test", "rekey.hold", "rekey.release"], "and nothing is lost");
    assert_eq!(behind(&world.row().await, now), None);
}

#[tokio::test]
async fn one_that_fails_for_long_alarms_and_one_that_the_config_lost_is_forgotten() {
    let world = World::new().await;
    let hook = world.receiver.webhook(&[]);
    let hooks = world.begin(vec![hook.clone()]).await;
    world.happens(&[Verb::Hold]).await;
    world.receiver.says(&[500, 500]);
    hooks.tell(&hook, &mut backoff()).await.unwrap();
    let clock = &world.stage.clock;
    assert_eq!(behind(&world.row().await, clock.now()), None);
    clock.advance(BEHIND.saturating_sub(Duration::from_secs(1)));
    hooks.tell(&hook, &mut backoff()).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let said = behind(&world.row().await, clock.now()).unwrap();
    assert!(said.contains("ops") && said.contains("500"), "{said}");
    world.begin(Vec::new()).await;
    assert_eq!(world.store.webhooks().await.unwrap(), []);
}

#[tokio::test]
async fn a_body_is_signed_with_the_key_in_the_file_and_the_address_may_be_in_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let file = |name: &str, text: &str| {
        let path = world.stage.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let hook = Webhook {
        to: To::File(file("url", &format!("http://127.0.0.1:{}/secret\n", world.receiver.port))),
        secret_file: Some(file("key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")),
        format: Format::Slack,
        ..world.receiver.webhook(&[])
    };
    let hooks = world.begin(vec![hook.clone()]).await;
    world.happens(&[Verb::Hold]).await;
    hooks.tell(&hook, &mut backoff()).await.unwrap();
    let heard = world.receiver.take().remove(0);
    assert!(heard.head.starts_with("post /secret http/1.1"), "{}", heard.head);
    assert!(heard.header("webhook-signature").starts_with("v1,"), "{}", heard.head);
    assert!(heard.header("webhook-timestamp").parse::<i64>().is_ok());
    assert!(heard.body["text"].as_str().unwrap().contains("stopped everything automatic"));
    std::fs::remove_file(world.stage.folder.path().join("key")).unwrap();
    world.happens(&[Verb::Release]).await;
    assert!(matches!(hooks.tell(&hook, &mut backoff()).await, Ok(Next::Retry(_))), "unsigned is not sent");
    assert!(world.row().await.last_error.contains("secret_file"));
    assert!(world.receiver.take().is_empty());
}
