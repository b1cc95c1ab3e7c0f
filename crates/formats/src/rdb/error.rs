//! What can be wrong with an RDB file: one enum, each case with the place where it was noticed.

use std::fmt;
use std::io;

/// Why reading an RDB file, or a value in its form, had to stop.
///
/// `at` is how many bytes precede the place where the trouble was noticed: the file's, its header
/// included, or the payload's. For what is packed into one string (a listpack, say), this is the end
/// of that string.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader below failed. Reading can't be resumed, except after the caller has started over.
    #[error("byte {at}: reading failed while {expected} was expected: {source}")]
    Io { at: u64, expected: &'static str, source: io::Error },
    /// The data ends too early.
    #[error("byte {at}: the data ends where {expected} was expected")]
    Truncated { at: u64, expected: &'static str },
    /// The bytes are not what the format asks for.
    #[error("byte {at}: expected {expected}")]
    Malformed { at: u64, expected: &'static str },
    /// The file does not begin with an RDB file's magic.
    #[error("byte {at}: this is no RDB file")]
    NotRdb { at: u64 },
    /// A version that this reader does not know.
    #[error("byte {at}: RDB version {version} is none of 1 to {}", super::NEWEST_VERSION)]
    Version { at: u64, version: u32 },
    /// A byte that stands for no type of value and no opcode.
    #[error("byte {at}: there is no value type or opcode {byte}")]
    UnknownType { at: u64, byte: u8 },
    /// A value that belongs to a module. Without the module its meaning is unknown, and in the older
    /// form (before 4.0) not even its length.
    #[error("byte {at}: a value of module {module:?}, which can't be loaded")]
    Module { at: u64, module: ModuleName },
    /// A function in the form of the release candidates of Redis 7.0, which no release reads.
    #[error("byte {at}: a function from before Redis 7.0 was released")]
    PreReleaseFunction { at: u64 },
    /// The file is not the one that was written.
    #[error("byte {at}: the file's checksum is {stored:016x}, that of its content {computed:016x}")]
    Checksum { at: u64, stored: u64, computed: u64 },
}

impl Error {
    /// How many bytes precede the place where the trouble was noticed.
    pub fn at(&self) -> u64 {
        match *self {
            Error::Io { at, .. }
            | Error::Truncated { at, .. }
            | Error::Malformed { at, .. }
            | Error::NotRdb { at }
            | Error::Version { at, .. }
            | Error::UnknownType { at, .. }
            | Error::Module { at, .. }
            | Error::PreReleaseFunction { at }
            | Error::Checksum { at, .. } => at,
        }
    }
}

/// What was expected instead, from decoders that see a single string and know no place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The name of a module's data type, as the 64-bit id in a file spells it: nine characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ModuleName([u8; 9]);

impl ModuleName {
    /// The name within `id`: nine times six bits from the top; the last ten bits are the version of
    /// the type's encoding.
    pub fn from_id(id: u64) -> ModuleName {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        ModuleName(std::array::from_fn(|i| LETTERS[(id >> (58 - 6 * i)) as usize & 63]))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("it is made of ASCII letters")
    }
}

impl fmt::Debug for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ModuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_id_spells_its_name() {
        // "AAAAAAAAA" is all zeros; each letter takes six bits, the first the highest.
        assert_eq!(ModuleName::from_id(0x3ff).as_str(), "AAAAAAAAA");
        assert_eq!(ModuleName::from_id(1 << 58 | 63 << 10).as_str(), "BAAAAAAA_");
    }

    #[test]
    fn an_error_says_where_and_what() {
        let error = Error::Malformed { at: 12, expected: "a listpack" };
        assert_eq!((error.at(), error.to_string()), (12, "byte 12: expected a listpack".to_owned()));
    }
}
