//! A request as rules see it, and why it is denied.

use crate::CommandId;

/// What a request does to a key: what the user must be allowed there. Neither, for what looks at the key's existence or
/// length, is allowed wherever anything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// It returns or uses the value.
    pub read: bool,
    /// It changes or removes it.
    pub write: bool,
}

/// A key of a request.
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Which of the request's words it is.
    pub index: usize,
    /// Its name.
    pub name: &'a [u8],
    /// What is done to it.
    pub need: Need,
}

/// A channel of a request.
#[derive(Debug, Clone, Copy)]
pub struct Channel<'a> {
    /// Which of the request's words it is.
    pub index: usize,
    /// Its name, or a pattern.
    pub name: &'a [u8],
    /// It is a pattern, which must be one of the user's to the letter.
    pub is_pattern: bool,
}

/// A request; see the module's text.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What it runs.
    pub command: CommandId,
    /// Everybody may run it, who is not even known yet (AUTH, HELLO).
    pub is_free: bool,
    /// The first word behind the command's name, or its subcommand's.
    pub first_argument: Option<&'a [u8]>,
    /// Its keys, in the order in which they are looked at.
    pub keys: &'a [Key<'a>],
    /// Its channels.
    pub channels: &'a [Channel<'a>],
}

/// Why a request is denied. Of several reasons the greatest is told: it is the one of the selector that came closest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// The command.
    Command,
    /// The key that is this one of the request's words.
    Key(usize),
    /// The channel that is this one of the request's words.
    Channel(usize),
}
