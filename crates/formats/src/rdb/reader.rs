//! Reading a file: from its magic to its checksum, one record at a time.

use std::io::BufRead;

use quorate_stdx::UnixMs;
use quorate_values::{Limits, Value};

use super::error::{Error, Malformed, ModuleName};
use super::source::Source;
use super::{Access, NEWEST_VERSION, Type, decode, opcode};

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// Up to which sizes values stay in their compact encodings.
    pub limits: Limits,
    pub sanitize: Sanitize,
    pub checksums: Checksums,
}

/// How much values are distrusted. What could do harm here is refused in either case: broken packings,
/// fields and members that come twice, references into nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sanitize {
    /// The bytes come from a server, whose small blunders are put up with.
    No,
    /// They may come from anybody: refuse also what only does harm to those who get the value from us.
    #[default]
    Yes,
}

/// What to do with checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checksums {
    #[default]
    Verify,
    /// Don't compute any (`rdbchecksum no`).
    Ignore,
}

/// One record of a file.
#[derive(Debug)]
pub enum Item<'a> {
    /// A note about the file as a whole: `redis-ver`, `ctime`, `repl-id`, `repl-offset`, `aof-base` and
    /// others. Unknown ones are to be ignored.
    Aux { key: Vec<u8>, value: Vec<u8> },
    /// The keys that follow belong to this database.
    SelectDb(u32),
    /// How many keys the database has, and how many of them expire. A hint that may be wrong.
    ResizeDb { keys: u64, expires: u64 },
    /// A key and its value.
    Entry(Entry<'a>),
    /// A key whose collection has nothing in it. Servers before 7.0 could write such keys by mistake;
    /// they are to be left out, and counted.
    EmptyKey { key: &'a [u8] },
    /// The source code of a library of functions.
    Function(Vec<u8>),
    /// Something that a module has saved beside the keys. It was passed over.
    ModuleAux(ModuleName),
    /// The end, and whether the file is what was written. Asked again, the reader says it again.
    End { checksum: ChecksumResult },
}

/// A key, its value, and what is known about it.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Valid until the next record is read.
    pub key: &'a [u8],
    pub value: Value,
    /// When it expires; this may well be in the past.
    pub expire_at: Option<UnixMs>,
    pub access: Option<Access>,
}

/// What the end of a file says about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumResult {
    /// The content is what was written.
    Verified,
    /// The file has no checksum: it is older than version 5, or was written with checksums off.
    Absent,
    /// It was not looked at, as [`Checksums::Ignore`] asks.
    Ignored,
}

/// Reads a file record by record. It ends exactly behind the file's last byte, so that the input can
/// be used further: a replication stream, or the commands of an AOF file, may follow.
///
/// The input has to block until it has bytes: an error, `WouldBlock` included, ends the reading.
/// Whatever lengths the file promises, memory grows only as bytes arrive, up to a fixed factor
/// (the 88 of LZF's best compression, times what the encodings of `quorate-values` need).
#[derive(Debug)]
pub struct Reader<R> {
    source: Source<R>,
    options: ReadOptions,
    version: u32,
    /// The key of the current entry; kept so that the next one finds memory.
    key: Vec<u8>,
    ended: Option<ChecksumResult>,
}

/// What is said about a key before it comes.
#[derive(Default)]
struct Announced {
    expire_at: Option<UnixMs>,
    access: Option<Access>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the file's header.
    pub fn new(input: R, options: ReadOptions) -> Result<Reader<R>, Error> {
        let mut source = Source::new(input, options.checksums == Checksums::Verify);
        let version = read_version(&mut source)?;
        if version < 5 {
            source.forget_checksum();
        }
        Ok(Reader { source, options, version, key: Vec::new(), ended: None })
    }

    /// The version of the format that the file is written in.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// How many bytes are read so far, the header included.
    pub fn position(&self) -> u64 {
        self.source.position()
    }

    /// The input, exactly behind the last record that was read.
    pub fn into_inner(self) -> Result<R, Error> {
        self.source.into_input()
    }

    /// Reads the next record. After an error there is no next one.
    // It is no Iterator: an entry borrows its key from the reader.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Item<'_>, Error> {
        let mut announced = Announced::default();
        loop {
            if let Some(checksum) = self.ended {
                return Ok(Item::End { checksum });
            }
            let source = &mut self.source;
            source.expected = "a value type or an opcode";
            let byte = source.byte()?;
            match byte {
                opcode::EXPIRE_MS => announced.expire_at = Some(UnixMs(i64::from_le_bytes(source.array()?))),
                opcode::EXPIRE_SECONDS => {
                    let seconds = i32::from_le_bytes(source.array()?);
                    announced.expire_at = Some(UnixMs(i64::from(seconds) * 1000));
                }
                opcode::IDLE => announced.access = Some(Access::Idle { seconds: source.length()? }),
                opcode::FREQUENCY => announced.access = Some(Access::Frequency(source.byte()?)),
                opcode::SELECT_DB => return self.select_db(),
                opcode::RESIZE_DB => {
                    return Ok(Item::ResizeDb { keys: source.length()?, expires: source.length()? });
                }
                opcode::AUX => return self.aux(),
                opcode::FUNCTION => return self.function(),
                opcode::FUNCTION_PRE_RELEASE => return Err(Error::PreReleaseFunction { at: source.position() }),
                opcode::MODULE_AUX => return Ok(Item::ModuleAux(skip_module_aux(source)?)),
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        source.length()?;
                    }
                }
                opcode::END => self.ended = Some(self.end()?),
                byte => return self.entry(byte, announced),
            }
        }
    }

    fn select_db(&mut self) -> Result<Item<'_>, Error> {
        self.source.expected = "the number of a database";
        let number = u32::try_from(self.source.length()?);
        Ok(Item::SelectDb(number.map_err(|_| self.source.malformed(Malformed("the number of a database")))?))
    }

    fn aux(&mut self) -> Result<Item<'_>, Error> {
        self.source.expected = "a note about the file";
        let (mut key, mut value) = (Vec::new(), Vec::new());
        self.source.string(&mut key)?;
        self.source.string(&mut value)?;
        Ok(Item::Aux { key, value })
    }

    fn function(&mut self) -> Result<Item<'_>, Error> {
        self.source.expected = "a function library";
        let mut code = Vec::new();
        self.source.string(&mut code)?;
        Ok(Item::Function(code))
    }

    fn entry(&mut self, byte: u8, announced: Announced) -> Result<Item<'_>, Error> {
        let source = &mut self.source;
        let kind = Type::from_byte(byte).ok_or(Error::UnknownType { at: source.position(), byte })?;
        source.expected = "a key";
        self.key.clear();
        source.string(&mut self.key)?;
        source.expected = "a value";
        Ok(match decode::value(source, kind, &self.options)? {
            None => Item::EmptyKey { key: &self.key },
            Some(value) => {
                Item::Entry(Entry { key: &self.key, value, expire_at: announced.expire_at, access: announced.access })
            }
        })
    }

    fn end(&mut self) -> Result<ChecksumResult, Error> {
        let source = &mut self.source;
        source.expected = "the file's checksum";
        let computed = source.checksum()?;
        let result = if self.version < 5 {
            ChecksumResult::Absent
        } else {
            match (u64::from_le_bytes(source.array()?), computed) {
                (0, _) => ChecksumResult::Absent,
                (_, None) => ChecksumResult::Ignored,
                (stored, Some(computed)) if stored == computed => ChecksumResult::Verified,
                (stored, Some(computed)) => {
                    return Err(Error::Checksum { at: source.position(), stored, computed });
                }
            }
        };
        // The input shall stand behind the file's last byte also for those who have only lent it.
        source.settle()?;
        Ok(result)
    }
}

/// Reads libraries of functions and nothing else, up to the end of `bytes`.
pub(crate) fn read_functions(bytes: &[u8], options: &ReadOptions) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = Reader {
        source: Source::new(bytes, false),
        options: options.clone(),
        version: 0,
        key: Vec::new(),
        ended: None,
    };
    let mut codes = Vec::new();
    while reader.position() < bytes.len() as u64 {
        reader.source.expected = "a function library";
        if reader.source.byte()? != opcode::FUNCTION {
            return Err(reader.source.malformed(Malformed("a function library")));
        }
        if let Item::Function(code) = reader.function()? {
            codes.push(code);
        }
    }
    Ok(codes)
}

fn read_version<R: BufRead>(source: &mut Source<R>) -> Result<u32, Error> {
    if source.array()? != *b"REDIS" {
        return Err(Error::NotRdb { at: source.position() });
    }
    let digits: [u8; 4] = source.array()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::NotRdb { at: source.position() });
    }
    let version = digits.iter().fold(0, |version, digit| version * 10 + u32::from(digit - b'0'));
    if !(1..=NEWEST_VERSION).contains(&version) {
        return Err(Error::Version { at: source.position(), version });
    }
    Ok(version)
}

/// Passes over what a module has to say: its id, when it is to be heard, and tagged values up to an end
/// mark. The tags make it possible without knowing the module.
fn skip_module_aux<R: BufRead>(source: &mut Source<R>) -> Result<ModuleName, Error> {
    const END: u64 = 0;
    const SIGNED: u64 = 1;
    const UNSIGNED: u64 = 2;
    const FLOAT: u64 = 3;
    const DOUBLE: u64 = 4;
    const STRING: u64 = 5;

    source.expected = "what a module has saved";
    let module = ModuleName::from_id(source.length()?);
    if source.length()? != UNSIGNED {
        return Err(source.malformed(Malformed("the time at which a module wants its data")));
    }
    let _when = source.length()?;
    loop {
        match source.length()? {
            END => return Ok(module),
            SIGNED | UNSIGNED => drop(source.length()?),
            FLOAT => source.skip(4)?,
            DOUBLE => source.skip(8)?,
            STRING => source.skip_string()?,
            _ => return Err(source.malformed(Malformed("the tag of a module's value"))),
        }
    }
}
