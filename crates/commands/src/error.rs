//! Every error text that a data command can answer with: one variant, one exact text on the wire.

use std::borrow::Cow;
use std::fmt;

/// Why a command was refused. Its `Display` is the reply without the leading `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// The key holds a value of another type.
    WrongType,
    /// The arguments don't follow the command's grammar.
    Syntax,
    /// The command's number of arguments is not what it takes; carries the command's full name.
    Arity(String),
    /// An argument is no integer, or one that doesn't fit.
    NotInteger,
    /// An argument is no floating-point number.
    NotFloat,
    /// A value is outside of what is allowed.
    OutOfRange,
    /// There is no such key, where one has to be.
    NoSuchKey,
    /// An index is outside of a list.
    IndexOutOfRange,
    /// An increment would leave the range of 64 bits.
    Overflow,
    /// A bound of a range of scores is no number.
    MinMaxNotFloat,
    /// A bound of a range of strings is malformed.
    MinMaxNotString,
    /// An expiry is not positive or too large; carries the command's name.
    InvalidExpire(&'static str),
    /// A string would become longer than `proto-max-bulk-len`.
    TooLong,
    /// An offset is negative or too large.
    OffsetOutOfRange,
    /// A timeout is no number.
    TimeoutNotFloat,
    /// A timeout is negative.
    TimeoutNegative,
    /// A timeout is too large.
    TimeoutOutOfRange,
    /// A value that has to be positive is not.
    NotPositive,
    /// The key is there already (RESTORE without REPLACE).
    BusyKey,
    /// RESTORE was given a payload that holds no value; carries what is wrong with it, which is not for the client.
    BadPayload(String),
    /// Any other text, with its code in front.
    Text(Cow<'static, str>),
    /// A text with bytes that came from the client.
    Bytes(Vec<u8>),
}

impl CommandError {
    /// An error with a fixed text, code in front: `CommandError::text("ERR ...")`.
    pub const fn text(text: &'static str) -> CommandError {
        CommandError::Text(Cow::Borrowed(text))
    }

    /// The bytes of the reply, without the leading `-`.
    pub fn wire(&self) -> Cow<'_, [u8]> {
        match self {
            CommandError::Bytes(bytes) => Cow::Borrowed(bytes),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }

    /// What the server's log is to say of it beyond the reply.
    pub fn note(&self) -> Option<String> {
        match self {
            CommandError::BadPayload(why) => {
                Some(format!("A DUMP payload is refused, its integrity check failed: {why}"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CommandError::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value",
            CommandError::Syntax => "ERR syntax error",
            CommandError::Arity(name) => return write!(f, "ERR wrong number of arguments for '{name}' command"),
            CommandError::NotInteger => "ERR value is not an integer or out of range",
            CommandError::NotFloat => "ERR value is not a valid float",
            CommandError::OutOfRange => "ERR value is out of range",
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::IndexOutOfRange => "ERR index out of range",
            CommandError::Overflow => "ERR increment or decrement would overflow",
            CommandError::MinMaxNotFloat => "ERR min or max is not a float",
            CommandError::MinMaxNotString => "ERR min or max not valid string range item",
            CommandError::InvalidExpire(name) => return write!(f, "ERR invalid expire time in '{name}' command"),
            CommandError::TooLong => "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            CommandError::OffsetOutOfRange => "ERR offset is out of range",
            CommandError::TimeoutNotFloat => "ERR timeout is not a float or out of range",
            CommandError::TimeoutNegative => "ERR timeout is negative",
            CommandError::TimeoutOutOfRange => "ERR timeout is out of range",
            CommandError::NotPositive => "ERR value is out of range, must be positive",
            CommandError::BusyKey => "BUSYKEY Target key name already exists.",
            CommandError::BadPayload(_) => "ERR Bad data format",
            CommandError::Text(text) => text,
            CommandError::Bytes(bytes) => return f.write_str(&String::from_utf8_lossy(bytes)),
        })
    }
}

impl std::error::Error for CommandError {}
