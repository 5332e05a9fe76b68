//! Arguments with a grammar of their own.

use std::fmt;
use std::str::FromStr;

use rekey_model::{CredentialName, Version};

/// A credential or one version of it: `NAME` or `NAME@VERSION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The credential.
    pub name: CredentialName,
    /// The version; none: all.
    pub version: Option<Version>,
}

impl Subject {
    /// The version as the wire has it: 0 means all.
    pub fn version_number(&self) -> u64 {
        self.version.map_or(0, Version::get)
    }
}

impl FromStr for Subject {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) =
            text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        let name = name.parse().map_err(|error: rekey_model::NameError| error.to_string())?;
        let version = version
            .map(|v| {
                v.parse().map_err(|_number| "a version is a number from 1, as in orders/db@3".to_owned())
            })
            .transpose()?;
        Ok(Self { name, version })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{}", self.name, version.get()),
            None => self.name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_a_name_with_or_without_a_version() {
        let all: Subject = "orders/db".parse().unwrap();
        assert_eq!((all.version_number(), all.to_string().as_str()), (0, "orders/db"));
        let one: Subject = "orders/db@v3".parse().unwrap();
        assert_eq!((one.version_number(), one.to_string().as_str()), (3, "orders/db@3"));
        for bad in ["", "@3", "orders/db@", "orders/db@0", "orders/db@x", "orders/db@1@2", "Orders"] {
            assert!(bad.parse::<Subject>().is_err(), "{bad:?} was taken");
        }
    }
}
