//! RDB: the format of snapshots, of full synchronisations and, value by value, of DUMP payloads.
//!
//! A file is a magic with a version, a row of records, and a checksum:
//!
//! ```text
//! "REDIS" and four digits
//! fa  name, value          something about the file as a whole (AUX)
//! f5  code                 a library of functions
//! fe  number               the keys that follow are in this database
//! fb  keys, expiring       how many they are
//! fc  i64 milliseconds  |  fd  i32 seconds         the next key expires then
//! f8  seconds idle      |  f9  u8 frequency        the next key was accessed so
//! t   key, body            a key and its value of type t
//! f7  module, ...          what a module has to say
//! ff  u64 checksum         the end; no checksum before version 5, and 0 if there is none
//! ```
//!
//! Names, keys and codes are strings, numbers are lengths (`string.rs`). The bodies of the types are
//! described where they are read (`decode.rs`). [`Reader`] reads all that Redis up to 7.4 has written;
//! [`Writer`] writes what Redis 7.0 reads, but for hashes of which fields expire. See
//! <https://rdb.fnordig.de/file_format.html> for the older parts of the format.

mod decode;
mod encode;
mod error;
mod expiring;
mod reader;
mod record;
mod source;
mod stream;
mod string;
mod writer;

pub(crate) use error::Malformed;
pub use error::{Error, ModuleName};
pub(crate) use reader::read_functions;
pub use reader::{ChecksumResult, Checksums, Entry, Item, ReadOptions, Reader, Sanitize};
pub use record::{
    Preamble, ReplicationPoint, Version, WriteOptions, write_aux, write_end, write_entry, write_function, write_header,
    write_preamble, write_resize_db, write_select_db,
};
pub use writer::Writer;

/// The newest version of the format that is read.
pub const NEWEST_VERSION: u32 = 12;

/// The version of the format that has hashes of which fields expire.
pub(crate) const VERSION_OF_EXPIRING_FIELDS: u16 = 12;

/// Values without a key and a file, as DUMP payloads hold them.
pub(crate) mod payload {
    use quorate_values::{Value, ValueRef};

    use super::source::Source;
    use super::{Error, ReadOptions, Type, WriteOptions, decode, encode};

    /// Appends type and body of `value`.
    pub(crate) fn write(out: &mut Vec<u8>, value: ValueRef<'_>, options: &WriteOptions) {
        out.push(encode::type_byte(value, options.version));
        encode::push_body(out, value, options);
    }

    /// Reads type and body of a value, and says how many bytes they are. `None` stands for a collection
    /// with nothing in it.
    pub(crate) fn read(bytes: &[u8], options: &ReadOptions) -> Result<(Option<Value>, u64), Error> {
        let mut source = Source::new(bytes, false);
        source.expected = "a value";
        let byte = source.byte()?;
        let kind = Type::from_byte(byte).ok_or(Error::UnknownType { at: source.position(), byte })?;
        let value = decode::value(&mut source, kind, options)?;
        Ok((value, source.position()))
    }
}

/// What the writer knew about the last accesses to a key; it depends on how it evicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It was not accessed for so long.
    Idle { seconds: u64 },
    /// It was accessed so often: the logarithmic counter of the LFU policies.
    Frequency(u8),
}

/// The bytes that begin a record other than a key.
mod opcode {
    /// Figures about one slot, for those that want to size a table; from Redis 7.4 and Valkey 8.
    pub(super) const SLOT_INFO: u8 = 244;
    pub(super) const FUNCTION: u8 = 245;
    pub(super) const FUNCTION_PRE_RELEASE: u8 = 246;
    pub(super) const MODULE_AUX: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQUENCY: u8 = 249;
    pub(super) const AUX: u8 = 250;
    pub(super) const RESIZE_DB: u8 = 251;
    pub(super) const EXPIRE_MS: u8 = 252;
    pub(super) const EXPIRE_SECONDS: u8 = 253;
    pub(super) const SELECT_DB: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// The type of a value: what it is and how it is laid out. The numbers are the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Type {
    String = 0,
    List = 1,
    Set = 2,
    /// Scores are decimal text.
    ZSetText = 3,
    Hash = 4,
    /// Scores are binary.
    ZSet = 5,
    /// A module's value of which not even the length is known.
    ModulePreRelease = 6,
    Module = 7,
    HashZipmap = 9,
    ListZiplist = 10,
    SetIntset = 11,
    ZSetZiplist = 12,
    HashZiplist = 13,
    /// Nodes are ziplists.
    ListQuicklist = 14,
    Stream1 = 15,
    HashListpack = 16,
    ZSetListpack = 17,
    /// Nodes are listpacks or single large elements.
    ListQuicklist2 = 18,
    Stream2 = 19,
    SetListpack = 20,
    Stream3 = 21,
    /// As Redis 7.4 had them before it was released.
    HashMetadataEarly = 22,
    HashListpackExEarly = 23,
    /// Fields may expire.
    HashMetadata = 24,
    HashListpackEx = 25,
}

impl Type {
    fn from_byte(byte: u8) -> Option<Type> {
        Some(match byte {
            0 => Type::String,
            1 => Type::List,
            2 => Type::Set,
            3 => Type::ZSetText,
            4 => Type::Hash,
            5 => Type::ZSet,
            6 => Type::ModulePreRelease,
            7 => Type::Module,
            9 => Type::HashZipmap,
            10 => Type::ListZiplist,
            11 => Type::SetIntset,
            12 => Type::ZSetZiplist,
            13 => Type::HashZiplist,
            14 => Type::ListQuicklist,
            15 => Type::Stream1,
            16 => Type::HashListpack,
            17 => Type::ZSetListpack,
            18 => Type::ListQuicklist2,
            19 => Type::Stream2,
            20 => Type::SetListpack,
            21 => Type::Stream3,
            22 => Type::HashMetadataEarly,
            23 => Type::HashListpackExEarly,
            24 => Type::HashMetadata,
            25 => Type::HashListpackEx,
            _ => return None,
        })
    }
}
