//! An application on AWS, by the SDK for Python: each time a call of STS and one of S3.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

/// A line with a key is one use of it; what it answers is `ok` or what was refused.
const PROGRAM: &str = r#"
import boto3, sys
from botocore.config import Config
endpoint, clients = sys.argv[1], {}
def made(service, key):
    return boto3.client(service, region_name="eu-central-1", endpoint_url=endpoint, aws_access_key_id=key[0],
        aws_secret_access_key=key[1], config=Config(retries={"total_max_attempts": 1}))
for line in sys.stdin:
    key = tuple(line.split())
    try:
        if key not in clients:
            clients = {key: [made(service, key) for service in ("sts", "s3")]}
        sts, s3 = clients[key]
        sts.get_caller_identity()
        s3.list_buckets()
        print("ok", flush=True)
    except Exception as error:
        print(str(error).replace("\n", " "), flush=True)
"#;

/// The application's process; ends with its handle.
#[derive(Debug)]
pub struct Sdk {
    process: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Sdk {
    /// Starts it; AWS is at `port` on loopback.
    pub fn start(port: u16) -> Result<Self> {
        let mut process = Command::new(super::python()?)
            .args(["-c", PROGRAM, &format!("http://127.0.0.1:{port}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the application")?;
        let asked = process.stdin.take().context("it has no input")?;
        let answers = BufReader::new(process.stdout.take().context("it has no output")?);
        Ok(Self { process, asked, answers })
    }

    /// Uses a key once; the error is what AWS said.
    pub fn try_key(&mut self, id: &str, secret: &str) -> Result<(), String> {
        writeln!(self.asked, "{id} {secret}").map_err(|error| error.to_string())?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() == "ok" { Ok(()) } else { Err(line.trim().to_owned()) }
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
