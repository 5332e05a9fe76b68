//! What a target and an account are, as they are written and as they were checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rekey_model::{SecretBytes, Span};
use schemars::JsonSchema;

use crate::Problem;
use crate::http::{Http, route};
use crate::target::{TlsSettings, check_endpoint, check_times};

/// The rights of the rotator's own user, for the keys of the user `orders`; `docs/drivers.md` shows it.
pub const POLICY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["iam:ListAccessKeys", "iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey"],
      "Resource": "arn:aws:iam::*:user/orders"
    },
    {
      "Effect": "Allow",
      "Action": "iam:GetAccessKeyLastUsed",
      "Resource": "*"
    }
  ]
}"#;

/// An AWS account as the controller's own config describes it: `targets.NAME.aws-iam`.
#[derive(Debug, Clone)]
pub struct TargetSettings {
    /// Where IAM is.
    pub endpoint: String,
    /// The region that requests to IAM are signed for.
    pub iam_region: String,
    /// The region whose STS proves keys.
    pub region: String,
    /// Where STS is, if not at that region's usual place.
    pub sts_endpoint: Option<String>,
    /// The file with the id of the rotator's own access key.
    pub access_key_id_file: PathBuf,
    /// The file with its secret.
    pub secret_access_key_file: PathBuf,
    /// TLS.
    pub tls: TlsSettings,
    /// The longest time until a connection is open and secured.
    pub connect_timeout: Span,
    /// The longest time for one request after that.
    pub request_timeout: Span,
    /// The longest time for a whole call of the driver.
    pub call_timeout: Span,
    /// How long a request that was given up may still take effect, and how long a key that was made may not be listed.
    pub settle: Span,
    /// How long after it was made a key may not be known everywhere.
    pub visible_within: Span,
}

/// The access keys of an IAM user. Each version is one of its at most two.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "AwsIam")]
pub struct Account {
    /// The user. It exists, and its rights are yours: Rekey adds and removes access keys only.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9+=,.@_-]+$"))]
    pub user: String,
    /// Whether every access key of this user is Rekey's. Then a key that a lost answer left behind is deleted by itself;
    /// otherwise somebody is asked to.
    #[schemars(default)]
    pub exclusive: bool,
    /// The key that the application uses before the first rotation. It becomes version 1 once its secret is handed in
    /// (`rekeyctl adopt`), and is deleted by the same evidence as any other version.
    pub adopt: Option<Adopt>,
}

/// The key that the application uses before the first rotation.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "AwsIamAdopt")]
pub struct Adopt {
    /// Its id.
    #[schemars(regex(pattern = r"^[A-Z0-9]{16,128}$"))]
    pub access_key_id: String,
}

/// The account, checked, with the rotator's key and the authority in hand.
#[derive(Debug, Clone)]
pub struct Target {
    pub(super) iam: Http,
    pub(super) sts: Http,
    pub(super) iam_region: String,
    pub(super) region: String,
    pub(super) key_id: Arc<SecretBytes>,
    pub(super) secret: Arc<SecretBytes>,
    pub(super) call: Duration,
    pub(super) settle: Duration,
    pub(super) visible: Duration,
}

impl TargetSettings {
    /// Where STS is.
    fn sts(&self) -> String {
        self.sts_endpoint.clone().unwrap_or_else(|| format!("https://sts.{}.amazonaws.com", self.region))
    }

    /// Everything that is wrong with these settings, without a look at any file.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (field, text) in [("endpoint", &self.endpoint), ("sts_endpoint", &self.sts())] {
            problems.extend(check_endpoint(&self.tls, field, text));
        }
        for (field, region) in [("region", &self.region), ("iam_region", &self.iam_region)] {
            let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            if region.is_empty() || region.len() > 32 || !region.bytes().all(good) {
                problems.push(Problem::new(field, "is a region, like eu-central-1"));
            }
        }
        let parts = [("connect_timeout", self.connect_timeout), ("request_timeout", self.request_timeout)];
        check_times(&mut problems, &parts, self.call_timeout);
        for (field, time) in [("settle", self.settle), ("visible_within", self.visible_within)] {
            if time.get() > Duration::from_mins(15) {
                problems.push(Problem::new(field, "is at most 15m"));
            }
        }
        if self.settle.get() < Duration::from_millis(10) {
            problems.push(Problem::new("settle", "is at least 10ms"));
        }
        problems.dedup();
        problems
    }

    /// The target, with the rotator's key and the authorities (PEM) that were read from the files named.
    pub fn with(
        &self,
        (key_id, secret): (SecretBytes, SecretBytes),
        ca_pem: Option<&[u8]>,
    ) -> Result<Target, Vec<Problem>> {
        let problems = self.problems();
        let routes = [route(&self.endpoint), route(&self.sts())];
        let secured = routes.iter().flatten().any(|(scheme, ..)| *scheme == "https");
        if !secured && !problems.is_empty() {
            return Err(problems);
        }
        let tls = if secured { self.tls.ready(ca_pem, problems)? } else { None };
        let http = |(scheme, host, port): (&str, String, u16)| Http {
            host,
            port,
            tls: tls.clone().filter(|_| scheme == "https"),
            connect: self.connect_timeout.get(),
            request: self.request_timeout.get(),
        };
        let [iam, sts] = routes.map(|route| http(route.unwrap_or_default()));
        Ok(Target {
            iam,
            sts,
            iam_region: self.iam_region.clone(),
            region: self.region.clone(),
            key_id: Arc::new(key_id),
            secret: Arc::new(secret),
            call: self.call_timeout.get(),
            settle: self.settle.get(),
            visible: self.visible_within.get(),
        })
    }
}

impl Account {
    /// Everything that is wrong with these settings.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let good =
            |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'=' | b',' | b'.' | b'@' | b'_' | b'-');
        if self.user.is_empty() || self.user.len() > 64 || !self.user.bytes().all(good) {
            problems.push(Problem::new(
                "user",
                "is the name of an IAM user, 1 to 64 letters, digits and +=,.@_-",
            ));
        }
        if self.adopt.as_ref().is_some_and(|adopt| !is_key_id(&adopt.access_key_id)) {
            let message = "is the id of an access key, like AKIAIOSFODNN7EXAMPLE";
            problems.push(Problem::new("adopt.access_key_id", message));
        }
        problems
    }
}

/// Whether this can be the id of an access key.
pub(super) fn is_key_id(text: &str) -> bool {
    let good = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit();
    (16..=128).contains(&text.len()) && text.bytes().all(good)
}

#[cfg(test)]
mod tests;
