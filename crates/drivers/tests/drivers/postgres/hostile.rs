//! Servers and names that mean harm.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rekey_drivers::postgres::{TlsMode, TlsSettings};
use rekey_drivers::{Driver, DriverError, Found, Sessions};
use rekey_model::Span;
use rekey_testkit::certificates::Authority;
use rekey_testkit::postgres::{Options, Postgres};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::world::{ROTATOR_PASSWORD, World, with_authority};
use crate::conformance::refused;

/// A server that answers the first message with `answers`, one a message, and gives all that it was sent.
fn impostor(answers: Vec<Vec<u8>>) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        for answer in answers.into_iter().chain([Vec::new()]) {
            let count = client.read(&mut buffer).unwrap_or(0);
            all.extend_from_slice(&buffer[..count]);
            client.write_all(&answer).ok();
            if count == 0 {
                break;
            }
        }
        sender.send(all).ok();
    });
    (port, heard)
}

fn login(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 8).unwrap();
    [b"R".as_slice(), &length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
}

#[tokio::test]
async fn a_server_that_wants_the_password_itself_does_not_get_it() {
    let world = World::new();
    for (answer, word) in [
        (login(3, b""), "clear text"),
        (login(5, b"salt"), "MD5"),
        (login(0, b""), "without a password"),
        (login(7, b""), "another kind"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not what"),
    ] {
        let (port, heard) = impostor(vec![answer, Vec::new()]);
        let driver = world.driver_with(|target, _| target.port = port);
        let why = refused(driver.install(&world.intent(1)).await, word);
        assert!(why.contains(word), "{why}");
        let heard = heard.recv_timeout(Duration::from_secs(10)).unwrap();
        let text = String::from_utf8_lossy(&heard);
        assert!(
            text.contains("user") && !text.contains(ROTATOR_PASSWORD) && !text.contains("md5"),
            "{text:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_asks_for_endless_rounds_ends_at_once() {
    // The nonce is the client's with more behind it; the client's first message ends with it.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut buffer = [0; 4096];
        assert!(client.read(&mut buffer).unwrap() > 0);
        client.write_all(&login(10, b"SCRAM-SHA-256\0\0")).unwrap();
        let count = client.read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        let nonce = text.rsplit("r=").next().unwrap();
        let challenge = format!("r={nonce}more,s=c2FsdHNhbHQ=,i=2147483648");
        client.write_all(&login(11, challenge.as_bytes())).unwrap();
        client.read_to_end(&mut Vec::new()).ok();
    });
    let world = World::new();
    let driver = world.driver_with(|target, _| target.port = port);
    let intent = world.intent(1);
    let install = tokio::time::timeout(Duration::from_secs(5), driver.install(&intent));
    let why = refused(install.await.expect("within its deadline"), "2^31 rounds");
    assert!(why.contains("iteration count"), "{why}");
}

#[tokio::test]
async fn a_server_that_says_nothing_or_hangs_up_is_not_available() {
    let world = World::new();
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let driver = world.driver_with(|target, _| {
        target.port = port;
        target.connect_timeout = Span::new(Duration::from_millis(200));
    });
    assert!(matches!(driver.install(&world.intent(1)).await, Err(DriverError::Unavailable(_))));
    let (port, _heard) = impostor(Vec::new());
    let driver = world.driver_with(|target, _| target.port = port);
    assert!(matches!(driver.install(&world.intent(1)).await, Err(DriverError::Unavailable(_))));
}

#[tokio::test]
async fn a_real_server_that_checks_nothing_or_too_little_proves_nothing() {
    let world = World::new();
    let intent = world.intent(1);
    let lines = ["trust", "password", "md5"]
        .map(|method| format!("host all {}_{method} 127.0.0.1/32 {method}", intent.handle));
    let postgres = Postgres::start(Options { tcp: true, hba: lines.to_vec(), ..Options::default() });
    for method in ["trust", "password", "md5"] {
        let user = format!("{}_{method}", intent.handle);
        postgres.sql(&format!(
            "SET password_encryption = md5; CREATE ROLE {user} LOGIN PASSWORD '{ROTATOR_PASSWORD}'"
        ));
        let driver = world.driver_with(|target, _| {
            target.port = postgres.port();
            target.user.clone_from(&user);
        });
        let why = refused(driver.find(&intent).await, method);
        assert!(why.contains("scram-sha-256"), "{method}: {why}");
    }
}

#[tokio::test]
async fn tls_is_verified_in_full_and_never_left_out() {
    let postgres = Postgres::start(Options { tls: Some(vec!["localhost".into()]), ..Options::default() });
    postgres.sql(&format!("CREATE ROLE rekey LOGIN PASSWORD '{ROTATOR_PASSWORD}'"));
    let world = World::new();
    let intent = world.intent(1);
    let ca = postgres.ca_pem().unwrap().to_owned();
    let driver = |host: &str, name: Option<&str>, ca: &str, port: u16| {
        with_authority(&world, ca, |target| {
            target.host = host.into();
            target.port = port;
            target.user = "rekey".into();
            target.tls = TlsSettings {
                public: false,
                mode: TlsMode::VerifyFull,
                ca_file: Some("given".into()),
                server_name: name.map(str::to_owned),
            };
        })
    };
    let port = postgres.port();
    assert_eq!(driver("localhost", None, &ca, port).find(&intent).await.unwrap(), Found::Absent);
    assert_eq!(driver("127.0.0.1", Some("localhost"), &ca, port).find(&intent).await.unwrap(), Found::Absent);
    let in_tls = "SELECT count(*) FROM pg_stat_ssl WHERE ssl AND version <> 'TLSv1.3'";
    assert_eq!(postgres.sql(in_tls)[0][0].as_deref(), Some("0"));
    let why = refused(driver("127.0.0.1", None, &ca, port).find(&intent).await, "the wrong name");
    assert!(why.contains("not valid for name"), "{why}");
    let other = Authority::new("another").unwrap();
    let why = refused(driver("localhost", None, other.pem(), port).find(&intent).await, "another authority");
    assert!(why.contains("invalid peer certificate") || why.contains("BadSignature"), "{why}");
    // A server, or somebody on the way, that says it has no TLS gets no login.
    let (port, heard) = impostor(vec![b"N".to_vec(), Vec::new()]);
    let why = refused(driver("localhost", None, &ca, port).find(&intent).await, "a server without TLS");
    assert!(why.contains("does not support TLS"), "{why}");
    assert_eq!(
        heard.recv_timeout(Duration::from_secs(10)).unwrap().len(),
        8,
        "more than the question for TLS was sent"
    );
}

/// A server with TLS that offers SCRAM without channel binding, as somebody does who ends TLS on the way; it gives all
/// that it was sent after its offer.
fn without_channel_binding(authority: &Authority) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let leaf = authority.leaf(&["localhost"]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        client.read_exact(&mut [0; 8]).unwrap();
        client.write_all(b"S").unwrap();
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, client);
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(&login(10, b"SCRAM-SHA-256\0\0")).unwrap();
        stream.flush().unwrap();
        let mut after = Vec::new();
        stream.read_to_end(&mut after).ok();
        sender.send(after).ok();
    });
    (port, heard)
}

#[tokio::test]
async fn scram_without_channel_binding_is_refused_inside_tls() {
    let authority = Authority::new("an authority").unwrap();
    let (port, heard) = without_channel_binding(&authority);
    let world = World::new();
    let driver = with_authority(&world, authority.pem(), |target| {
        target.host = "localhost".into();
        target.port = port;
        target.tls = TlsSettings { ca_file: Some("given".into()), ..TlsSettings::default() };
    });
    let why = refused(driver.find(&world.intent(1)).await, "a login that is bound to no channel");
    assert!(why.contains("channel binding"), "{why}");
    assert_eq!(heard.recv_timeout(Duration::from_secs(10)).unwrap(), b"", "it answered");
}

#[tokio::test]
async fn hostile_names_name_themselves_and_nothing_else() {
    let longest = "x".repeat(63);
    let names = [
        r#"o"; DROP TABLE orders; --"#,
        r"back\slash'quote",
        "$$ dollar $1 %s %I",
        "Ünïcödé ロール \u{202e}",
        " spaces  and\ttabs\nlines ",
        "PUBLIC",
        longest.as_str(),
    ];
    for name in names {
        let world = World::new();
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        world.postgres.sql(&format!(
            "CREATE ROLE {quoted} NOLOGIN; GRANT {quoted} TO {}_rekey WITH ADMIN OPTION",
            world.name
        ));
        world.postgres.sql(&format!("CREATE DATABASE {quoted} OWNER {quoted}"));
        let driver = world.driver_with(|_, account| {
            account.owner_role = name.into();
            account.database = name.into();
            account.search_path = vec![name.into(), "public".into()];
            account.probes = vec!["SELECT 1".into()];
        });
        let intent = world.intent(1);
        let installed = driver.install(&intent).await.unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        driver.probe(&installed.fields, None).await.unwrap_or_else(|error| panic!("{name:?}: {error:?}"));
        driver.revoke(&intent.handle, Sessions::End).await.unwrap();
        driver.clean_up(&intent.handle).await.unwrap();
        assert_eq!(world.value("SELECT count(*) FROM orders"), "1");
        world.postgres.sql(&format!("DROP DATABASE {quoted}"));
        world.postgres.sql(&format!("DROP ROLE {quoted}"));
    }
}

#[tokio::test]
async fn settings_of_the_consumers_database_do_not_reach_the_rotator() {
    let world = World::new();
    let old = world.intent(1);
    world.driver.install(&old).await.unwrap();
    let (owner, database) = (world.owner_role(), &world.name);
    world.sql(
        "CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC; \
         CREATE FUNCTION trap.has_schema_privilege(oid, oid, text) RETURNS boolean LANGUAGE plpgsql \
         AS 'BEGIN RAISE EXCEPTION ''trapped''; END'",
    );
    for setting in [
        format!("role = {owner}"),
        "search_path = trap, pg_catalog".into(),
        "statement_timeout = 1".into(),
        "default_transaction_read_only = on".into(),
        "quote_all_identifiers = on".into(),
        "default_transaction_isolation = serializable".into(),
    ] {
        let new = world.intent(2);
        let driver = world.driver_with(|_, account| account.search_path = vec!["public".into()]);
        let installed = driver.install(&new).await.unwrap();
        world
            .postgres
            .sql(&format!("ALTER ROLE {} IN DATABASE {database} SET statement_timeout = 0", new.handle));
        world.sql(&format!("CREATE TABLE public.held (); ALTER TABLE public.held OWNER TO {}", new.handle));
        world.postgres.sql(&format!("ALTER DATABASE {database} SET {setting}"));
        // The consumer suffers from its own settings; what concerns us is that the comparison still works.
        let why = refused(driver.probe(&installed.fields, Some(&old.handle)).await, &setting);
        assert!(why.ends_with("lacks: an unexpected setting statement_timeout = 0"), "{setting}: {why}");
        world.driver.revoke(&new.handle, Sessions::End).await.unwrap();
        world.driver.clean_up(&new.handle).await.unwrap_or_else(|error| panic!("{setting}: {error:?}"));
        world.postgres.sql(&format!("ALTER DATABASE {database} RESET ALL"));
        world.sql("DROP TABLE public.held");
    }
}

#[tokio::test]
async fn a_name_that_the_server_would_cut_off_is_refused() {
    let world = World::new();
    let mut intent = world.intent(1);
    world.sql(&format!("CREATE ROLE {}_app_v{} LOGIN", world.name, "1".repeat(56 - world.name.len() + 1)));
    intent.handle = format!("{}_app_v{}", world.name, "1".repeat(80)).parse().unwrap();
    for refusal in [
        refused(world.driver.install(&intent).await, "a long name"),
        refused(world.driver.revoke(&intent.handle, Sessions::End).await, "a long name"),
    ] {
        assert!(refusal.contains("63 bytes"), "{refusal}");
    }
    intent.handle = "postgres".parse().unwrap();
    refused(world.driver.revoke(&intent.handle, Sessions::End).await, "the superuser");
    intent.handle = format!("{}_other_v1_abc", world.name).parse().unwrap();
    let why = refused(world.driver.install(&intent).await, "a name without our prefix");
    assert!(why.contains("does not begin with"), "{why}");
}
