//! A look ahead at requests that came together: they are found, and the keys that they seem to name are fetched into the
//! cache, all at the same time, while a request that is run alone would wait for each of its own.
//!
//! Which word is a key is a guess: the first argument is taken for it, which it is in nearly all commands. Nothing
//! depends on the guess but speed. What is no request of the usual kind is left to the parser.

use quorate_keyspace::{Db, Place};
use quorate_resp::{Span, find_whole};
use smallvec::SmallVec;

/// Requests that are looked at together: enough to hide one wait for memory, few enough to stay in the nearest cache.
pub(super) const TOGETHER: usize = 16;

/// The words of a request.
pub(super) type Words<'a> = SmallVec<[&'a [u8]; 8]>;

/// Requests that were found in bytes that have come, and none of which was run.
#[derive(Default)]
pub(super) struct Ahead {
    requests: Vec<Foreseen>,
    /// Where their words are, of one request after the other.
    spans: Vec<Span>,
    /// The next one to be run.
    next: usize,
}

struct Foreseen {
    /// Where it stands.
    at: usize,
    len: usize,
    /// Its words among the spans, which are relative to where it stands.
    first: u32,
    behind: u32,
    /// Where its first argument belongs if that is a key.
    place: Option<Place>,
}

/// The next request to be run.
#[derive(Clone, Copy)]
pub(super) struct Next<'a> {
    /// The request as it came.
    pub(super) raw: &'a [u8],
    /// Where its words are in it.
    spans: &'a [Span],
    /// Where its first argument belongs if that is a key of the database that was selected when it was foreseen.
    pub(super) place: Option<Place>,
}

impl<'a> Next<'a> {
    /// Its words.
    pub(super) fn words(&self) -> Words<'a> {
        self.spans.iter().map(|&span| word(span, self.raw)).collect()
    }

    /// How many they are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Writes its words to the beginning of `words`, which has to be long enough.
    #[inline]
    pub(super) fn write_to(&self, words: &mut [&'a [u8]]) {
        for (to, &span) in words.iter_mut().zip(self.spans) {
            *to = word(span, self.raw);
        }
    }
}

impl Ahead {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.spans.clear();
        self.next = 0;
    }

    /// Whether no request is left.
    #[inline]
    pub(super) fn is_at_end(&self) -> bool {
        self.next == self.requests.len()
    }

    /// Whether it takes no more requests.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() == TOGETHER
    }

    /// Finds requests in `input`, from `at` on, as many as it has room for, and says of each where it seems to belong.
    pub(super) fn find(&mut self, db: Db, input: &[u8], mut at: usize, each: impl Fn(Place)) {
        while !self.is_full() {
            let first = self.spans.len();
            let Some(len) = find_whole(&input[at..], &mut self.spans) else { return };
            let place = self.spans.get(first + 1).map(|&key| Place::of(db, word(key, &input[at..])));
            if let Some(place) = place {
                each(place);
            }
            // There are few requests, of few words.
            let (first, behind) = (first as u32, self.spans.len() as u32);
            self.requests.push(Foreseen { at, len, first, behind, place });
            at += len;
        }
    }

    /// Where the keys of the requests that are left seem to belong; nothing if that is only one, which does not gain
    /// from being fetched a moment earlier.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + '_ {
        let left = &self.requests[self.next..];
        let left = if left.len() > 1 { left } else { &[] };
        left.iter().filter_map(|request| request.place)
    }

    /// The next request, if that stands at `at`.
    #[inline]
    pub(super) fn take<'a>(&'a mut self, input: &'a [u8], at: usize) -> Option<Next<'a>> {
        let request = self.requests.get(self.next).filter(|request| request.at == at)?;
        self.next += 1;
        let spans = &self.spans[request.first as usize..request.behind as usize];
        Some(Next { raw: &input[at..at + request.len], spans, place: request.place })
    }

    /// Passes over what stands before `behind`, which its client did not live to see run.
    pub(super) fn skip_to(&mut self, behind: usize) {
        self.next = behind;
    }

    /// How many requests have been found.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[inline]
fn word((start, len): Span, request: &[u8]) -> &[u8] {
    &request[start as usize..start as usize + len as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sixteen_requests_are_found_and_taken_in_order() {
        let requests: Vec<Vec<u8>> = (0..20)
            .map(|number| format!("*3\r\n$3\r\nSET\r\n$3\r\nk{number:02}\r\n$4\r\n*1\r\n\r\n").into_bytes())
            .collect();
        let input = requests.concat();
        let mut ahead = Ahead::default();
        let (mut at, mut taken) = (0, 0);
        for expected in [16, 4, 0] {
            ahead.clear();
            ahead.find(Db(3), &input, at, |_| ());
            assert_eq!((ahead.len(), ahead.places().count()), (expected, expected));
            assert!(ahead.take(&input, at + 1).is_none(), "no request stands there");
            while let Some(next) = ahead.take(&input, at) {
                let key = format!("k{taken:02}").into_bytes();
                let mut words = [&b""[..]; 4];
                next.write_to(&mut words);
                assert_eq!((words[3], next.len()), (&b""[..], 3));
                assert_eq!(words[..3], next.words()[..]);
                assert_eq!(words[..3], [&b"SET"[..], &key, b"*1\r\n"]);
                assert_eq!((next.raw, next.place), (&requests[taken][..], Some(Place::of(Db(3), &key))));
                (at, taken) = (at + next.raw.len(), taken + 1);
            }
            assert!(ahead.is_at_end());
        }
        assert_eq!((at, taken), (input.len(), 20));
    }

    #[test]
    fn what_is_cut_or_no_request_ends_the_look() {
        let request = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        let whole = [&request[..], request].concat();
        for cut in 0..whole.len() {
            let mut ahead = Ahead::default();
            ahead.find(Db(0), &whole[..cut], 0, |_| ());
            assert_eq!(ahead.len(), cut / request.len());
        }
        let mut ahead = Ahead::default();
        ahead.find(Db(0), b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", 0, |_| ());
        assert_eq!((ahead.len(), ahead.places().count()), (2, 0), "they have no keys");
    }
}
