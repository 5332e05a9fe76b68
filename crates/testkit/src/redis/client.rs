//! A client that waits for each answer: what an application does, and nothing of the driver under test.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A connection that ends with its handle.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// What a server answers. An error is no answer: [`Client::run`] fails with its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
    /// Nothing.
    Nil,
    /// A list.
    List(Vec<Reply>),
}

impl Reply {
    /// All texts in it, in order.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::Number(_) | Self::Nil => Vec::new(),
            Self::List(list) => list.iter().flat_map(Self::texts).collect(),
        }
    }
}

impl Client {
    /// Connects to a port on loopback and logs in.
    pub fn log_in(port: u16, user: &str, password: &str) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.run(&["AUTH", user, password])?;
        Ok(client)
    }

    /// Runs a command.
    pub fn run(&mut self, words: &[&str]) -> Result<Reply> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len())?;
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> Result<Reply> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").context("the connection has ended")?;
        let rest = line.get(1..).unwrap_or_default();
        match line.as_bytes().first() {
            Some(b'+') => Ok(Reply::Text(rest.to_owned())),
            Some(b'-') => bail!("{rest}"),
            Some(b':') => Ok(Reply::Number(rest.parse()?)),
            Some(b'$' | b'*') if rest == "-1" => Ok(Reply::Nil),
            Some(b'$') => {
                let mut text = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(text.len() - 2);
                Ok(Reply::Text(String::from_utf8(text)?))
            }
            Some(b'*') => {
                let list: Result<Vec<_>> = (0..rest.parse::<usize>()?).map(|_| self.reply()).collect();
                Ok(Reply::List(list?))
            }
            _ => bail!("this is not what a Redis says: {line:?}"),
        }
    }
}
