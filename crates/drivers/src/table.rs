//! The table of all drivers; `docs/drivers.md` shows the same rows, and a test compares them.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use rekey_settings::Section;
use schemars::{Schema, SchemaGenerator};

use crate::plug::{Account, AnyPlug, Hidden, Target};

/// One kind of target.
pub struct Kind {
    /// Its name: the key in a credential's spec and in the controller's targets.
    pub name: &'static str,
    /// What overlaps the target allows, the usual one first.
    pub strategies: &'static [Strategy],
    /// Who chooses the secret, and what follows for a lost answer.
    pub class: Class,
    pub(crate) plug: &'static dyn AnyPlug,
}

/// What overlap a target allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// A login of its own for each version.
    DualAccount,
    /// One account that takes two values at once.
    DualSecret,
    /// One account that takes one value: the new one kills the old one at once.
    Single,
    /// Whatever a person makes and hands in; the old one works until a person deletes it.
    HandIn,
    /// Whatever somebody else's machine makes: the old one is dead when the new one is there.
    Follow,
}

/// Who chooses the secret, and what follows where the answer to the call that makes a version is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// We choose: the same call is repeated.
    A,
    /// The target makes it, once for each token of ours: the same call is repeated for as long as it knows the token.
    B {
        /// How long that is.
        token: Duration,
        /// After that: how long what was made works, where it cannot be found; none: as class C.
        expires: Option<Duration>,
    },
    /// The target makes it and lists what it has: what the lost call made is found and ended, and then another made.
    C,
    /// The target makes it and does not list it: another is made at once; what was made ends by itself.
    D {
        /// How long what was made works.
        expires: Duration,
    },
    /// A person does, and hands it in; the person ends it too.
    H,
}

impl Strategy {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::DualAccount => "dual-account",
            Self::DualSecret => "dual-secret",
            Self::Single => "single",
            Self::HandIn => "hand-in",
            Self::Follow => "follow",
        }
    }

    /// Whether two versions can be valid at the same time.
    pub fn two_live_versions(self) -> bool {
        match self {
            Self::DualAccount | Self::DualSecret | Self::HandIn => true,
            Self::Single | Self::Follow => false,
        }
    }
}

impl Class {
    /// Its letter.
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B { .. } => "B",
            Self::C => "C",
            Self::D { .. } => "D",
            Self::H => "H",
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Kind {
    /// The account that a spec's section of this driver describes. Everything wrong is noted with the section.
    pub fn account(&'static self, section: &Section<'_>) -> Option<Account> {
        Account::read(self, section)
    }

    /// The shape of the spec's section, without `target`, which every account has.
    pub fn schema(&self, generator: &mut SchemaGenerator) -> Schema {
        self.plug.schema(generator)
    }
}

/// The account that a whole spec describes, at the targets that it names. Everything wrong is noted.
pub fn account(root: &Section<'_>) -> Option<Account> {
    Account::declared(root)
}

/// The target that a section of the controller's config describes; relative paths are below `folder`. Everything wrong is
/// noted.
pub fn target(section: &Section<'_>, folder: &Path) -> Option<Target> {
    Target::read(section, folder)
}

/// All drivers.
pub static ALL: &[Kind] = &[
    Kind {
        name: crate::postgres::NAME,
        strategies: &[Strategy::DualAccount, Strategy::Single, Strategy::Follow],
        class: Class::A,
        plug: &Hidden::<crate::postgres::Plug>(PhantomData),
    },
    Kind {
        name: crate::redis::NAME,
        strategies: &[Strategy::DualSecret, Strategy::Single],
        class: Class::A,
        plug: &Hidden::<crate::redis::Plug>(PhantomData),
    },
    Kind {
        name: crate::mysql::NAME,
        strategies: &[Strategy::DualAccount, Strategy::DualSecret],
        class: Class::A,
        plug: &Hidden::<crate::mysql::Plug>(PhantomData),
    },
    Kind {
        name: crate::approle::NAME,
        strategies: &[Strategy::DualSecret],
        class: Class::C,
        plug: &Hidden::<crate::approle::Plug>(PhantomData),
    },
    Kind {
        name: crate::kubernetes::NAME,
        strategies: &[Strategy::DualSecret],
        class: Class::C,
        plug: &Hidden::<crate::kubernetes::Plug>(PhantomData),
    },
    Kind {
        name: crate::aws_iam::NAME,
        strategies: &[Strategy::DualSecret],
        class: Class::C,
        plug: &Hidden::<crate::aws_iam::Plug>(PhantomData),
    },
    Kind {
        name: crate::hand_in::NAME,
        strategies: &[Strategy::HandIn, Strategy::Follow],
        class: Class::H,
        plug: &Hidden::<crate::hand_in::Plug>(PhantomData),
    },
    Kind {
        name: crate::rabbitmq::NAME,
        strategies: &[Strategy::DualAccount],
        class: Class::A,
        plug: &Hidden::<crate::rabbitmq::Plug>(PhantomData),
    },
];

/// The row of the driver with this name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.name == name)
}

/// The names of all drivers, in the order of the table.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|kind| kind.name).collect()
}
