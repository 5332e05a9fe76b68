//! Fields that are made of others: `postgres://{username|url}:{password|url}@{host}:{port}/{database|url}`.
//!
//! A template is read once, with the declaration; it is filled when a version is sealed. `{field}` stands for a value as
//! it is, `{field|url}`, `{field|shell}` and `{field|json}` for one that is safe inside a URL, as one word of a shell, and
//! inside a quoted JSON text; `{{` and `}}` are braces.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

use rekey_model::{FieldName, Fields, FieldsError, SecretBytes};
use zeroize::Zeroizing;

/// The longest template.
const LONGEST: usize = 1024;
/// By how much an escaped byte can be longer: `\u0000`.
const WIDEST: usize = 6;

/// A field that is made of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(FieldName, Escape),
}

/// How a value is made safe for where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Nothing,
    /// RFC 3986: everything but unreserved characters is percent-encoded.
    Url,
    /// POSIX: one word in single quotes.
    Shell,
    /// RFC 8259: inside a quoted text.
    Json,
}

/// Why a text is no template. It names no value: there is none in a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Nothing at all, or too long.
    #[error("a template has 1 to {LONGEST} characters")]
    Length,
    /// A brace without its other half.
    #[error("a brace stands alone: write `{{{{` or `}}}}` for a brace that is meant")]
    Brace,
    /// No field's name.
    #[error("between braces stands a field's name, then perhaps `|url`, `|shell` or `|json`")]
    Field,
}

/// Why a template cannot be filled. Its text holds no value.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// There is no such field.
    #[error("{field} is made of {of}, which this version does not have")]
    Missing {
        /// The field to make.
        field: FieldName,
        /// The one that is missing.
        of: FieldName,
    },
    /// A value that is no text cannot stand there.
    #[error("{field} is made of {of}, which is no text")]
    NoText {
        /// The field to make.
        field: FieldName,
        /// The one that is no text.
        of: FieldName,
    },
    /// Too much altogether.
    #[error(transparent)]
    Size(#[from] FieldsError),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.is_empty() || text.len() > LONGEST {
            return Err(TemplateError::Length);
        }
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(brace) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(brace);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(if from.starts_with('{') { "{" } else { "}" });
                rest = after;
            } else {
                let inside = from.strip_prefix('{').ok_or(TemplateError::Brace)?;
                let (field, after) = inside.split_once('}').ok_or(TemplateError::Brace)?;
                pieces.extend((!plain.is_empty()).then(|| Piece::Text(std::mem::take(&mut plain))));
                pieces.push(field.parse()?);
                rest = after;
            }
        }
        plain.push_str(rest);
        pieces.extend((!plain.is_empty()).then_some(Piece::Text(plain)));
        Ok(Self(pieces))
    }
}

impl FromStr for Piece {
    type Err = TemplateError;

    fn from_str(inside: &str) -> Result<Self, TemplateError> {
        let (name, escape) = match inside.split_once('|') {
            None => (inside, Escape::Nothing),
            Some((name, "url")) => (name, Escape::Url),
            Some((name, "shell")) => (name, Escape::Shell),
            Some((name, "json")) => (name, Escape::Json),
            Some(_) => return Err(TemplateError::Field),
        };
        name.parse().map(|name| Self::Field(name, escape)).map_err(|_name| TemplateError::Field)
    }
}

impl Template {
    /// The fields that it is made of.
    pub fn made_of(&self) -> impl Iterator<Item = &FieldName> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Field(name, _) => Some(name),
        })
    }

    fn fill(&self, field: &FieldName, values: &Fields) -> Result<SecretBytes, FillError> {
        let sizes = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Field(name, _) => values.get(name.as_str()).map_or(0, |value| value.size() * WIDEST + 2),
        });
        // As long as it can get: a buffer that grows would leave copies behind.
        let mut filled = Zeroizing::new(Vec::with_capacity(sizes.sum()));
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.extend_from_slice(text.as_bytes()),
                Piece::Field(of, escape) => {
                    let missing = || FillError::Missing { field: field.clone(), of: of.clone() };
                    let value = values.get(of.as_str()).ok_or_else(missing)?.expose();
                    let no_text = || FillError::NoText { field: field.clone(), of: of.clone() };
                    escape.put(value, &mut filled).ok_or_else(no_text)?;
                }
            }
        }
        Ok(SecretBytes::new(filled.to_vec()))
    }
}

impl Escape {
    /// Adds a value; none if it cannot stand there.
    fn put(self, value: &[u8], to: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Nothing => to.extend_from_slice(value),
            Self::Url => value.iter().for_each(|byte| put_url(*byte, to)),
            Self::Shell => {
                if value.contains(&0) {
                    return None;
                }
                to.push(b'\'');
                for byte in value {
                    if *byte == b'\'' { to.extend_from_slice(br"'\''") } else { to.push(*byte) }
                }
                to.push(b'\'');
            }
            Self::Json => std::str::from_utf8(value).ok()?.chars().for_each(|letter| put_json(letter, to)),
        }
        Some(())
    }
}

fn put_url(byte: u8, to: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        to.push(byte);
    } else {
        to.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
    }
}

fn put_json(letter: char, to: &mut Vec<u8>) {
    match letter {
        '"' => to.extend_from_slice(br#"\""#),
        '\\' => to.extend_from_slice(br"\\"),
        control if u32::from(control) < 0x20 => {
            let mut escaped = String::with_capacity(WIDEST);
            if write!(escaped, "\\u{:04x}", u32::from(control)).is_ok() {
                to.extend_from_slice(escaped.as_bytes());
            }
        }
        other => to.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// `values` with every field that `templates` make of them.
pub fn derive(values: &Fields, templates: &BTreeMap<FieldName, Template>) -> Result<Fields, FillError> {
    if templates.is_empty() {
        return Ok(values.clone());
    }
    let mut all = BTreeMap::new();
    for (name, value) in values.iter() {
        all.insert(name.clone(), SecretBytes::new(value.expose().to_vec()));
    }
    for (name, template) in templates {
        all.insert(name.clone(), template.fill(name, values)?);
    }
    Ok(Fields::new(all)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &[u8])]) -> Fields {
        let pairs =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), SecretBytes::new(value.to_vec())));
        Fields::new(pairs.collect()).unwrap()
    }

    fn filled(template: &str, pairs: &[(&str, &[u8])]) -> Result<Vec<u8>, FillError> {
        let templates = BTreeMap::from([("made".parse().unwrap(), template.parse().unwrap())]);
        let all = derive(&values(pairs), &templates)?;
        assert_eq!(all.len(), pairs.len() + 1);
        Ok(all.get("made").unwrap().expose().to_vec())
    }

    #[test]
    fn a_value_is_safe_where_it_stands() {
        let hostile: &[u8] = "a/b@c:d?e#f%g h'i\"j\\k{l}\n€".as_bytes();
        for (template, expected) in [
            ("{v}", "a/b@c:d?e#f%g h'i\"j\\k{l}\n€"),
            ("x://u:{v|url}@h", "x://u:a%2Fb%40c%3Ad%3Fe%23f%25g%20h%27i%22j%5Ck%7Bl%7D%0A%E2%82%AC@h"),
            ("P={v|shell}", "P='a/b@c:d?e#f%g h'\\''i\"j\\k{l}\n€'"),
            ("{{\"p\":\"{v|json}\"}}", "{\"p\":\"a/b@c:d?e#f%g h'i\\\"j\\\\k{l}\\u000a€\"}"),
            ("a{{b}}c", "a{b}c"),
        ] {
            let made = filled(template, &[("v", hostile)]).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for (bad, why) in [
            ("", TemplateError::Length),
            (&*"x".repeat(1025), TemplateError::Length),
            ("{v", TemplateError::Brace),
            ("v}", TemplateError::Brace),
            ("{}", TemplateError::Field),
            ("{Upper}", TemplateError::Field),
            ("{v|html}", TemplateError::Field),
            ("{v|url|json}", TemplateError::Field),
        ] {
            assert_eq!(bad.parse::<Template>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_filled_names_the_fields_and_no_value() {
        let missing = filled("{other}", &[("v", b"MARKER")]).unwrap_err().to_string();
        assert_eq!(missing, "made is made of other, which this version does not have");
        for template in ["{v|json}", "{v|shell}"] {
            let no_text = filled(template, &[("v", b"MARKER\xff\0")]).unwrap_err().to_string();
            assert_eq!(no_text, "made is made of v, which is no text", "{template}");
        }
        assert_eq!(filled("{v|url}", &[("v", b"\xff\0")]).unwrap(), b"%FF%00");
    }

    proptest::proptest! {
        #[test]
        fn a_shell_reads_back_what_was_put_in(value in "[^\0]{0,40}") {
            let made = filled("printf %s {v|shell}", &[("v", value.as_bytes())]).unwrap();
            let output = std::process::Command::new("sh").arg("-c").arg(String::from_utf8(made).unwrap()).output();
            proptest::prop_assert_eq!(output.unwrap().stdout, value.as_bytes());
        }

        #[test]
        fn json_reads_back_what_was_put_in(value in "\\PC{0,20}[\0-\u{1f}\"\\\\]{0,6}") {
            let made = filled("\"{v|json}\"", &[("v", value.as_bytes())]).unwrap();
            proptest::prop_assert_eq!(serde_json::from_slice::<String>(&made).unwrap(), value);
        }
    }
}
