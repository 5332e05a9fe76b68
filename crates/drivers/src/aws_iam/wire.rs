//! The Query interface of IAM and STS: a signed form, an XML answer.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HOST, HeaderValue};
use zeroize::Zeroizing;

use super::settings::Target;
use super::sign::{self, KeyPair, Scope};
use crate::answer::{Failed, Touched};
use crate::http::{Answer, Http};

/// Which of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    Iam,
    Sts,
}

/// One request of the Query interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Action<'a> {
    pub(super) service: Service,
    pub(super) name: &'static str,
    pub(super) parameters: &'a [(&'static str, &'a str)],
    /// Whether it changes something.
    pub(super) changes: bool,
}

/// What came of a request.
pub(super) enum Said {
    /// It was done.
    Done(Answer),
    /// It was refused, with the code and in the words of AWS.
    Refused {
        /// `NoSuchEntity` and the like.
        code: String,
        /// The whole of it.
        fault: Failed,
    },
}

impl Said {
    /// What was done; everything else is a fault.
    pub(super) fn done(self) -> Result<Answer, Failed> {
        match self {
            Self::Done(answer) => Ok(answer),
            Self::Refused { fault, .. } => Err(fault),
        }
    }

    /// What was done; none where there is no such thing.
    pub(super) fn done_or_absent(self) -> Result<Option<Answer>, Failed> {
        match self {
            Self::Done(answer) => Ok(Some(answer)),
            Self::Refused { code, .. } if code == "NoSuchEntity" => Ok(None),
            Self::Refused { fault, .. } => Err(fault),
        }
    }
}

impl Target {
    /// Asks once as the owner of `key`.
    pub(super) async fn ask(
        &self,
        key: KeyPair<'_>,
        action: Action<'_>,
        touched: &Touched,
    ) -> Result<Said, Failed> {
        let (http, scope) = match action.service {
            Service::Iam => (&self.iam, Scope { region: &self.iam_region, service: "iam" }),
            Service::Sts => (&self.sts, Scope { region: &self.region, service: "sts" }),
        };
        let request = signed(http, key, scope, form(action).into_bytes())?;
        if action.changes {
            touched.sent();
        }
        let answer = Box::pin(http.send(request)).await.and_then(|answer| read(answer, action));
        // What was done stays counted: whoever cannot read the answer has done it all the same.
        let open = matches!(answer, Err(Failed::Lost(_)) | Ok(Said::Done(_)));
        if action.changes && !open {
            touched.undone();
        }
        answer.map_err(|failed| failed.during(action.name))
    }
}

fn signed(
    http: &Http,
    key: KeyPair<'_>,
    scope: Scope<'_>,
    body: Vec<u8>,
) -> Result<hyper::Request<Full<Bytes>>, Failed> {
    let unfit = |what: &str| {
        Failed::no(format!(
            "a request cannot have such a {what}: look at the target's endpoints and key files"
        ))
    };
    let host = http.authority();
    let headers = sign::headers(key, scope, (&host, &sign::now(), &body));
    let mut request = hyper::Request::builder().method("POST").uri("/").header(HOST, host);
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(&value).map_err(|_value| unfit(name))?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::from(body))).map_err(|_error| unfit("host"))
}

/// What an answer says. Throttling comes as an error like any other; what AWS failed to do may have happened.
fn read(answer: Answer, action: Action<'_>) -> Result<Said, Failed> {
    if (200..300).contains(&answer.status) {
        return Ok(Said::Done(answer));
    }
    // An error holds no secret.
    let text = text_of(&answer.body);
    let code = first(&text, "Code").unwrap_or_default().to_owned();
    let said = format!("{code}: {}", unescaped(first(&text, "Message").unwrap_or("without a word")));
    let throttled = ["Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"];
    let status = if throttled.contains(&code.as_str()) { 429 } else { answer.status };
    // Not now, says a 503: after a call that makes something nobody knows whether it came before or after.
    let status = if status == 503 && action.changes { 500 } else { status };
    match Failed::answered(status, &said).asked_to_wait(answer.retry_after) {
        fault @ Failed::No { .. } => Ok(Said::Refused { code, fault }),
        failed @ (Failed::Away(_) | Failed::Later { .. } | Failed::Lost(_)) => Err(failed),
    }
}

/// An answer as text, wiped when it is dropped.
pub(super) fn text_of(body: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(String::from_utf8_lossy(body).into_owned())
}

/// What stands in the first element of this name.
pub(super) fn first<'a>(xml: &'a str, element: &str) -> Option<&'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let (_, rest) = xml.split_once(&open)?;
    rest.split_once(&close).map(|(inside, _)| inside.trim())
}

/// What stands in each element of this name; none of them holds another of the same name.
pub(super) fn every<'a>(xml: &'a str, element: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let parts = xml.split(open.as_str()).skip(1);
    parts.filter_map(|part| part.split_once(close.as_str()).map(|(inside, _)| inside.trim())).collect()
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

fn form(action: Action<'_>) -> String {
    let fixed = [("Action", action.name), ("Version", action.service.version())];
    let pairs = fixed.iter().chain(action.parameters);
    let pairs: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&")
}

fn escaped(text: &str) -> String {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|c| if plain(c) { char::from(c).to_string() } else { format!("%{c:02X}") }).collect()
}

impl Service {
    fn version(self) -> &'static str {
        match self {
            Self::Iam => "2010-05-08",
            Self::Sts => "2011-06-15",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_says_what_is_meant_whatever_is_in_it() {
        let parameters = [("UserName", "a b&c=d+e@f")];
        let action =
            Action { service: Service::Iam, name: "ListAccessKeys", parameters: &parameters, changes: false };
        let expected = "Action=ListAccessKeys&Version=2010-05-08&UserName=a%20b%26c%3Dd%2Be%40f";
        assert_eq!(form(action), expected);
    }

    #[test]
    fn elements_are_found_by_name() {
        let xml = "<a><member><Id>1</Id></member>\n<member><Id> 2 </Id></member></a><Idx>3</Idx>";
        assert_eq!(every(xml, "member"), ["<Id>1</Id>", "<Id> 2 </Id>"]);
        assert_eq!((first(xml, "Id"), first(xml, "Idx"), first(xml, "I")), (Some("1"), Some("3"), None));
        assert_eq!(first("<Id>broken", "Id"), None);
        assert_eq!(unescaped("&lt;&amp;lt;&gt;"), "<&lt;>");
    }
}
