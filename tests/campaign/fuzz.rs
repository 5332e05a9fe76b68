//! Every parser is fed what is nearly right: nothing panics, and what reads is written so that it reads the same.

use std::fs;
use std::panic::catch_unwind;

use anyhow::{Context, Result, bail};
use prost::Message;
use rekey_controller::ca::RequestedKey;
use rekey_controller::identity::Identity;
use rekey_controller::spec::Spec;
use rekey_controller::tokens::JoinToken;
use rekey_model::{CredentialName, Span, SpiffeId, TrustDomain};
use rekey_proto::{fleet, local};
use rekey_rotation::Ledger;
use rekey_settings::Document;
use serde_json::Value;

use super::Limit;
use super::chance::Chance;
use super::record::Record;

/// Whether a parser kept its promises about an input.
type Kept = bool;

/// A parser: its name, good inputs, and what must hold of it.
struct Parser {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    read: fn(&[u8]) -> Kept,
}

/// Inputs between two looks at the time.
const BATCH: u64 = 500;
/// The longest input.
const LONGEST: usize = 16 << 10;

pub(crate) fn play(record: &mut Record, limit: &Limit) -> Result<String> {
    let parsers = parsers()?;
    // A panic is reported with its input, below.
    std::panic::set_hook(Box::new(|_| {}));
    let seed = record.get("batches");
    while !limit.is_over() {
        for parser in &parsers {
            let mut chance = Chance::new(record.get("batches"));
            for _ in 0..BATCH {
                let input = nearly_right(parser, &mut chance);
                if !catch_unwind(|| (parser.read)(&input)).unwrap_or(false) {
                    let file = record.folder().join(format!("fuzz-{}", parser.name));
                    fs::write(&file, &input).with_context(|| format!("write {}", file.display()))?;
                    bail!(
                        "{} panicked, or did not read what it wrote; the input is {}",
                        parser.name,
                        file.display()
                    );
                }
            }
            record.add(&[("inputs", BATCH)])?;
        }
        record.add(&[("batches", 1)])?;
    }
    Ok(format!(
        "fuzz: {} inputs over {} parsers (this run from seed {seed}): no panic, and what reads reads the same again",
        record.get("inputs"),
        parsers.len()
    ))
}

/// A good input with a few changes.
fn nearly_right(parser: &Parser, chance: &mut Chance) -> Vec<u8> {
    let pick =
        |chance: &mut Chance| parser.seeds.get(chance.below(parser.seeds.len())).cloned().unwrap_or_default();
    let mut input = pick(chance);
    for _ in 0..=chance.below(4) {
        let at = chance.below(input.len() + 1);
        let end = (at + 1 + chance.below(12)).min(input.len());
        match chance.below(6) {
            0 => input.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << chance.below(8)),
            1 => drop(input.drain(at.min(end)..end)),
            2 => input.insert(at, u8::try_from(chance.below(256)).unwrap_or(0)),
            3 => input.truncate(at),
            4 => drop(input.splice(at..at, pick(chance).into_iter().skip(at).take(40))),
            _ => {
                let edge: &[u8] = match chance.below(4) {
                    0 => b"18446744073709551616",
                    1 => b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                    2 => b"-1",
                    _ => "\u{202e}\0".as_bytes(),
                };
                drop(input.splice(at..at, edge.iter().copied()));
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn parsers() -> Result<Vec<Parser>> {
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?.der().to_vec();
    let leaf = rcgen::CertificateParams::new(vec!["a.example".to_owned()])?.self_signed(&key)?.der().to_vec();
    let spec = SPEC.as_bytes().to_vec();
    let json = serde_json::to_vec(&serde_json::json!({
        "credential": "orders/db", "owner": "team", "environment": "test",
        "postgres": { "target": "pg", "database": "orders", "owner_role": "o", "prefix": "p", "probes": ["SELECT 1"] },
        "grace": { "max_reconnect": "30m", "floor": "1h", "quiet": "15m", "deadline": "48h" },
        "deliver": { "to": ["spiffe://rekey.local/sidecar/*"], "offline": "fail-closed" },
    }))?;
    let ledger = serde_json::to_vec(&Ledger::default())?;
    let parser = |name, seeds, read| Parser { name, seeds, read };
    Ok(vec![
        parser("yaml", vec![spec], |input| {
            drop(Document::parse_all("fuzz.yaml", &String::from_utf8_lossy(input)));
            true
        }),
        parser("spec", vec![json], |input| {
            serde_json::from_slice::<Value>(input).map(|json| drop(Spec::parse(&json))).ok();
            true
        }),
        parser("ledger", vec![ledger, LEDGER.as_bytes().to_vec()], same_again),
        parser("request", vec![request], |input| {
            drop(RequestedKey::from_request(input));
            true
        }),
        parser("leaf", vec![leaf], |input| {
            "rekey.local".parse::<TrustDomain>().map(|domain| drop(Identity::of_leaf(input, &domain))).ok();
            true
        }),
        parser("fleet", wire_seeds(), |input| {
            drop((fleet::Up::decode(input), fleet::Down::decode(input), fleet::JoinRequest::decode(input)));
            true
        }),
        parser("local", wire_seeds(), |input| {
            drop((local::GetRequest::decode(input), local::ReportRequest::decode(input)));
            drop((local::FetchRequest::decode(input), local::WatchResponse::decode(input)));
            true
        }),
        parser(
            "words",
            vec![b"orders/db".to_vec(), b"spiffe://rekey.local/sidecar/a".to_vec(), b"90m".to_vec()],
            words,
        ),
    ])
}

/// A declaration with a little of everything that YAML has.
const SPEC: &str = "# declared\ncredential: orders/db\nlabels: { tier: \"gold\", 'a': 1 }\npostgres:\n  probes:\n    - SELECT 1\n    - |\n      SELECT\n      2\nx: &a [1, 2.5, ~, true]\ny: *a\n---\nz: >-\n  folded\n";

/// A ledger with a version in it.
const LEDGER: &str =
    r#"{"order":3,"last_version":2,"current":2,"previous":1,"fenced":[1],"owed":true,"ever_held":true}"#;

fn wire_seeds() -> Vec<Vec<u8>> {
    let hello = fleet::Hello { host: "host".into(), software: "sidecar/1".into(), ..fleet::Hello::default() };
    let join = fleet::JoinRequest { token: "rkj_token".into(), csr_der: vec![0x30, 3, 2, 1, 0] };
    let nested = [&[0x0a, 20][..], &hello.encode_to_vec()].concat();
    vec![
        hello.encode_to_vec(),
        join.encode_to_vec(),
        nested,
        local::GetRequest { name: "orders/db".into() }.encode_to_vec(),
    ]
}

/// What reads as a ledger is written so that it reads the same.
fn same_again(input: &[u8]) -> Kept {
    let Ok(ledger) = serde_json::from_slice::<Ledger>(input) else { return true };
    let written = serde_json::to_vec(&ledger).ok();
    written.and_then(|text| serde_json::from_slice::<Ledger>(&text).ok()).is_some_and(|again| again == ledger)
}

/// Names, ids, spans and tokens: what reads as one is printed so that it reads the same.
fn words(input: &[u8]) -> Kept {
    let text = String::from_utf8_lossy(input).into_owned();
    let name = text.parse::<CredentialName>().is_ok_and(|name| name.to_string() != text);
    let id = text.parse::<SpiffeId>().is_ok_and(|id| id.to_string() != text);
    let span = text.parse::<Span>().is_ok_and(|span| span.to_string().parse::<Span>().ok() != Some(span));
    drop(JoinToken::presented(text));
    !(name || id || span)
}
