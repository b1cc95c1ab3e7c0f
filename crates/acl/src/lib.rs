//! Who may do what: users, their passwords, and the rules of what they may run, on which keys and channels.
//!
//! The language of the rules is that of Redis' ACL SETUSER, ACL files and `user` lines, and what a user may do is told in
//! the same language ([`User::rules`]), so that what is told makes the same user again.
//!
//! Nothing here knows a server. What commands there are comes as a [`Catalog`]; a request comes as its command, its keys
//! with what is done to them, and its channels ([`Request`]); the clock of the log is an argument.
//!
//! **Theory.** A user has selectors, a *root* one and perhaps others; a request is allowed if one selector alone allows
//! all of it. Of the commands a selector keeps two things: one bit for each command that there is, which is what a check
//! looks at, and the rules as they were given, in order, which is what is told. The bits follow from the rules, but not the
//! rules from the bits: `+@all -@dangerous` is to hold for commands too that a later version has.

mod catalog;
mod file;
mod log;
mod password;
mod request;
mod rule;
mod selector;
mod user;
mod users;

pub use catalog::{Catalog, CommandId, Listed};
pub use file::{FileError, parse as parse_file, text as file_text};
pub use log::{Context, Entry, Log, Reason};
pub use password::Digest;
pub use request::{Channel, Denied, Key, Need, Request};
pub use rule::{RuleError, merge};
pub use selector::Selector;
pub use user::User;
pub use users::{DEFAULT, Users, is_valid_name};

/// What the meaning of a rule depends on, besides the user that it is for.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The commands that there are.
    pub catalog: &'a Catalog,
    /// Whether a new user, or selector, may use all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

#[cfg(test)]
mod testing;
