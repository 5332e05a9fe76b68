//! Sidecars, tokens, operators, and who the caller is.

use rekey_proto::admin as wire;
use serde::Serialize;

use crate::output::{Style, Tone, View};
use crate::table::columns;
use crate::text::{or_dash, printable};
use crate::time::At;

fn shown(at: Option<At>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

/// Sidecars.
#[derive(Debug, Serialize)]
pub struct Sidecars {
    sidecars: Vec<Sidecar>,
}

#[derive(Debug, Serialize)]
struct Sidecar {
    instance: String,
    spiffe_id: String,
    host: String,
    software: String,
    live: bool,
    joined: Option<At>,
    last_contact: Option<At>,
    locked: String,
    credentials: u32,
    generation: u64,
}

impl From<wire::ListSidecarsResponse> for Sidecars {
    fn from(wire: wire::ListSidecarsResponse) -> Self {
        let sidecar = |s: wire::SidecarStatus| Sidecar {
            instance: s.instance,
            spiffe_id: s.spiffe_id,
            host: s.host,
            software: s.software,
            live: s.live,
            joined: At::said(s.joined_ms),
            last_contact: At::said(s.last_contact_ms),
            locked: s.locked,
            credentials: s.credentials,
            generation: s.generation,
        };
        Self { sidecars: wire.sidecars.into_iter().map(sidecar).collect() }
    }
}

impl View for Sidecars {
    fn text(&self, style: Style) -> String {
        if self.sidecars.is_empty() {
            return "No sidecar has joined yet: `rekeyctl token create --for SPIFFE-ID` lets one in.\n"
                .to_owned();
        }
        let rows = self.sidecars.iter().map(|s| {
            let state = match (s.locked.is_empty(), s.live) {
                (false, _) => style.paint(Tone::Bad, &format!("locked: {}", printable(&s.locked))),
                (true, true) => style.paint(Tone::Good, "live"),
                (true, false) => style.paint(Tone::Busy, "away"),
            };
            [
                printable(&s.spiffe_id),
                printable(&s.instance),
                state,
                or_dash(&s.host),
                or_dash(&s.software),
                s.credentials.to_string(),
                s.generation.to_string(),
                shown(s.last_contact),
            ]
        });
        let head = [
            "SPIFFE ID",
            "INSTANCE",
            "STATE",
            "HOST",
            "SOFTWARE",
            "CREDENTIALS",
            "GENERATION",
            "LAST CONTACT",
        ];
        columns(head, rows)
    }
}

/// A join token. In a table it stands alone, so that it can be piped.
#[derive(Serialize)]
pub struct Token {
    token: String,
    id: String,
    expires: Option<At>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").field("token", &"[secret]").field("id", &self.id).finish_non_exhaustive()
    }
}

impl From<wire::CreateTokenResponse> for Token {
    fn from(wire: wire::CreateTokenResponse) -> Self {
        Self { token: wire.token, id: wire.id, expires: At::said(wire.expires_ms) }
    }
}

impl Token {
    /// What to say beside it, to people only.
    pub fn word(&self) -> String {
        format!("token {}, good until {}, for one use; it is not shown again", self.id, shown(self.expires))
    }
}

impl View for Token {
    fn text(&self, _style: Style) -> String {
        format!("{}\n", printable(&self.token))
    }
}

/// Tokens that nobody has used.
#[derive(Debug, Serialize)]
pub struct Tokens {
    tokens: Vec<OpenToken>,
}

#[derive(Debug, Serialize)]
struct OpenToken {
    id: String,
    spiffe_id: String,
    expires: Option<At>,
    by: String,
}

impl From<wire::ListTokensResponse> for Tokens {
    fn from(wire: wire::ListTokensResponse) -> Self {
        let token = |t: wire::TokenStatus| OpenToken {
            id: t.id,
            spiffe_id: t.spiffe_id,
            expires: At::said(t.expires_ms),
            by: t.by,
        };
        Self { tokens: wire.tokens.into_iter().map(token).collect() }
    }
}

impl View for Tokens {
    fn text(&self, _style: Style) -> String {
        if self.tokens.is_empty() {
            return "No token is waiting to be used.\n".to_owned();
        }
        let rows = self
            .tokens
            .iter()
            .map(|t| [printable(&t.id), printable(&t.spiffe_id), shown(t.expires), or_dash(&t.by)]);
        columns(["ID", "FOR", "EXPIRES", "BY"], rows)
    }
}

/// What a role is called.
pub(super) fn role(number: i32) -> String {
    use wire::Role;
    match Role::try_from(number) {
        Ok(Role::Viewer) => "viewer",
        Ok(Role::Operator) => "operator",
        Ok(Role::Responder) => "responder",
        Ok(Role::Admin) => "admin",
        Ok(Role::Unspecified) | Err(_) => "unknown",
    }
    .to_owned()
}

/// Operators.
#[derive(Debug, Serialize)]
pub struct Admins {
    admins: Vec<Admin>,
}

#[derive(Debug, Serialize)]
struct Admin {
    name: String,
    roles: Vec<String>,
    expires: Option<At>,
    last_seen: Option<At>,
}

impl From<wire::ListAdminsResponse> for Admins {
    fn from(wire: wire::ListAdminsResponse) -> Self {
        let admin = |a: wire::AdminStatus| Admin {
            name: a.name,
            roles: a.roles.into_iter().map(role).collect(),
            expires: At::said(a.expires_ms),
            last_seen: At::said(a.last_seen_ms),
        };
        Self { admins: wire.admins.into_iter().map(admin).collect() }
    }
}

impl View for Admins {
    fn text(&self, _style: Style) -> String {
        if self.admins.is_empty() {
            return "No operator is known: `rekeyctl admin add NAME --role admin` adds one.\n".to_owned();
        }
        let rows = self
            .admins
            .iter()
            .map(|a| [printable(&a.name), a.roles.join(","), shown(a.expires), shown(a.last_seen)]);
        columns(["NAME", "ROLES", "EXPIRES", "LAST SEEN"], rows)
    }
}

/// Who the caller is to the controller.
#[derive(Debug, Serialize)]
pub struct Me {
    name: String,
    authenticated_by: String,
    roles: Vec<String>,
    controller: String,
}

impl From<wire::WhoAmIResponse> for Me {
    fn from(wire: wire::WhoAmIResponse) -> Self {
        Self {
            name: wire.name,
            authenticated_by: wire.authenticated_by,
            roles: wire.roles.into_iter().map(role).collect(),
            controller: wire.software,
        }
    }
}

impl Me {
    /// The controller's version.
    pub fn controller(&self) -> &str {
        &self.controller
    }
}

impl View for Me {
    fn text(&self, _style: Style) -> String {
        format!(
            "{} ({}): {}\n",
            printable(&self.name),
            printable(&self.authenticated_by),
            self.roles.join(", ")
        )
    }
}
