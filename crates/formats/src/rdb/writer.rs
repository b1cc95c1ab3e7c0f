//! Writing a file: records behind each other, and the checksum over them.

use std::io::{self, Write};

use quorate_stdx::UnixMs;
use quorate_values::ValueRef;

use super::Access;
use super::record::{
    Preamble, WriteOptions, write_aux, write_end, write_entry, write_function, write_header, write_preamble,
    write_resize_db, write_select_db,
};
use crate::crc64::Digest;

/// Pending bytes that are worth a call of the output.
const FLUSH_AT: usize = 64 * 1024;

/// Writes a file, record by record.
///
/// What is written reaches the output in pieces of some 64 KiB. After an error the file is broken, and
/// the writer is of no further use.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    options: WriteOptions,
    /// Records that have yet to go through the checksum and out.
    pending: Vec<u8>,
    /// Of what has gone out.
    digest: Option<Digest>,
    /// Bytes that have gone out.
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file with its header and, so that it can't be forgotten, its preamble.
    pub fn new(output: W, options: WriteOptions, preamble: &Preamble<'_>) -> Writer<W> {
        let mut pending = Vec::with_capacity(FLUSH_AT + FLUSH_AT / 4);
        write_header(&mut pending, options.version);
        write_preamble(&mut pending, preamble);
        Writer { output, options, pending, digest: options.checksum.then(Digest::new), written: 0 }
    }

    /// How many bytes the file has so far, those that have yet to go out included.
    pub fn position(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Writes a note beyond those of the preamble.
    pub fn aux(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        write_aux(&mut self.pending, name, value);
        self.flush_if_worth()
    }

    /// Writes the source code of a library of functions.
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        write_function(&mut self.pending, code, &self.options);
        self.flush_if_worth()
    }

    /// Switches to a database of `keys` keys, `expires` of which expire. The figures are hints; a reader
    /// makes room after them.
    pub fn select_db(&mut self, number: u32, keys: u64, expires: u64) -> io::Result<()> {
        write_select_db(&mut self.pending, number);
        write_resize_db(&mut self.pending, keys, expires);
        self.flush_if_worth()
    }

    /// Writes a key, its value and what is known about it.
    pub fn entry(
        &mut self,
        key: &[u8],
        value: ValueRef<'_>,
        expire_at: Option<UnixMs>,
        access: Option<Access>,
    ) -> io::Result<()> {
        write_entry(&mut self.pending, key, value, expire_at, access, &self.options);
        self.flush_if_worth()
    }

    /// Writes whole records that were made elsewhere, by the functions beside this type and with the
    /// same options.
    pub fn records(&mut self, records: &[u8]) -> io::Result<()> {
        if self.pending.len() + records.len() <= FLUSH_AT {
            self.pending.extend_from_slice(records);
            return Ok(());
        }
        self.flush_pending()?;
        self.put(records)
    }

    /// Ends the file, flushes the output and hands it back.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_pending()?;
        write_end(&mut self.pending, self.digest.take());
        self.flush_pending()?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn flush_if_worth(&mut self) -> io::Result<()> {
        if self.pending.len() < FLUSH_AT { Ok(()) } else { self.flush_pending() }
    }

    fn flush_pending(&mut self) -> io::Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        self.put(&pending)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        self.output.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }
}
