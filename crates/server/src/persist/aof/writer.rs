//! The log into the last increment.
//!
//! A write begins and ends between two requests, and is undone if it fails: so the file always ends with a whole
//! request, unless the machine stops in the midst of it.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::ops::Range;
use std::sync::Arc;

use quorate_feed::{Feed, Position, Stretch};
use quorate_formats::aof::{Annotation, SELECT};
use quorate_stdx::{Offset, ReplId, UnixMs};

/// How much of the log is written at once.
const PIECE: usize = 1 << 20;
/// How many slices a call to the kernel has at most.
const SLICES: usize = 64;

/// A file that follows the log.
pub(super) struct Writer {
    file: Arc<File>,
    /// How far it has come in the log.
    position: Arc<Position>,
    /// The file's length.
    size: u64,
    /// The lengths of all files before it.
    size_before: u64,
    /// What is to be written before the next request.
    head: Vec<u8>,
    /// Bytes of the log that were left out since the last request.
    skipped: u64,
    /// What is to be left out, as far as that is known.
    asides: Vec<Range<Offset>>,
    /// Where the word SELECT begins, as far as that is known.
    selects: Vec<Offset>,
    /// The second that the last time in the file names.
    noted_second: i64,
    /// Whether the file knows where in a history it is.
    has_position: bool,
    /// Whether bytes of a write that failed may be at its end.
    torn: bool,
    /// Files before this one that the disk may not have.
    retired: Vec<Arc<File>>,
}

impl Writer {
    /// Follows the log from its end on, in `file`, which has `size` bytes.
    pub(super) fn new(feed: &Feed, file: File, size: u64, size_before: u64) -> Writer {
        let position = feed.read_from(feed.end()).expect("the log's end can be read from");
        feed.keep_notes(true);
        Writer {
            file: Arc::new(file),
            position,
            size,
            size_before,
            head: Vec::new(),
            skipped: 0,
            asides: Vec::new(),
            selects: Vec::new(),
            noted_second: 0,
            has_position: false,
            torn: false,
            retired: Vec::new(),
        }
    }

    /// Goes on in another file, which is empty, from here on: a base has been begun that holds all before.
    pub(super) fn switch(&mut self, file: File, has_position: bool) {
        let before = std::mem::replace(&mut self.file, Arc::new(file));
        self.retired.push(before);
        self.size_before += std::mem::take(&mut self.size);
        self.head.clear();
        (self.skipped, self.noted_second, self.torn) = (0, 0, false);
        self.has_position = has_position;
    }

    /// The base that it is behind has `size` bytes now.
    pub(super) fn rebased(&mut self, size: u64) {
        self.size_before = size;
    }

    /// The log runs in this database, which a new file does not know.
    pub(super) fn select(&mut self, db: u16, position: Option<(ReplId, Offset)>) {
        let number = db.to_string();
        quorate_resp::encode_request(&mut self.head, &[SELECT.as_slice(), number.as_bytes()]);
        // The request is not the history's.
        self.note_position(position);
    }

    /// What comes next is at this point of a history.
    pub(super) fn note_position(&mut self, position: Option<(ReplId, Offset)>) {
        if let Some((id, offset)) = position.filter(|_| self.has_position) {
            self.skipped = 0;
            Annotation::Position(id, offset).write(&mut self.head);
        }
    }

    /// It knows where in a history it is.
    pub(super) fn has_position(&mut self) {
        self.has_position = true;
    }

    /// The log has begun anew.
    pub(super) fn restart(&mut self, feed: &Feed, position: Option<(ReplId, Offset)>) {
        self.asides.clear();
        self.selects.clear();
        feed.forget(&self.position);
        self.position = feed.read_from(feed.end()).expect("the log's end can be read from");
        self.note_position(position);
    }

    /// Follows the log no longer.
    pub(super) fn end(self, feed: &Feed) {
        feed.forget(&self.position);
    }

    /// Whether its file is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// How far it has come in the log.
    pub(super) fn upto(&self) -> Offset {
        self.position.get()
    }

    /// The length of all files together.
    pub(super) fn total_size(&self) -> u64 {
        self.size_before + self.size
    }

    /// The files that the disk may not have all of.
    pub(super) fn unsynced(&self) -> Vec<Arc<File>> {
        self.retired.iter().chain([&self.file]).cloned().collect()
    }

    /// The disk has these.
    pub(super) fn synced(&mut self, files: &[Arc<File>]) {
        self.retired.retain(|retired| !files.iter().any(|file| Arc::ptr_eq(file, retired)));
    }

    /// Writes to another file for a while; the one that it wrote to.
    #[cfg(test)]
    pub(super) fn exchange_file(&mut self, file: File) -> Arc<File> {
        std::mem::replace(&mut self.file, Arc::new(file))
    }

    #[cfg(test)]
    pub(super) fn put_file_back(&mut self, file: Arc<File>) {
        self.file = file;
    }

    /// Writes all that the log has; `now` if the time is to be noted.
    pub(super) fn write(&mut self, feed: &Feed, now: Option<UnixMs>) -> io::Result<()> {
        if self.position.get() == feed.end() && self.head.is_empty() {
            return Ok(());
        }
        if self.torn {
            self.file.set_len(self.size)?;
            self.torn = false;
        }
        let before = (self.size, self.head.clone(), self.skipped, self.noted_second);
        match self.write_all(feed, now) {
            Ok(upto) => {
                self.asides.retain(|aside| aside.end > upto);
                self.selects.retain(|word| *word >= upto);
                self.position.set(upto);
                Ok(())
            }
            Err(error) => {
                (self.size, self.head, self.skipped, self.noted_second) = before;
                self.torn = self.file.set_len(self.size).is_err();
                Err(error)
            }
        }
    }

    fn write_all(&mut self, feed: &Feed, now: Option<UnixMs>) -> io::Result<Offset> {
        let mut at = self.position.get();
        loop {
            let stretch = feed.stretch_from(at, PIECE);
            if stretch.is_empty() {
                if self.skipped > 0 || !self.head.is_empty() {
                    // Where the history is has to be known also if nothing follows.
                    self.put(&[], None)?;
                }
                return Ok(at);
            }
            let end = stretch.end();
            self.asides.extend(feed.take_asides(end));
            self.selects.extend(feed.take_selects(end));
            let asides: Vec<Range<Offset>> = self.asides.iter().filter(|aside| aside.end > at).cloned().collect();
            for aside in asides.iter().filter(|aside| aside.start < end) {
                if aside.start > at {
                    self.put(&self.marked(&stretch, at..aside.start), now)?;
                }
                let from = aside.start.max(at);
                at = aside.end.min(end);
                self.skipped += at.0 - from.0;
            }
            if at < end {
                self.put(&self.marked(&stretch, at..end), now)?;
                at = end;
            }
        }
    }

    /// Requests as the file is to have them, with each SELECT spelled as ours.
    fn marked<'s>(&self, stretch: &'s Stretch, range: Range<Offset>) -> Vec<&'s [u8]> {
        let mut slices = Vec::new();
        let mut at = range.start;
        for &word in &self.selects {
            // A stretch may end within the word.
            let (from, to) = (word.max(at), word.advance(SELECT.len()).min(range.end));
            if from < to {
                slices.extend(stretch.slices_between(at..from));
                slices.push(&SELECT[(from.0 - word.0) as usize..(to.0 - word.0) as usize]);
                at = to;
            }
        }
        slices.extend(stretch.slices_between(at..range.end));
        slices
    }

    /// Writes requests, with what has to stand before them.
    fn put(&mut self, requests: &[&[u8]], now: Option<UnixMs>) -> io::Result<()> {
        if self.skipped > 0 {
            if self.has_position {
                Annotation::Skipped(self.skipped).write(&mut self.head);
            }
            self.skipped = 0;
        }
        if let Some(now) = now
            && now.seconds() > self.noted_second
        {
            self.noted_second = now.seconds();
            Annotation::Time(self.noted_second).write(&mut self.head);
        }
        let head = std::mem::take(&mut self.head);
        let mut slices: Vec<&[u8]> = Vec::with_capacity(requests.len() + 1);
        slices.push(&head);
        slices.extend_from_slice(requests);
        slices.retain(|slice| !slice.is_empty());
        for some in slices.chunks(SLICES) {
            let mut left: Vec<IoSlice<'_>> = some.iter().map(|slice| IoSlice::new(slice)).collect();
            let mut left = left.as_mut_slice();
            while !left.is_empty() {
                match (&*self.file).write_vectored(left) {
                    Ok(0) => return Err(ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        self.size += count as u64;
                        IoSlice::advance_slices(&mut left, count);
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
