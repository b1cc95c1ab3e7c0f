//! `quorate check-rdb FILE`, also under the name redis-check-rdb: reads a file to its end and tells what is in it, in
//! the form of Redis' tool, so that scripts that look at its lines or its exit code need not know which one it is.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use quorate_formats::rdb::{self, ChecksumResult, Error, Item, ReadOptions, Reader};
use quorate_stdx::UnixMs;

/// What was counted.
#[derive(Default)]
struct Counts {
    keys: u64,
    expires: u64,
    expired: u64,
}

/// Checks a file and writes down what there is to say; whether it is as it should be.
///
/// # Errors
/// The output can't be written.
pub fn check(path: &Path, now: UnixMs, out: &mut dyn Write) -> io::Result<bool> {
    match File::open(path) {
        Ok(file) => {
            let file = BufReader::with_capacity(1 << 20, file);
            Ok(check_snapshot(file, &path.display().to_string(), now, out)?.is_some())
        }
        Err(error) => {
            writeln!(out, "[offset 0] Checking RDB file {}", path.display())?;
            writeln!(out, "Cannot open file: {error}")?;
            Ok(false)
        }
    }
}

/// The same for what has been opened, and may go on behind the snapshot: where that ends, if it is as it should be.
pub(super) fn check_snapshot(
    file: impl io::BufRead,
    name: &str,
    now: UnixMs,
    out: &mut dyn Write,
) -> io::Result<Option<u64>> {
    writeln!(out, "[offset 0] Checking RDB file {name}")?;
    let mut counts = Counts::default();
    let mut end = None;
    let result = match Reader::new(file, ReadOptions::default()) {
        Ok(mut reader) => {
            let result = read(&mut reader, now, &mut counts, out)?;
            end = Some(reader.position());
            result
        }
        Err(error) => Err(("start", error)),
    };
    if let Err((doing, error)) = &result {
        writeln!(out, "--- RDB ERROR DETECTED ---")?;
        writeln!(out, "[offset {}] {}", error.at(), kind(error))?;
        writeln!(out, "[additional info] While doing: {doing}")?;
        writeln!(out, "[additional info] {error}")?;
    }
    writeln!(out, "[info] {} keys read", counts.keys)?;
    writeln!(out, "[info] {} expires", counts.expires)?;
    writeln!(out, "[info] {} already expired", counts.expired)?;
    Ok(end.filter(|_| result.is_ok()))
}

/// Reads to the end; an error comes with what was being done.
fn read<R: io::BufRead>(
    reader: &mut Reader<R>,
    now: UnixMs,
    counts: &mut Counts,
    out: &mut dyn Write,
) -> io::Result<Result<(), (&'static str, Error)>> {
    loop {
        let item = match reader.next() {
            Ok(item) => item,
            Err(error @ Error::Checksum { .. }) => return Ok(Err(("check-sum", error))),
            Err(error) => return Ok(Err(("read-record", error))),
        };
        match item {
            Item::Entry(rdb::Entry { expire_at, .. }) => {
                counts.keys += 1;
                counts.expires += u64::from(expire_at.is_some());
                counts.expired += u64::from(expire_at.is_some_and(|at| at < now));
            }
            Item::EmptyKey { .. } => counts.keys += 1,
            Item::Aux { key, value } => {
                let (key, value) = (String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
                writeln!(out, "[offset {}] AUX FIELD {key} = '{value}'", reader.position())?;
            }
            Item::SelectDb(number) => writeln!(out, "[offset {}] Selecting DB ID {number}", reader.position())?,
            Item::Function(_) => writeln!(out, "[offset {}] Function library", reader.position())?,
            Item::ModuleAux(name) => writeln!(out, "[offset {}] MODULE AUX for: {name}", reader.position())?,
            Item::ResizeDb { .. } => {}
            Item::End { checksum } => {
                let at = reader.position();
                match checksum {
                    ChecksumResult::Verified => writeln!(out, "[offset {at}] Checksum OK")?,
                    ChecksumResult::Absent | ChecksumResult::Ignored => {
                        writeln!(out, "[offset {at}] RDB file was saved with checksum disabled: no check performed.")?;
                    }
                }
                writeln!(out, "[offset {at}] \\o/ RDB looks OK! \\o/")?;
                return Ok(Ok(()));
            }
        }
    }
}

/// What is wrong, in the words that scripts know where there are such.
pub(super) fn kind(error: &Error) -> String {
    match error {
        Error::Truncated { .. } => "Unexpected EOF reading RDB file".to_owned(),
        Error::Checksum { .. } => "RDB CRC error".to_owned(),
        Error::NotRdb { .. } => "Wrong signature trying to load DB from file".to_owned(),
        Error::Version { version, .. } => format!("Can't handle RDB format version {version}"),
        Error::UnknownType { byte, .. } => format!("Invalid object type: {byte}"),
        _ => "Internal error in RDB".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_formats::rdb::{Preamble, WriteOptions, Writer};
    use quorate_values::{StrRef, ValueRef};

    fn sample() -> Vec<u8> {
        let preamble = Preamble {
            redis_version: "7.2.4",
            created: UnixMs(1_700_000_000_000),
            used_memory: 1,
            replication: None,
            aof_base: false,
        };
        let mut writer = Writer::new(Vec::new(), WriteOptions::default(), &preamble);
        writer.select_db(3, 2, 1).unwrap();
        let text = ValueRef::Str(StrRef::Bytes(b"v"));
        writer.entry(b"a", text, Some(UnixMs(5)), None).unwrap();
        writer.entry(b"b", text, None, None).unwrap();
        writer.finish().unwrap()
    }

    fn said(bytes: &[u8]) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dump.rdb");
        std::fs::write(&path, bytes).unwrap();
        let mut out = Vec::new();
        let fine = check(&path, UnixMs(10), &mut out).unwrap();
        (fine, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_sound_file_is_described_with_offsets_and_counts() {
        let bytes = sample();
        let (fine, text) = said(&bytes);
        assert!(fine);
        assert!(text.contains("[offset 26] AUX FIELD redis-ver = '7.2.4'\n"), "{text}");
        assert!(text.contains("Selecting DB ID 3\n"), "{text}");
        assert!(text.contains(&format!("[offset {}] Checksum OK\n", bytes.len())), "{text}");
        assert!(text.ends_with("[info] 2 keys read\n[info] 1 expires\n[info] 1 already expired\n"), "{text}");
    }

    #[test]
    fn a_broken_file_is_refused_with_the_place() {
        let bytes = sample();
        for len in 0..bytes.len() {
            let (fine, text) = said(&bytes[..len]);
            assert!(!fine && text.contains("--- RDB ERROR DETECTED ---"), "{len}: {text}");
        }
        let mut wrong = bytes.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(said(&wrong).1.contains("RDB CRC error"));
    }
}
