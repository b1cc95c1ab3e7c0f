//! The log: what replicas, and everything else that follows the data, read.
//!
//! Writers append while they hold the slots of what they changed, so that the log's one order agrees
//! with the order of every slot. Bytes lie in shared blocks with absolute offsets; a reader has its own
//! offset and no copy. What is kept is bounded by the backlog's size and by the readers' positions;
//! the policy for a reader that falls behind (`client-output-buffer-limit`) is its owner's affair.
//!
//! With no backlog and no reader the log is off and costs one load a command.

mod block;
mod sync;

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use quorate_keyspace::Db;
use quorate_stdx::Offset;

use crate::block::Block;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

/// Small enough that a backlog of the least size is not mostly rounding, large enough that a block is rarely made. A model
/// has small ones, so that a few bytes cross their border.
const BLOCK: usize = if cfg!(loom) { 4 } else { 16 << 10 };

/// The log; see the module's text.
pub struct Feed {
    state: Mutex<State>,
    on: AtomicBool,
    end: AtomicU64,
}

struct State {
    blocks: VecDeque<Arc<Block>>,
    /// The offset behind the last byte.
    end: u64,
    /// How many bytes behind the end stay readable for a partial resync; `None` without a backlog.
    backlog: Option<u64>,
    /// The offset of the backlog's first byte when it was made: nothing before is there.
    origin: u64,
    readers: Vec<Arc<Position>>,
    /// The database that the stream's next command runs in; `None` forces a SELECT.
    db: Option<Db>,
    /// Whether what commands do here is appended; a replica passes its primary's stream on instead.
    leading: bool,
    /// What somebody wants to know about the bytes.
    notes: Option<Notes>,
}

/// Where the word begins in a SELECT, in the one form in which primaries send requests.
const WORD: usize = "*2\r\n$6\r\n".len();

/// What is kept in mind about bytes of the log.
#[derive(Debug, Default, PartialEq, Eq)]
struct Notes {
    /// Where those lie that change no data, in order.
    asides: VecDeque<Range<Offset>>,
    /// Where the word SELECT begins of each, in order.
    selects: VecDeque<Offset>,
}

/// How far a reader is; bytes behind it may be dropped.
pub struct Position(AtomicU64);

impl Position {
    /// The next byte that the reader wants.
    pub fn get(&self) -> Offset {
        Offset(self.0.load(Ordering::Acquire))
    }

    /// Moves on, or back to where bytes are certainly still there.
    pub fn set(&self, offset: Offset) {
        self.0.store(offset.0, Ordering::Release);
    }
}

/// A stretch of the log that stays readable while this is held.
pub struct Stretch {
    blocks: Vec<Arc<Block>>,
    from: u64,
    to: u64,
}

impl Stretch {
    /// The bytes, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.blocks.iter().map(|block| {
            let bytes = block.published();
            let start = self.from.saturating_sub(block.base()) as usize;
            let end = (self.to.saturating_sub(block.base()) as usize).min(bytes.len());
            &bytes[start.min(end)..end]
        })
    }

    /// Those of them between two offsets.
    pub fn slices_between(&self, range: Range<Offset>) -> impl Iterator<Item = &[u8]> {
        let (from, to) = (range.start.0.max(self.from), range.end.0.min(self.to));
        self.blocks.iter().map(move |block| {
            let bytes = block.published();
            let start = (from.saturating_sub(block.base()) as usize).min(bytes.len());
            let end = (to.saturating_sub(block.base()) as usize).min(bytes.len());
            &bytes[start..end.max(start)]
        })
    }

    /// Where it ends.
    pub fn end(&self) -> Offset {
        Offset(self.to)
    }

    /// The same for a vectored write.
    pub fn io_slices(&self) -> Vec<IoSlice<'_>> {
        self.slices().filter(|slice| !slice.is_empty()).map(IoSlice::new).collect()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        (self.to - self.from) as usize
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

impl Default for Feed {
    fn default() -> Feed {
        Feed {
            state: Mutex::new(State {
                blocks: VecDeque::new(),
                end: 0,
                backlog: None,
                origin: 0,
                readers: Vec::new(),
                db: None,
                leading: true,
                notes: None,
            }),
            on: AtomicBool::new(false),
            end: AtomicU64::new(0),
        }
    }
}

impl Feed {
    /// Whether the effects of commands are to be appended: somebody may want them, and they aren't
    /// those of our primary's stream.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// The offset behind the last byte.
    #[inline]
    pub fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// Appends one request that runs in `db`, with a SELECT in front if the stream is elsewhere. Returns
    /// the offset behind it.
    #[inline]
    pub fn append(&self, db: Db, request: &[u8]) -> Offset {
        let mut state = self.state.lock();
        state.select(db);
        state.push(request);
        self.publish(&state)
    }

    /// Appends several requests with nobody else's in between; as a transaction if there are several.
    /// Returns the offset behind them.
    pub fn append_all<'r>(&self, requests: impl ExactSizeIterator<Item = (Db, &'r [u8])>) -> Offset {
        let mut state = self.state.lock();
        let transaction = requests.len() > 1;
        for (index, (db, request)) in requests.enumerate() {
            state.select(db);
            if transaction && index == 0 {
                state.push(b"*1\r\n$5\r\nMULTI\r\n");
            }
            state.push(request);
        }
        if transaction {
            state.push(b"*1\r\n$4\r\nEXEC\r\n");
        }
        self.publish(&state)
    }

    /// Appends bytes as they are: those of our primary's stream, or requests that need no database.
    pub fn append_raw(&self, bytes: &[u8]) -> Offset {
        let mut state = self.state.lock();
        state.push(bytes);
        self.publish(&state)
    }

    /// As [`Feed::append_raw`], for requests among which are SELECTs, which begin behind so many bytes each.
    pub fn append_selecting(&self, bytes: &[u8], selects: &[usize]) -> Offset {
        let mut state = self.state.lock();
        let from = Offset(state.end);
        state.push(bytes);
        if let Some(notes) = &mut state.notes {
            notes.selects.extend(selects.iter().map(|&start| from.advance(start + WORD)));
        }
        self.publish(&state)
    }

    /// As [`Feed::append_raw`], for what followers of the stream have to hear and what changes no data.
    pub fn append_aside(&self, bytes: &[u8]) -> Offset {
        let mut state = self.state.lock();
        let from = Offset(state.end);
        state.push(bytes);
        let to = Offset(state.end);
        if let Some(Notes { asides, .. }) = &mut state.notes {
            match asides.back_mut() {
                Some(last) if last.end == from => last.end = to,
                _ => asides.push_back(from..to),
            }
        }
        self.publish(&state)
    }

    /// From now on it is kept in mind, or not, where [`Feed::append_aside`] has put something, and where SELECTs are.
    pub fn keep_notes(&self, keeps: bool) {
        self.state.lock().notes = keeps.then(Notes::default);
    }

    /// Where the words SELECT begin, before `upto`; each is told once.
    pub fn take_selects(&self, upto: Offset) -> Vec<Offset> {
        let mut state = self.state.lock();
        let Some(Notes { selects, .. }) = &mut state.notes else { return Vec::new() };
        let count = selects.partition_point(|word| *word < upto);
        selects.drain(..count).collect()
    }

    /// Where what changes no data lies, before `upto`; each is told once.
    pub fn take_asides(&self, upto: Offset) -> Vec<Range<Offset>> {
        let mut state = self.state.lock();
        let Some(Notes { asides, .. }) = &mut state.notes else { return Vec::new() };
        let count = asides.partition_point(|aside| aside.end <= upto);
        let mut taken: Vec<_> = asides.drain(..count).collect();
        if let Some(next) = asides.front_mut()
            && next.start < upto
        {
            taken.push(next.start..upto);
            next.start = upto;
        }
        taken
    }

    fn publish(&self, state: &State) -> Offset {
        self.end.store(state.end, Ordering::Release);
        Offset(state.end)
    }

    fn switch(&self, state: &State) {
        let wanted = state.backlog.is_some() || !state.readers.is_empty();
        self.on.store(state.leading && wanted, Ordering::Relaxed);
    }

    /// Says whether effects of commands are appended (a primary), or only what [`Feed::append_raw`] gets.
    /// The stream of a new primary begins with a SELECT.
    pub fn set_leading(&self, leading: bool) {
        let mut state = self.state.lock();
        state.leading = leading;
        state.db = None;
        self.switch(&state);
    }

    /// Another history begins at `at`, with a backlog of `bytes`; what was there is gone.
    pub fn open(&self, at: Offset, bytes: u64) {
        self.restart_at(at);
        self.set_backlog(bytes);
    }

    /// As [`Feed::open`], with what lies before `at`, as far as it is known.
    pub fn open_behind(&self, at: Offset, before: &[u8], bytes: u64) {
        self.open(Offset(at.0.saturating_sub(before.len() as u64)), bytes.max(before.len() as u64));
        self.append_raw(before);
        self.set_backlog(bytes);
    }

    /// Nothing is kept any more, and nothing that was can be read. The offset stays.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.backlog = None;
        state.readers.clear();
        state.blocks.clear();
        state.origin = state.end;
        self.switch(&state);
    }

    /// Lets the next request start with a SELECT: who begins to read here knows no database.
    pub fn force_select(&self) {
        self.state.lock().db = None;
    }

    /// The database of the stream's next command, if one was selected.
    pub fn selected(&self) -> Option<Db> {
        self.state.lock().db
    }

    /// Makes a backlog of `bytes`, or resizes the one that is there.
    pub fn set_backlog(&self, bytes: u64) {
        let mut state = self.state.lock();
        if state.backlog.is_none() {
            state.origin = state.end;
        }
        state.backlog = Some(bytes);
        state.trim();
        self.switch(&state);
    }

    /// The offsets that can be read for a partial resync; `None` without a backlog.
    pub fn backlog(&self) -> Option<Range<Offset>> {
        let state = self.state.lock();
        state.backlog.map(|_| Offset(state.first())..Offset(state.end))
    }

    /// The size of the backlog, or the size that it would have.
    pub fn backlog_size(&self) -> u64 {
        self.state.lock().backlog.unwrap_or_default()
    }

    /// Bytes held in memory.
    pub fn heap_bytes(&self) -> usize {
        self.state.lock().heap_bytes()
    }

    /// Bytes held in memory for readers beyond what the backlog needs: they don't count for `maxmemory`.
    pub fn excess_bytes(&self) -> u64 {
        if !self.is_on() {
            return 0;
        }
        let state = self.state.lock();
        (state.heap_bytes() as u64).saturating_sub(state.backlog.unwrap_or(0))
    }

    /// Starts over at `offset`, with nothing to read before it: another history begins.
    pub fn restart_at(&self, offset: Offset) {
        let mut state = self.state.lock();
        state.blocks.clear();
        state.end = offset.0;
        state.origin = offset.0;
        state.db = None;
        if let Some(notes) = &mut state.notes {
            *notes = Notes::default();
        }
        for reader in &state.readers {
            reader.set(offset);
        }
        self.publish(&state);
    }

    /// A reader from `from` on, which must be readable still.
    pub fn read_from(&self, from: Offset) -> Option<Arc<Position>> {
        let mut state = self.state.lock();
        if from.0 > state.end || (from.0 < state.end && from.0 < state.kept()) {
            return None;
        }
        let position = Arc::new(Position(AtomicU64::new(from.0)));
        state.readers.push(Arc::clone(&position));
        self.switch(&state);
        Some(position)
    }

    /// Ends a reader.
    pub fn forget(&self, position: &Arc<Position>) {
        let mut state = self.state.lock();
        state.readers.retain(|other| !Arc::ptr_eq(other, position));
        state.trim();
        self.switch(&state);
    }

    /// At most about `most` bytes from the reader's position on; none if it was forgotten and what it wants is gone.
    pub fn stretch(&self, position: &Position, most: usize) -> Stretch {
        self.stretch_from(position.get(), most)
    }

    /// The same from `from` on, which is not before where some reader is.
    pub fn stretch_from(&self, from: Offset, most: usize) -> Stretch {
        let state = self.state.lock();
        let from = from.0;
        if from < state.kept() || from > state.end {
            return Stretch { blocks: Vec::new(), from, to: from };
        }
        let to = state.end.min(from.saturating_add(most as u64));
        let first = state.blocks.partition_point(|block| block.end() <= from);
        let blocks = state.blocks.range(first..).take_while(|block| block.base() < to).cloned().collect();
        Stretch { blocks, from, to }
    }
}

impl State {
    /// Bytes held in memory, those of the blocks' own records included.
    fn heap_bytes(&self) -> usize {
        // An `Arc` counts its owners in two words.
        let block = BLOCK + size_of::<Block>() + 2 * size_of::<usize>();
        self.blocks.len() * block + self.blocks.capacity() * size_of::<Arc<Block>>()
    }

    fn select(&mut self, db: Db) {
        if self.db == Some(db) {
            return;
        }
        self.db = Some(db);
        let number = db.0.to_string();
        if let Some(notes) = &mut self.notes {
            notes.selects.push_back(Offset(self.end).advance(WORD));
        }
        self.push(format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{number}\r\n", number.len()).as_bytes());
    }

    fn push(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        loop {
            if let Some(block) = self.blocks.back() {
                // SAFETY: `&mut self` is reached through the log's lock only.
                bytes = unsafe { block.append(bytes) };
                if bytes.is_empty() {
                    return;
                }
            }
            let base = self.end - bytes.len() as u64;
            self.blocks.push_back(Arc::new(Block::new(base, BLOCK)));
            self.trim();
        }
    }

    /// The first offset from which everything can be read: the backlog's size ago, or further back if a reader
    /// has not come so far. What is kept for one is there for all.
    fn first(&self) -> u64 {
        match self.backlog {
            Some(size) => self.end.saturating_sub(size).min(self.slowest()).max(self.origin),
            None => self.end,
        }
    }

    /// Where the reader is that is furthest behind.
    fn slowest(&self) -> u64 {
        self.readers.iter().map(|reader| reader.get().0).min().unwrap_or(u64::MAX)
    }

    /// The first offset whose byte is in a block.
    fn kept(&self) -> u64 {
        self.blocks.front().map_or(self.end, |block| block.base())
    }

    fn trim(&mut self) {
        let needed = self.first().min(self.slowest());
        while self.blocks.len() > 1 && self.blocks[0].end() <= needed {
            self.blocks.pop_front();
        }
        if self.backlog.is_none() && self.readers.is_empty() {
            self.blocks.clear();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn read_all(feed: &Feed, position: &Position) -> Vec<u8> {
        feed.stretch(position, usize::MAX).slices().flatten().copied().collect()
    }

    #[test]
    fn a_reader_sees_what_was_appended_with_the_database_in_front() {
        let feed = Feed::default();
        assert!(!feed.is_on());
        let position = feed.read_from(Offset(0)).unwrap();
        feed.append(Db(0), b"A");
        feed.append(Db(0), b"B");
        feed.append_all([(Db(11), &b"C"[..]), (Db(11), &b"D"[..])].into_iter());
        let expected = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\nAB*2\r\n$6\r\nSELECT\r\n$2\r\n11\r\n*1\r\n$5\r\nMULTI\r\nCD*1\r\n$4\r\nEXEC\r\n";
        assert_eq!(read_all(&feed, &position), expected);
        assert_eq!(feed.end(), Offset(expected.len() as u64));
    }

    #[test]
    fn the_backlog_is_bounded_and_says_where_it_starts() {
        let feed = Feed::default();
        feed.set_backlog(100_000);
        for _ in 0..1000 {
            feed.append_raw(&[7; 1000]);
        }
        assert_eq!(feed.backlog(), Some(Offset(900_000)..Offset(1_000_000)));
        assert!(feed.heap_bytes() <= 100_000 + 2 * BLOCK);
        assert!(feed.read_from(Offset(700_000)).is_none());
        let position = feed.read_from(Offset(900_000)).unwrap();
        assert_eq!(read_all(&feed, &position).len(), 100_000);
    }

    #[test]
    fn a_slow_reader_keeps_its_bytes_until_it_is_forgotten() {
        let feed = Feed::default();
        feed.set_backlog(1000);
        let position = feed.read_from(Offset(0)).unwrap();
        for number in 0..=255u8 {
            feed.append_raw(&[number; 4096]);
        }
        let bytes = read_all(&feed, &position);
        assert_eq!(bytes.len(), 256 * 4096);
        assert!(bytes.chunks(4096).enumerate().all(|(number, chunk)| chunk.iter().all(|&byte| byte == number as u8)));
        let start = |feed: &Feed| feed.backlog().unwrap().start;
        assert_eq!(start(&feed), Offset(0), "what is kept for one reader is there for all");
        feed.forget(&position);
        assert!(feed.heap_bytes() <= 2 * BLOCK);
        assert_eq!(start(&feed), Offset(256 * 4096 - 1000));
    }

    #[test]
    fn a_reader_that_was_forgotten_gets_nothing_rather_than_later_bytes() {
        let feed = Feed::default();
        feed.set_backlog(1000);
        let position = feed.read_from(Offset(0)).unwrap();
        feed.forget(&position);
        feed.append_raw(&vec![1; 10 * BLOCK]);
        assert!(feed.stretch(&position, 100).is_empty());
        feed.restart_at(Offset(5));
        position.set(Offset(10 * BLOCK as u64));
        assert!(feed.stretch(&position, 100).is_empty());
    }

    #[test]
    fn another_history_starts_with_nothing_to_read() {
        let feed = Feed::default();
        feed.set_backlog(1000);
        feed.append_raw(b"old");
        feed.restart_at(Offset(5000));
        assert_eq!(feed.backlog(), Some(Offset(5000)..Offset(5000)));
        assert!(feed.read_from(Offset(4999)).is_none());
        let position = feed.read_from(Offset(5000)).unwrap();
        feed.append_raw(b"new");
        assert_eq!(read_all(&feed, &position), b"new");
    }

    #[test]
    fn what_was_before_can_be_read_by_those_who_lack_it() {
        let feed = Feed::default();
        feed.open_behind(Offset(1000), b"the last of it", 1 << 20);
        assert_eq!(feed.backlog(), Some(Offset(986)..Offset(1000)));
        let position = feed.read_from(Offset(990)).unwrap();
        feed.append_raw(b"!");
        assert_eq!(read_all(&feed, &position), b"last of it!");
    }

    #[test]
    fn what_changes_no_data_can_be_left_out() {
        let feed = Feed::default();
        let position = feed.read_from(Offset(0)).unwrap();
        feed.append_aside(b"before anybody asks");
        position.set(feed.end());
        feed.keep_notes(true);
        let begin = feed.end();
        feed.append_raw(b"aa");
        feed.append_aside(b"-");
        feed.append_aside(b"--");
        feed.append_raw(&vec![b'b'; BLOCK]);
        feed.append_aside(b"----");
        let stretch = feed.stretch(&position, usize::MAX);
        let end = stretch.end();
        assert_eq!(feed.take_asides(begin.advance(3)), [begin.advance(2)..begin.advance(3)]);
        let rest = feed.take_asides(end);
        assert_eq!(rest, [begin.advance(3)..begin.advance(5), begin.advance(5 + BLOCK)..end]);
        let kept = stretch.slices_between(rest[0].end..rest[1].start).flatten();
        assert!(kept.copied().eq(std::iter::repeat_n(b'b', BLOCK)));
        feed.append_aside(b"gone");
        feed.restart_at(Offset(7));
        assert_eq!(feed.take_asides(Offset(1 << 40)), []);
    }

    #[test]
    fn it_is_known_where_selects_are() {
        let feed = Feed::default();
        feed.set_backlog(1 << 20);
        feed.append(Db(1), b"before anybody asks");
        feed.keep_notes(true);
        feed.append(Db(1), b"the same database");
        let first = feed.end().advance(WORD);
        feed.append(Db(2), b"!");
        let from = feed.append_raw(b"raw");
        feed.append_selecting(b"*2\r\n$6\r\nSELECT-SET-*2\r\n$6\r\nSELECT-SET", &[0, 19]);
        assert_eq!(feed.take_selects(from.advance(19)), [first, from.advance(8)]);
        assert_eq!(feed.take_selects(feed.end()), [from.advance(27)]);
        feed.append(Db(3), b"gone");
        feed.restart_at(Offset(7));
        assert_eq!(feed.take_selects(Offset(1 << 40)), []);
    }

    #[test]
    fn a_stretch_stays_readable_while_the_log_moves_on() {
        let feed = Feed::default();
        let position = feed.read_from(Offset(0)).unwrap();
        feed.append_raw(&[1; 100]);
        let stretch = feed.stretch(&position, 60);
        assert_eq!((stretch.len(), stretch.is_empty()), (60, false));
        position.set(Offset(100));
        feed.append_raw(&vec![2; 10 * BLOCK]);
        assert_eq!(stretch.io_slices().iter().map(|slice| slice.len()).sum::<usize>(), 60);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::thread;

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    fn read(feed: &Feed, position: &Position) -> Vec<u8> {
        feed.stretch(position, usize::MAX).slices().flatten().copied().collect()
    }

    #[test]
    fn a_reader_sees_whole_requests_in_their_order_while_the_writer_goes_on() {
        check(|| {
            let feed = Arc::new(Feed::default());
            let position = feed.read_from(Offset(0)).unwrap();
            let writer = {
                let feed = Arc::clone(&feed);
                // Together they are longer than a block.
                thread::spawn(move || {
                    feed.append_raw(b"abc");
                    feed.append_raw(b"def");
                })
            };
            let first = read(&feed, &position);
            assert!([&b""[..], b"abc", b"abcdef"].contains(&first.as_slice()), "{first:?}");
            position.set(Offset(first.len() as u64));
            writer.join().unwrap();
            assert_eq!([first, read(&feed, &position)].concat(), b"abcdef");
        });
    }

    #[test]
    fn what_the_logs_end_promises_can_be_read() {
        check(|| {
            let feed = Arc::new(Feed::default());
            let position = feed.read_from(Offset(0)).unwrap();
            let writer = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || feed.append_raw(b"abcdef"))
            };
            let end = feed.end();
            assert!(read(&feed, &position).len() as u64 >= end.0);
            writer.join().unwrap();
        });
    }

    #[test]
    fn a_stretch_outlives_the_room_that_its_reader_gives_back() {
        check(|| {
            let feed = Arc::new(Feed::default());
            let position = feed.read_from(Offset(0)).unwrap();
            feed.append_raw(b"abcde");
            let stretch = feed.stretch(&position, usize::MAX);
            position.set(Offset(5));
            let writer = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || feed.append_raw(b"fghij"))
            };
            assert_eq!(stretch.slices().flatten().copied().collect::<Vec<u8>>(), b"abcde");
            writer.join().unwrap();
            assert_eq!(read(&feed, &position), b"fghij");
        });
    }

    #[test]
    fn two_writers_requests_do_not_mingle() {
        check(|| {
            let feed = Arc::new(Feed::default());
            let position = feed.read_from(Offset(0)).unwrap();
            let writer = {
                let feed = Arc::clone(&feed);
                thread::spawn(move || feed.append_raw(b"aaa"))
            };
            feed.append_raw(b"bbb");
            writer.join().unwrap();
            let all = read(&feed, &position);
            assert!([b"aaabbb", b"bbbaaa"].contains(&all.as_slice().try_into().unwrap()), "{all:?}");
        });
    }
}
