//! Who gets in. Users and renamed commands are not here: their lines are kept for the server (`parse.rs`).

use crate::choice::Choice;
use crate::quantity::{LONG, decimal};
use crate::spec::{Apply, Flags, Spec, choice, number, text};
use crate::text::{Secret, Text};

/// Passwords, users, what is forbidden.
#[derive(Debug, Clone, PartialEq)]
pub struct Security {
    /// `requirepass`: the password of the default user.
    pub password: Option<Secret>,
    /// `aclfile`: the file of the users; empty is none.
    pub acl_file: Text,
    /// `acl-pubsub-default`: the channels of a user whose rules say nothing of channels.
    pub channels: DefaultChannels,
    /// `acllog-max-len`: entries that ACL LOG keeps.
    pub acl_log_len_max: u64,
}

impl Default for Security {
    fn default() -> Security {
        Security { password: None, acl_file: "".into(), channels: DefaultChannels::None, acl_log_len_max: 128 }
    }
}

/// The channels of a user whose rules say nothing of channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultChannels {
    /// `allchannels`.
    All,
    /// `resetchannels`.
    None,
}

impl Choice for DefaultChannels {
    const WORDS: &'static [(&'static str, DefaultChannels)] =
        &[("allchannels", DefaultChannels::All), ("resetchannels", DefaultChannels::None)];
}

pub(super) static TABLE: &[Spec] = &[
    text(
        "requirepass",
        |c| Secret::shown(&c.security.password),
        |c, text| c.security.password = Secret::unless_empty(text),
    )
    .is(Flags::SENSITIVE)
    .applies(Apply::DefaultUser),
    text("aclfile", |c| c.security.acl_file.as_bytes(), |c, text| c.security.acl_file = text.into())
        .is(Flags::IMMUTABLE),
    choice(
        "acl-pubsub-default",
        DefaultChannels::words,
        |c| c.security.channels.as_word(),
        |c, word| c.security.channels = Choice::named(word),
    ),
    number(
        "acllog-max-len",
        decimal(0, LONG),
        |c| c.security.acl_log_len_max.into(),
        |c, n| {
            c.security.acl_log_len_max = n as u64;
        },
    ),
];
