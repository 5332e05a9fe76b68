//! A bare TLS client at a door of the controller: it shakes hands, says the first words of HTTP/2, and tells what came.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rekey_testkit::certificates::Leaf;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::story::PATIENCE;

/// How a connection over HTTP/2 begins: the preface, and settings that change nothing.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client that would resume a session wherever it is let.
pub(crate) struct Visitor(Arc<ClientConfig>);

/// A connection on which the controller has answered.
pub(crate) struct Open(StreamOwned<ClientConnection, TcpStream>);

impl Visitor {
    /// Trusts the controller in `folder`, and shows `leaf`.
    pub(crate) fn new(folder: &Path, leaf: Option<&Leaf>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match leaf {
            Some(leaf) => {
                let chain = CertificateDer::pem_slice_iter(leaf.certificate.as_bytes());
                let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::in_memory_sessions(8);
        Self(Arc::new(config))
    }

    /// Knocks: what opens, or the alert with which the door is shut. A client of TLS 1.3 hears only by reading that its
    /// certificate was refused.
    pub(crate) fn knock(&self, door: SocketAddr) -> Result<Open, AlertDescription> {
        let tcp = TcpStream::connect(door).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        let session = ClientConnection::new(Arc::clone(&self.0), name).unwrap();
        let mut stream = StreamOwned::new(session, tcp);
        let mut frame = [0; 9];
        let said = stream.write_all(PREFACE).and_then(|()| stream.read_exact(&mut frame));
        match said {
            Ok(()) => {
                assert_eq!(frame[3], 4, "the answer is no settings of HTTP/2: {frame:?}");
                Ok(Open(stream))
            }
            Err(error) => Err(alert(&error)),
        }
    }
}

impl Open {
    /// Whether the handshake was a whole one.
    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        self.0.conn.handshake_kind()
    }

    /// How many tickets for a shorter handshake came.
    pub(crate) fn tickets(&self) -> u32 {
        self.0.conn.tls13_tickets_received()
    }

    /// Stays and says nothing more until the other side ends it.
    pub(crate) fn stay(&mut self) {
        let mut rest = Vec::new();
        // With or without a word at the end: it has ended, and not by our own limit.
        if let Err(error) = self.0.read_to_end(&mut rest) {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "nobody ended it");
        }
    }
}

fn alert(error: &std::io::Error) -> AlertDescription {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("the door was shut without a word: {error}"),
    }
}

/// The identity that a sidecar keeps in its state folder.
pub(crate) fn kept_identity(folder: &Path, sidecar: &str) -> Leaf {
    let text = std::fs::read_to_string(folder.join(format!("{sidecar}-state/identity.pem"))).unwrap();
    let (_, from_chain) = text.split_at(text.find("-----BEGIN CERTIFICATE").unwrap());
    let (chain, key) = from_chain.split_at(from_chain.find("-----BEGIN PRIVATE").unwrap());
    Leaf { certificate: chain.to_owned(), key: key.to_owned() }
}
