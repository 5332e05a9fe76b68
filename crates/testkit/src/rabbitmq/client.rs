//! A consumer's connection: AMQP 0-9-1 by blocking calls, without any of the driver's code.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

const LIMIT: Duration = Duration::from_mins(1);

/// A connection to a virtual host; it ends when dropped.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    name: String,
}

impl Client {
    /// Logs in to 127.0.0.1.
    pub fn log_in(port: u16, user: &str, password: &str, vhost: &str) -> Result<Self> {
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let stream = TcpStream::connect_timeout(&server, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let name = format!("{} -> {server}", stream.local_addr()?);
        let mut client = Self { stream, name };
        client.stream.write_all(b"AMQP\x00\x00\x09\x01")?;
        client.expect((10, 10))?;
        let told = [b"\x1cauthentication_failure_close".as_slice(), b"t\x01"].concat();
        let table = [b"\x0ccapabilities".as_slice(), b"F", &long(&told)].concat();
        let plain = ["", user, password].join("\0");
        let login = [long(&table), short("PLAIN"), long(plain.as_bytes()), short("en_US")].concat();
        client.send(0, (10, 11), &login)?;
        let tune = client.expect((10, 30))?;
        client.send(0, (10, 31), &tune)?;
        client.send(0, (10, 40), &[short(vhost), vec![0, 0]].concat())?;
        client.expect((10, 41))?;
        Ok(client)
    }

    /// What the server calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens and closes a channel: whether the connection is still good.
    pub fn works(&mut self) -> bool {
        let mut channel = || {
            self.send(1, (20, 10), &[0])?;
            self.expect((20, 11))?;
            self.send(1, (20, 40), &[0, 200, 0, 0, 0, 0, 0])?;
            self.expect((20, 41))
        };
        channel().is_ok()
    }

    fn send(&mut self, channel: u16, (class, method): (u16, u16), arguments: &[u8]) -> Result<()> {
        let size = u32::try_from(arguments.len() + 4)?;
        let mut frame = vec![1];
        frame.extend(channel.to_be_bytes());
        frame.extend(size.to_be_bytes());
        frame.extend([class.to_be_bytes(), method.to_be_bytes()].concat());
        frame.extend(arguments);
        frame.push(0xCE);
        Ok(self.stream.write_all(&frame)?)
    }

    fn expect(&mut self, (class, method): (u16, u16)) -> Result<Vec<u8>> {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head)?;
            let [kind, _, _, a, b, c, d] = head;
            let size = u32::from_be_bytes([a, b, c, d]);
            ensure!(size < 1 << 20, "no frame of AMQP");
            let mut payload = vec![0; usize::try_from(size)? + 1];
            self.stream.read_exact(&mut payload)?;
            payload.pop();
            if kind == 8 {
                continue;
            }
            if payload.starts_with(&[class.to_be_bytes(), method.to_be_bytes()].concat()) {
                return Ok(payload.split_off(4));
            }
            bail!("refused: {}", String::from_utf8_lossy(&payload).escape_debug());
        }
    }
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes(), bytes].concat()
}
