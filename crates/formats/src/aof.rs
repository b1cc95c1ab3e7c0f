//! The append-only file, which is several: a manifest names a *base* (the dataset at one moment) and *increments* (what
//! was done since, in order).
//!
//! - [`Manifest`]: which files there are and what each is for.
//! - [`Reader`]: the requests of one file, and where each ends.
//!
//! A file holds requests as they are sent, and lines that begin with `#`: annotations. Redis writes `#TS:`, a time, and
//! passes over all others. Two are ours, and tell where in a replication history a file's requests are. That begins at
//! the point that the base names, and each byte of a request moves it on by one:
//!
//! - `#SKIP:n`: the history has `n` bytes here that change no data, and the file has none of them.
//! - `#REPL:id:n`: from here on the history is called `id`, and `n` bytes of it lie before.
//!
//! SELECT is spelled [`SELECT`] in a file of ours. A server that goes on with a file that it did not begin always selects a
//! database first: so a SELECT in capitals is where another server, which knows nothing of the history, has written to the
//! file, and where the file stops telling about it.

mod manifest;
mod reader;

use std::ops::Range;

use quorate_stdx::{Offset, ReplId};

pub use manifest::{Manifest, ManifestError, Part};
pub use reader::{Error, Item, Reader};

/// How a SELECT of the history is spelled.
pub const SELECT: &[u8; 6] = b"select";

/// What an annotation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotation {
    /// The time at which what follows was done, seconds since the epoch.
    Time(i64),
    /// So many bytes of the history are left out here.
    Skipped(u64),
    /// The history's name from here on, and its offset.
    Position(ReplId, Offset),
    /// None of these: it means nothing to us.
    Other,
}

impl Annotation {
    /// What `line` says, which begins with `#` and has lost its end.
    pub fn parse(line: &[u8]) -> Annotation {
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
        if let Some(time) = line.strip_prefix(b"#TS:") {
            return number(time).and_then(|time| i64::try_from(time).ok()).map_or(Annotation::Other, Annotation::Time);
        }
        if let Some(bytes) = line.strip_prefix(b"#SKIP:") {
            return number(bytes).map_or(Annotation::Other, Annotation::Skipped);
        }
        let Some(position) = line.strip_prefix(b"#REPL:") else { return Annotation::Other };
        let Some((id, offset)) = position.split_at_checked(40) else { return Annotation::Other };
        match (ReplId::parse(id), offset.strip_prefix(b":").and_then(number)) {
            (Some(id), Some(offset)) => Annotation::Position(id, Offset(offset)),
            _ => Annotation::Other,
        }
    }

    /// Appends the line; nothing for one that means nothing.
    pub fn write(self, out: &mut Vec<u8>) {
        let line = match self {
            Annotation::Time(seconds) => format!("#TS:{seconds}\r\n"),
            Annotation::Skipped(bytes) => format!("#SKIP:{bytes}\r\n"),
            Annotation::Position(id, offset) => format!("#REPL:{id}:{offset}\r\n"),
            Annotation::Other => return,
        };
        out.extend_from_slice(line.as_bytes());
    }
}

/// One request of a file: its bytes, and where in them its words are.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    bytes: &'r [u8],
    words: &'r [Range<usize>],
}

impl<'r> Request<'r> {
    /// The request as it is in the file.
    pub fn bytes(&self) -> &'r [u8] {
        self.bytes
    }

    /// Its words, of which there is at least one.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &'r [u8]> + use<'r> {
        let bytes = self.bytes;
        self.words.iter().map(move |word| &bytes[word.clone()])
    }

    /// Whether its first word is `name`, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.words().next().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_say_again_what_was_written() {
        let id = ReplId::parse(&[b'a'; 40]).unwrap();
        for said in [Annotation::Time(7), Annotation::Skipped(12), Annotation::Position(id, Offset(u64::MAX))] {
            let mut line = Vec::new();
            said.write(&mut line);
            let line = line.strip_suffix(b"\r\n").unwrap();
            assert_eq!(Annotation::parse(line), said);
        }
        for strange in [&b"#"[..], b"#TS:", b"#TS:-1", b"#SKIP:x", b"#REPL:abc", b"#REPL:", b"# a remark"] {
            assert_eq!(Annotation::parse(strange), Annotation::Other);
        }
    }
}
