//! A look ahead at requests that came together: the keys that they seem to name are fetched into the cache, all at the
//! same time, while a request that is run alone would wait for each of its own.
//!
//! It is a guess: the first argument is taken for the key, which it is in nearly all commands. Nothing depends on it, and
//! what is no request here is found to be none by the parser that counts.

use quorate_keyspace::Db;
use smallvec::SmallVec;

use crate::data::worker::Worker;

/// Requests that are looked at together: enough to hide one wait for memory, few enough to stay in the nearest cache.
const TOGETHER: usize = 16;

/// Words of a request above which it is not looked at: a long one may arrive in many pieces, and none is looked through
/// again for each of them.
const WORDS: usize = 64;

type Keys<'a> = SmallVec<[&'a [u8]; TOGETHER]>;

impl Worker {
    /// Looks at the requests from `at` on, unless that was done: up to where, is `seen` and the result.
    #[inline]
    pub(super) fn look_ahead(&self, db: Db, input: &[u8], at: usize, seen: usize) -> usize {
        if at < seen {
            return seen;
        }
        let (keys, len) = first_keys(&input[at..]);
        if keys.len() > 1 {
            self.member.expect(db, &keys);
        }
        at + len
    }
}

/// The keys of the first requests of `input`, and how many bytes need no further look.
fn first_keys(input: &[u8]) -> (Keys<'_>, usize) {
    let (mut keys, mut rest) = (Keys::new(), input);
    while keys.len() < TOGETHER {
        let Some((key, behind)) = first_key(rest) else { return (keys, input.len()) };
        keys.push(key);
        rest = behind;
    }
    (keys, input.len() - rest.len())
}

/// The first argument of the request that `input` starts with, and what is behind the request.
#[inline]
fn first_key(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (words, input) = header(input, b'*')?;
    if words > WORDS {
        return None;
    }
    let (_, mut rest) = bulk(input)?;
    let mut key = &input[..0];
    for index in 1..words {
        let (word, behind) = bulk(rest)?;
        if index == 1 {
            key = word;
        }
        rest = behind;
    }
    Some((key, rest))
}

#[inline]
fn bulk(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = header(input, b'$')?;
    Some((rest.get(..len)?, rest.get(len..)?.strip_prefix(b"\r\n")?))
}

/// The number of at most six digits behind `mark`, and what is behind its line.
#[inline]
fn header(input: &[u8], mark: u8) -> Option<(usize, &[u8])> {
    let mut rest = input.strip_prefix(&[mark])?;
    let mut number = 0;
    for _ in 0..=6 {
        let (&byte, behind) = rest.split_first()?;
        if byte == b'\r' {
            return Some((number, behind.strip_prefix(b"\n")?));
        }
        number = number * 10 + usize::from(byte.checked_sub(b'0').filter(|&digit| digit < 10)?);
        rest = behind;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_first_sixteen_requests_are_found() {
        let requests: Vec<Vec<u8>> = (0..20)
            .map(|number| format!("*3\r\n$3\r\nSET\r\n$3\r\nk{number:02}\r\n$4\r\n*1\r\n\r\n").into_bytes())
            .collect();
        let input = requests.concat();
        let (keys, len) = first_keys(&input);
        assert_eq!(keys.len(), TOGETHER);
        assert_eq!((keys[0], keys[15]), (&b"k00"[..], &b"k15"[..]));
        assert_eq!(len, requests[0].len() * TOGETHER);
        let (keys, len) = first_keys(&input[len..]);
        assert_eq!((keys.len(), keys[3], len), (4, &b"k19"[..], requests[0].len() * 4));
    }

    #[test]
    fn what_is_cut_or_no_request_ends_the_look() {
        let whole = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        for cut in 0..whole.len() {
            assert_eq!(first_keys(&whole[..cut]), (Keys::new(), cut));
        }
        let hostile: [&[u8]; 6] =
            [b"PING\r\n", b"*-1\r\n", b"*2\r\n$99999999999\r\n", b"*2\r\n$3\r\nGETx", b"*0\r\n", b"*9999999\r\n$1\r\n"];
        for bytes in hostile {
            assert_eq!(first_keys(bytes), (Keys::new(), bytes.len()));
        }
        assert_eq!(first_keys(b"*1\r\n$4\r\nPING\r\n").0[..], [&b""[..]]);
    }
}
