//! One try to tell one receiver, signed after the convention of Standard Webhooks: HMAC-SHA256 over id, time and body.

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekey_model::SecretBytes;
use rekey_runtime::ClientTls;
use rekey_runtime::post::{Letter, Url, post};
use rekey_runtime::tasks::with_causes;
use rekey_runtime::tls::Roots;
use rekey_settings::read_secret_file;
use zeroize::Zeroizing;

use super::event::Event;
use super::{Format, To, Webhook, Webhooks};

/// What a key in text begins with when the rest is base64.
const ENCODED: &str = "whsec_";
/// The shortest key, in bytes.
const SHORTEST: usize = 24;

/// The receiver said that it has it, with this status.
#[derive(Debug)]
pub(super) struct Told(pub(super) u16);

/// Why a try came to nothing. Says nothing of keys and addresses.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The receiver wants nothing any more.
    Gone,
    /// It has no time now, and says for how long.
    Busy(u16, Duration),
    /// It said something else than 2xx.
    Refused(u16),
    /// It was not reached, or gave no answer.
    Unreached(String),
    /// A file here is not as it must be.
    Here(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str(
                "the receiver said 410, that it wants nothing any more; `rekeyctl webhook test` has it go on",
            ),
            Self::Busy(status, _) => write!(f, "the receiver said {status}, that it has no time"),
            Self::Refused(status @ 300..400) => {
                write!(
                    f,
                    "the receiver said {status}, to go elsewhere, and that is not done: name its own address"
                )
            }
            Self::Refused(status) => write!(f, "the receiver said {status}"),
            Self::Unreached(why) | Self::Here(why) => f.write_str(why),
        }
    }
}

impl Webhooks {
    /// Tries once to tell `event`.
    pub(super) async fn send(&self, webhook: &Webhook, event: &Event) -> Result<Told, Failed> {
        let url = address(&webhook.to).map_err(Failed::Here)?;
        let tls = if url.is_tls() { Some(self.tls(webhook).map_err(Failed::Here)?) } else { None };
        let body = match webhook.format {
            Format::Json => event.json(),
            Format::Slack => event.slack(),
        };
        let body = body.to_string().into_bytes();
        let seconds = self.0.clock.now().wall_ms.div_euclid(1000);
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", crate::app::software()),
            ("webhook-id", event.id.clone()),
            ("webhook-timestamp", seconds.to_string()),
        ];
        if let Some(file) = &webhook.secret_file {
            let text =
                read_secret_file(file).map_err(|why| Failed::Here(format!("its secret_file {why}")))?;
            let signatures = signatures(&text, &event.id, seconds, &body).map_err(Failed::Here)?;
            headers.push(("webhook-signature", signatures));
        }
        let letter = Letter { headers: &headers, body };
        let answer = post(&self.0.clock, tls.as_ref(), &url, letter, webhook.timeout).await;
        let answer = answer.map_err(|error| Failed::Unreached(with_causes(&error)))?;
        match answer.status {
            200..300 => Ok(Told(answer.status)),
            410 => Err(Failed::Gone),
            status @ (429 | 503) => Err(Failed::Busy(status, answer.retry_after.unwrap_or_default())),
            status => Err(Failed::Refused(status)),
        }
    }

    /// Whom the receiver's certificate must be from; read each time, so that it may change.
    fn tls(&self, webhook: &Webhook) -> Result<ClientTls, String> {
        let pem = std::fs::read(&webhook.ca_file)
            .map_err(|error| format!("its ca_file cannot be read: {error}"))?;
        let roots = Roots::from_pem(&pem).map_err(|error| format!("its ca_file: {error}"))?;
        ClientTls::new(&roots, None, self.0.clock.clone()).map_err(|error| error.to_string())
    }
}

fn address(to: &To) -> Result<Url, String> {
    let file = match to {
        To::Url(url) => return Ok(url.clone()),
        To::File(file) => file,
    };
    let text = read_secret_file(file).map_err(|why| format!("its url_file {why}"))?;
    let text = std::str::from_utf8(text.expose()).map_err(|_no_text| "its url_file is no text".to_owned())?;
    text.parse().map_err(|error| format!("what is in its url_file {error}"))
}

/// What each key of `keys` says of this body, the first key first: while keys change, a receiver knows one of them.
fn signatures(keys: &SecretBytes, id: &str, seconds: i64, body: &[u8]) -> Result<String, String> {
    let mut signatures = Vec::new();
    let lines = keys.expose().split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for line in lines.filter(|line| !line.is_empty()) {
        let key = match line.strip_prefix(ENCODED.as_bytes()) {
            Some(encoded) => {
                STANDARD.decode(encoded).map_err(|_odd| "a key in its secret_file is no base64")?
            }
            None => line.to_vec(),
        };
        let key = Zeroizing::new(key);
        if key.len() < SHORTEST {
            return Err(format!("a key in its secret_file has less than {SHORTEST} bytes"));
        }
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        context.update(format!("{id}.{seconds}.").as_bytes());
        context.update(body);
        signatures.push(format!("v1,{}", STANDARD.encode(context.sign())));
    }
    if signatures.is_empty() { Err("its secret_file is empty".to_owned()) } else { Ok(signatures.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_convention() {
        // The example of the Standard Webhooks specification.
        let key = SecretBytes::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let body = br#"{"test": 2432232314}"#;
        let said = signatures(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(said, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_keys_sign_while_they_change_and_weak_ones_do_not() {
        let two = SecretBytes::new(
            b"0123456789012345678901234567\n\nwhsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".to_vec(),
        );
        assert_eq!(signatures(&two, "a", 1, b"").unwrap().split(' ').count(), 2);
        for bad in ["", "\n", "short", "whsec_%%%"] {
            let why = signatures(&SecretBytes::new(bad.as_bytes().to_vec()), "a", 1, b"").unwrap_err();
            assert!(why.contains("secret_file") && !why.contains("short"), "{why}");
        }
    }
}
