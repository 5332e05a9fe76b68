//! What must hold of TLS, shown by real handshakes.

use std::io;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::Clock;
use crate::accept::{Secure as _, Secured};
use crate::pki::{Authority, SERVER};

const HOUR: Duration = Duration::from_hours(1);

/// What each side of one handshake says. The server sends one byte, because a client learns only by reading that its
/// certificate was refused.
struct Shaken {
    server: io::Result<Option<Leaf>>,
    client: io::Result<tokio_rustls::client::TlsStream<TcpStream>>,
}

impl Shaken {
    fn worked(&self) -> bool {
        self.server.is_ok() && self.client.is_ok()
    }
}

async fn within<T>(handshake: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), handshake).await.expect("a handshake hangs")
}

async fn shake(server: &ServerTls, client: Arc<ClientConfig>) -> Shaken {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        let Secured::Tls(mut stream, leaf) = server.secure(stream).await? else { panic!("it is plain") };
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok(leaf)
    };
    let call = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = TlsConnector::from(client).connect(SERVER.try_into().unwrap(), stream).await?;
        stream.read_exact(&mut [0]).await?;
        Ok(stream)
    };
    let both = async { tokio::join!(serve, call) };
    let (server, client) =
        tokio::time::timeout(Duration::from_secs(20), both).await.expect("a handshake hangs");
    Shaken { server, client }
}

/// A server that wants certificates by `clients`, the authority it trusts for them, and the clock of both sides.
struct Fixture {
    clock: Clock,
    servers: Authority,
    clients: Authority,
    server: ServerTls,
}

impl Fixture {
    fn new(wants: fn(Roots) -> ClientAuth) -> Self {
        let (clock, servers, clients) =
            (Clock::manual(), Authority::new("servers"), Authority::new("clients"));
        let server = ServerTls::new(&servers.server(), &wants(clients.roots()), clock.clone()).unwrap();
        Self { clock, servers, clients, server }
    }

    fn client(&self, identity: Option<&Identity>) -> ClientTls {
        ClientTls::new(&self.servers.roots(), identity, self.clock.clone()).unwrap()
    }

    async fn shake(&self, identity: Option<&Identity>) -> Shaken {
        shake(&self.server, self.client(identity).config()).await
    }
}

#[tokio::test]
async fn a_good_certificate_is_let_in_and_handed_on() {
    let fixture = Fixture::new(ClientAuth::Required);
    let identity = fixture.clients.client(HOUR);
    let shaken = fixture.shake(Some(&identity)).await;
    let leaf = shaken.server.unwrap().unwrap();
    assert_eq!(&*leaf.der, identity.leaf());
    assert_eq!(leaf.left(&fixture.clock), HOUR);
    let client = shaken.client.unwrap();
    let session = client.get_ref().1;
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let fixture = Fixture::new(ClientAuth::Optional);
    let identity = fixture.clients.client(HOUR);
    fixture.clock.advance(Duration::from_secs(3_599));
    assert!(fixture.shake(Some(&identity)).await.worked());
    fixture.clock.advance(Duration::from_secs(2));
    let shaken = fixture.shake(Some(&identity)).await;
    assert!(shaken.server.is_err() && shaken.client.is_err());
}

#[tokio::test]
async fn a_certificate_by_another_authority_is_refused() {
    for wants in [ClientAuth::Required, ClientAuth::Optional] {
        let fixture = Fixture::new(wants);
        let stranger = Authority::new("clients").client(HOUR);
        let shaken = fixture.shake(Some(&stranger)).await;
        assert!(shaken.server.is_err() && shaken.client.is_err());
    }
}

#[tokio::test]
async fn a_servers_certificate_is_no_clients_certificate() {
    let fixture = Fixture::new(ClientAuth::Required);
    let shaken = fixture.shake(Some(&fixture.clients.server())).await;
    assert!(shaken.server.is_err() && shaken.client.is_err());
}

#[tokio::test]
async fn no_certificate_is_let_in_only_where_it_is_optional() {
    let shaken = Fixture::new(ClientAuth::Optional).shake(None).await;
    assert!(shaken.worked() && shaken.server.unwrap().is_none());
    let shaken = Fixture::new(ClientAuth::Required).shake(None).await;
    assert!(shaken.server.is_err() && shaken.client.is_err());
}

#[tokio::test]
async fn a_client_refuses_a_server_by_another_authority() {
    let fixture = Fixture::new(ClientAuth::Optional);
    let impostor =
        ServerTls::new(&Authority::new("servers").server(), &ClientAuth::None, fixture.clock.clone())
            .unwrap();
    let shaken = shake(&impostor, fixture.client(None).config()).await;
    assert!(shaken.server.is_err() && shaken.client.is_err());
}

#[tokio::test]
async fn a_swap_is_in_force_for_the_next_connection_and_leaves_the_held_one() {
    let fixture = Fixture::new(ClientAuth::Required);
    let identity = fixture.clients.client(HOUR);
    let first = fixture.shake(Some(&identity)).await;
    let held = first.client.unwrap();
    let others = Authority::new("other clients");
    let server = fixture.servers.server();
    fixture.server.swap(&server, &ClientAuth::Required(others.roots())).unwrap();
    assert!(!fixture.shake(Some(&identity)).await.worked());
    let second = fixture.shake(Some(&others.client(HOUR))).await.client.unwrap();
    let seen = |stream: &tokio_rustls::client::TlsStream<TcpStream>| {
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(seen(&second), server.leaf());
    assert_ne!(seen(&held), server.leaf());
}

#[tokio::test]
async fn a_clients_swap_is_in_force_for_the_next_connection() {
    let fixture = Fixture::new(ClientAuth::Required);
    let (old, new) = (fixture.clients.client(HOUR), fixture.clients.client(2 * HOUR));
    let client = fixture.client(Some(&old));
    client.swap(&fixture.servers.roots(), Some(&new)).unwrap();
    let shaken = shake(&fixture.server, client.config()).await;
    assert_eq!(&*shaken.server.unwrap().unwrap().der, new.leaf());
}

/// Even a client that would love to resume gets no ticket, so that an expired certificate cannot live on in a session.
#[tokio::test]
async fn nothing_can_be_resumed_so_expiry_cannot_be_got_round() {
    let fixture = Fixture::new(ClientAuth::Required);
    let identity = fixture.clients.client(HOUR);
    let mut eager = (*fixture.client(Some(&identity)).config()).clone();
    eager.resumption = rustls::client::Resumption::in_memory_sessions(8);
    let eager = Arc::new(eager);
    for _ in 0..2 {
        let client = shake(&fixture.server, Arc::clone(&eager)).await.client.unwrap();
        assert_eq!(client.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
    fixture.clock.advance(2 * HOUR);
    assert!(!shake(&fixture.server, eager).await.worked());
}

/// A hello that offers TLS 1.2 and nothing else, as an old client sends it: no `supported_versions` extension.
const OLD_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x4d, // handshake record, 77 bytes
    0x01, 0x00, 0x00, 0x49, 0x03, 0x03, // client hello, 73 bytes, TLS 1.2
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31,   // random
    0x00, // no session
    0x00, 0x04, 0xc0, 0x2f, 0xc0, 0x2b, // ECDHE with RSA or ECDSA, AES-128-GCM
    0x01, 0x00, // no compression
    0x00, 0x1c, // extensions, 28 bytes
    0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17, // groups: P-256
    0x00, 0x0b, 0x00, 0x02, 0x01, 0x00, // point format
    0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x04, // signatures
    0x00, 0x17, 0x00, 0x00, // extended master secret
];

#[tokio::test]
async fn tls_1_2_is_refused() {
    let fixture = Fixture::new(ClientAuth::Optional);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut old = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    old.write_all(OLD_HELLO).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let refused = within(fixture.server.secure(stream)).await.map(drop).unwrap_err();
    let why = refused.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let expected =
        rustls::Error::PeerIncompatible(rustls::PeerIncompatible::SupportedVersionsExtensionRequired);
    assert_eq!(why, Some(&expected), "{refused:?}");
    let mut alert = Vec::new();
    old.read_to_end(&mut alert).await.unwrap();
    assert_eq!(alert.last(), Some(&70), "the alert is protocol_version");
}

#[test]
fn a_key_of_another_certificate_is_refused_and_not_told() {
    let authority = Authority::new("a");
    let key = rcgen::KeyPair::generate().unwrap();
    let other =
        Identity::from_der(vec![authority.server().leaf().to_vec()], &SecretBytes::new(key.serialize_der()));
    assert!(matches!(other, Err(TlsError::Mismatch)));
    let garbage = Identity::from_pem(b"nothing", &SecretBytes::new(b"marker-99".to_vec())).unwrap_err();
    assert!(matches!(garbage, TlsError::Key) && !format!("{garbage:?} {garbage}").contains("marker"));
    assert!(matches!(Roots::from_pem(b"nothing"), Err(TlsError::Certificates)));
}

#[test]
fn addresses_read_as_they_are_written() {
    for text in ["rekey.example.com:8443", "127.0.0.1:8443", "[::1]:8443", "localhost:1"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    for bad in ["", "host", "host:", "host:0", "host:99999", "::1:8443", "a b:1", "https://host:1", "[::1]"] {
        assert!(bad.parse::<Address>().is_err(), "{bad} was taken");
    }
}
