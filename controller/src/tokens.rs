//! Join tokens: what lets a new sidecar in, once.
//!
//! A token is 256 random bits. Only its SHA-256 is stored; the store redeems it by deleting the row, so of any number
//! of concurrent tries one succeeds. This file owns the text of a token and what one may be made for.

use std::fmt;
use std::time::Duration;

use rekey_model::{SecretBytes, SpiffeId, TrustDomain};
use zeroize::Zeroizing;

use crate::identity::SIDECARS;

/// What every token begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "rekey-join-";
/// The bytes of a token.
const BYTES: usize = 32;

/// How long a token is good when nobody says.
pub const DEFAULT_LIFE: Duration = Duration::from_mins(10);
/// The longest that a token may be good.
pub const LONGEST_LIFE: Duration = Duration::from_hours(1);

/// Why a token cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The id is not a sidecar's in this installation.
    #[error("a join token is for spiffe://{0}/sidecar/… and nothing else")]
    NotASidecar(TrustDomain),
    /// The life is none or too long.
    #[error("a join token lives at least one second and at most one hour")]
    Life,
}

/// SHA-256 of a token: all that is stored of it, and what it is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A join token in the clear. Its text goes to whoever asked for it and is kept nowhere.
#[derive(Debug)]
pub struct JoinToken(SecretBytes);

impl JoinToken {
    /// Draws a new token.
    pub fn draw() -> Self {
        let mut bytes = Zeroizing::new([0_u8; BYTES]);
        rekey_runtime::random::fill(bytes.as_mut());
        let digits = Zeroizing::new(hex::encode(bytes.as_ref()));
        Self(format!("{PREFIX}{}", digits.as_str()).into())
    }

    /// The token that a peer presents; `None` if it cannot be one. The text is wiped.
    pub fn presented(text: String) -> Option<Self> {
        let text = SecretBytes::from(text);
        let digits = text.expose().strip_prefix(PREFIX.as_bytes())?;
        let digit = |c: &u8| c.is_ascii_digit() || (b'a'..=b'f').contains(c);
        let fits = digits.len() == 2 * BYTES && digits.iter().all(digit);
        fits.then_some(Self(text))
    }

    /// The whole text.
    pub fn text(&self) -> &SecretBytes {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> TokenHash {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.0.expose());
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        TokenHash(hash)
    }
}

/// Whom a token lets in, and how long it is good: checked once, here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenTerms {
    spiffe: SpiffeId,
    life: Duration,
}

impl TokenTerms {
    /// Takes a sidecar's id of `domain` and a life of at most an hour (10 min when none is said).
    pub fn new(domain: &TrustDomain, spiffe: SpiffeId, life: Option<Duration>) -> Result<Self, TokenError> {
        if !spiffe.is_in(domain) || !spiffe.path().starts_with(SIDECARS) {
            return Err(TokenError::NotASidecar(domain.clone()));
        }
        let life = life.unwrap_or(DEFAULT_LIFE);
        if life < Duration::from_secs(1) || life > LONGEST_LIFE {
            return Err(TokenError::Life);
        }
        Ok(Self { spiffe, life })
    }

    /// Who joins with it.
    pub fn spiffe(&self) -> &SpiffeId {
        &self.spiffe
    }

    /// How long it is good.
    pub fn life(&self) -> Duration {
        self.life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain() -> TrustDomain {
        "rekey.local".parse().unwrap()
    }

    #[test]
    fn a_token_reads_as_it_was_drawn_and_two_differ() {
        let token = JoinToken::draw();
        let text = String::from_utf8(token.text().expose().to_vec()).unwrap();
        assert!(text.starts_with("rekey-join-"));
        assert_eq!(JoinToken::presented(text).unwrap().hash(), token.hash());
        assert_ne!(JoinToken::draw().hash(), token.hash());
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_before_any_look_up() {
        let token = JoinToken::draw();
        let good = String::from_utf8(token.text().expose().to_vec()).unwrap();
        let hostile = [
            String::new(),
            "rekey-join-".into(),
            good.to_uppercase(),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}0"),
            good.replace("rekey-join-", "rekey-admin-"),
            "rekey-join-".to_owned() + &"g".repeat(64),
            "rekey-join-".to_owned() + &"0".repeat(63),
        ];
        for bad in hostile {
            assert!(JoinToken::presented(bad.clone()).is_none(), "{bad:?} was taken");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let token = JoinToken::draw();
        assert_eq!(format!("{token:?}"), "JoinToken(SecretBytes(…))");
    }

    #[test]
    fn a_token_is_for_sidecars_of_this_installation_only() {
        let terms = |id: &str| TokenTerms::new(&domain(), id.parse().unwrap(), None);
        assert_eq!(terms("spiffe://rekey.local/sidecar/orders/a").unwrap().life(), DEFAULT_LIFE);
        for bad in [
            "spiffe://rekey.local/admin/alice",
            "spiffe://rekey.local/controller",
            "spiffe://rekey.local/sidecar",
            "spiffe://rekey.local/sidecars/a",
            "spiffe://other/sidecar/a",
        ] {
            assert!(terms(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_token_lives_an_hour_at_most() {
        let terms = |life| {
            TokenTerms::new(&domain(), "spiffe://rekey.local/sidecar/a".parse().unwrap(), Some(life)).is_ok()
        };
        assert!(terms(Duration::from_hours(1)));
        assert!(!terms(Duration::from_secs(3601)));
        assert!(!terms(Duration::ZERO));
    }
}
