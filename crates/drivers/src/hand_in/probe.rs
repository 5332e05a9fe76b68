//! The proof of a value: one declared request with it, and what the status says.

use http_body_util::Full;
use hyper::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use rekey_model::{Fields, SecretBytes};
use zeroize::Zeroizing;

use super::settings::{Header, Probe};
use super::{FIELD, HandIn};
use crate::Proof;
use crate::answer::Failed;

impl HandIn {
    pub(super) async fn prove(&self, fields: &Fields) -> Result<Proof, Failed> {
        let Some(probe) = &self.account.probe else { return Ok(Proof { probes: 0 }) };
        let value = fields.get(FIELD).ok_or_else(|| Failed::no("there is no value"))?;
        let http = self.target.http.as_ref();
        let http = http.ok_or_else(|| Failed::no("the target has no address to be asked at"))?;
        let request = Request::builder()
            .method(Method::GET)
            .uri(&probe.get)
            .header(HOST, http.authority())
            .header(ACCEPT, "*/*")
            // Some providers answer nobody who does not say who asks.
            .header(USER_AGENT, "rekey")
            .header(&probe.header.name, probe.header.with(value)?)
            .body(Full::default());
        let unfit = |_text| Failed::no(format!("GET {} cannot be sent: look at `probe`", probe.get));
        let request = request.map_err(unfit)?;
        let answer = http.send(request).await?;
        probe.verdict(answer.status, answer.retry_after).map(|()| Proof { probes: 1 })
    }
}

impl Header {
    /// The header with the value in it.
    fn with(&self, value: &SecretBytes) -> Result<HeaderValue, Failed> {
        let whole = [self.before.as_bytes(), value.expose(), self.after.as_bytes()].concat();
        let whole = Zeroizing::new(whole);
        let refused = "the value cannot stand in a header: it is printable ASCII, in one line";
        if !value.expose().iter().all(u8::is_ascii_graphic) {
            return Err(Failed::no(refused));
        }
        let mut header = HeaderValue::from_bytes(&whole).map_err(|_bytes| Failed::no(refused))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

impl Probe {
    /// What a status means. Nothing of the answer's body is passed on: some providers repeat in it what they were sent.
    fn verdict(&self, status: u16, retry_after: Option<u64>) -> Result<(), Failed> {
        if self.good.contains(&status) {
            return Ok(());
        }
        if self.refused.contains(&status) {
            let text = format!("the provider refuses it, with status {status}");
            return Err(Failed::No { status, text });
        }
        match Failed::answered(status, "") {
            Failed::No { .. } => {
                Err(Failed::Away(format!("status {status} is neither in `good` nor in `refused`")))
            }
            other @ (Failed::Away(_) | Failed::Later { .. } | Failed::Lost(_)) => {
                Err(other.asked_to_wait(retry_after))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        let header = "Authorization: Bearer {value}".parse().unwrap();
        Probe { get: "/v1/me".to_owned(), header, good: vec![200], refused: vec![401, 302] }
    }

    #[test]
    fn only_what_was_declared_to_be_a_refusal_is_one() {
        let probe = probe();
        assert_eq!(probe.verdict(200, None), Ok(()));
        for status in [401, 302] {
            assert!(probe.verdict(status, None).unwrap_err().is(status));
        }
        for status in [204, 301, 403, 404, 408] {
            let verdict = probe.verdict(status, None).unwrap_err();
            assert!(matches!(verdict, Failed::Away(_) | Failed::Lost(_)), "{status}: {verdict:?}");
        }
        assert!(matches!(probe.verdict(500, None), Err(Failed::Lost(_))));
        let after = std::time::Duration::from_secs(9);
        assert!(matches!(probe.verdict(429, Some(9)), Err(Failed::Later { after: it, .. }) if it == after));
    }

    #[test]
    fn a_value_goes_into_the_header_whole_or_not_at_all() {
        let header = probe().header;
        let with = |value: &[u8]| header.with(&SecretBytes::new(value.to_vec()));
        let made = with(b"sk_live_1").unwrap();
        assert_eq!((made.as_bytes(), made.is_sensitive()), (&b"Bearer sk_live_1"[..], true));
        for bad in [&b"two\nlines"[..], b"two\r\nX-Admin: yes", b"a b", "ü".as_bytes(), b"\0"] {
            assert!(matches!(with(bad), Err(Failed::No { .. })), "{bad:?}");
        }
    }
}
