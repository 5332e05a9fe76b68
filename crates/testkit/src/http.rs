//! JSON over HTTP to a part on loopback, one connection a request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

const LIMIT: Duration = Duration::from_mins(1);

/// A way to a part on loopback.
#[derive(Debug, Clone)]
pub struct Http {
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null where there was none, a string where it is not JSON.
    pub body: Value,
}

impl Http {
    /// Without TLS.
    pub fn plain(port: u16) -> Self {
        Self { port, tls: None }
    }

    /// With TLS to `localhost`, trusting this authority (PEM) alone.
    pub fn tls(port: u16, ca_pem: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { port, tls: Some(Arc::new(config)) })
    }

    /// Asks once.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Answer> {
        let socket = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], self.port)), LIMIT)
            .context("connect")?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.set_write_timeout(Some(LIMIT))?;
        let text = if body.is_null() { String::new() } else { body.to_string() };
        // 1.0: the answer ends with the connection and comes in one piece.
        let kind = ("Content-Type", "application/json");
        let headers: String =
            headers.iter().chain([&kind]).flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
        let length = text.len();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n{text}"
        );
        match &self.tls {
            None => exchange(socket, &request),
            Some(config) => {
                let name = ServerName::try_from("localhost")?;
                let connection = ClientConnection::new(Arc::clone(config), name)?;
                exchange(StreamOwned::new(connection, socket), &request)
            }
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Result<Answer> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut bytes = Vec::new();
    // A peer that ends without saying so is cut by its `Content-Length` or the parser of JSON.
    if let Err(error) = stream.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        bail!("no answer: {error}");
    }
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
    let body = match body.trim() {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    Ok(Answer { status, body })
}
