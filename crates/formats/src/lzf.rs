//! LZF: the compression of long strings inside RDB files and DUMP payloads.
//!
//! A compressed block is a row of two kinds of instructions, and nothing else; it knows neither its
//! own length nor that of what it expands to:
//!
//! ```text
//! 000LLLLL  bytes...              the next L+1 bytes stand for themselves (1 to 32)
//! LLLDDDDD  dddddddd              copy L+2 bytes (3 to 8) from D:d+1 bytes back
//! 111DDDDD  llllllll  dddddddd    copy l+9 bytes (9 to 264) from D:d+1 bytes back
//! ```
//!
//! A copy may reach into what it is itself producing, which makes runs cheap. Any decoder reads what
//! any encoder writes, so the match finder here is ours alone: greedy, with a table of the last
//! place where each three-byte beginning was seen, sized after the input so that short strings don't
//! pay for the clearing of a large one.

/// How far back a copy can reach.
const WINDOW: usize = 1 << 13;
/// The longest copy that one instruction can express.
const LONGEST_COPY: usize = 264;
/// The longest row of literal bytes that one instruction can express.
const LONGEST_LITERAL: usize = 32;
/// How many bytes one byte of a compressed block can stand for at most: 264 in three bytes.
const GREATEST_RATIO: usize = LONGEST_COPY / 3;

/// The block is not what LZF produces, or does not expand to the length that was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Expands `block`, which must yield exactly `len` bytes, onto the end of `out`.
///
/// `len` comes from the same hand as the block and is not trusted: what could never come out of a
/// block of this size is refused before any memory is asked for.
pub fn decompress(block: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if len / GREATEST_RATIO > block.len() {
        return Err(Malformed);
    }
    out.reserve(len);
    let start = out.len();
    let mut rest = block;
    while let [control, tail @ ..] = rest {
        rest = if *control < 32 {
            let (literal, tail) = tail.split_at_checked(usize::from(*control) + 1).ok_or(Malformed)?;
            out.extend_from_slice(literal);
            tail
        } else {
            let (len, tail) = match (control >> 5, tail) {
                (7, [more, tail @ ..]) => (usize::from(*more) + 9, tail),
                (short, tail) => (usize::from(short) + 2, tail),
            };
            let [low, tail @ ..] = tail else { return Err(Malformed) };
            let back = (usize::from(*control & 0x1f) << 8 | usize::from(*low)) + 1;
            if back > out.len() - start {
                return Err(Malformed);
            }
            copy_from_behind(out, back, len);
            tail
        };
        // The excess of one instruction is bounded, so it is enough to look after each.
        if out.len() - start > len {
            return Err(Malformed);
        }
    }
    if out.len() - start == len { Ok(()) } else { Err(Malformed) }
}

/// Appends `len` bytes to `out`, read from `back` bytes behind its end, including those just appended.
fn copy_from_behind(out: &mut Vec<u8>, back: usize, mut len: usize) {
    let from = out.len() - back;
    // What lies behind repeats with a period of `back`, so ever longer pieces can be taken from `from`.
    while len > 0 {
        let piece = len.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        len -= piece;
    }
}

/// Compresses `input` onto the end of `out`, if that takes no more than `limit` bytes.
///
/// Returns whether it did; if not, `out` is as before.
pub fn compress(input: &[u8], out: &mut Vec<u8>, limit: usize) -> bool {
    let start = out.len();
    let mut sink = Sink { out, end: start.saturating_add(limit) };
    let done = match input.len() {
        0..=512 => scan::<256>(input, &mut sink),
        513..=16_384 => scan::<2048>(input, &mut sink),
        _ => scan::<16_384>(input, &mut sink),
    };
    if done.is_none() {
        out.truncate(start);
    }
    done.is_some()
}

/// Walks `input` once; `None` when the sink is full. `SLOTS` is a power of two.
///
/// Positions are kept as u32: an input beyond 4 GiB is copied as literals from there on.
fn scan<const SLOTS: usize>(input: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let mut last_seen = [0u32; SLOTS];
    let mut literals_from = 0;
    let mut at = 0;
    while let Some(next) = input.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let Ok(position) = u32::try_from(at) else { break };
        let slot = slot_of::<SLOTS>(*next);
        let candidate = last_seen[slot] as usize;
        last_seen[slot] = position;
        // An empty slot points at 0, which is as good a guess as any: the bytes decide.
        let len = if candidate < at && at - candidate <= WINDOW { match_len(input, candidate, at) } else { 0 };
        if len < 3 {
            at += 1;
            continue;
        }
        sink.literals(&input[literals_from..at])?;
        sink.copy(at - candidate, len)?;
        at += len;
        literals_from = at;
        // The places inside a copy are mostly left out; its last one pays, as the next match often
        // begins right before the copy's end.
        if let Some(inside) = input[at - 1..].first_chunk::<4>() {
            last_seen[slot_of::<SLOTS>(*inside)] = position + (len - 1) as u32;
        }
    }
    sink.literals(&input[literals_from..])
}

/// The table slot of the three-byte beginning of `next`.
fn slot_of<const SLOTS: usize>(next: [u8; 4]) -> usize {
    let beginning = u32::from_le_bytes(next) << 8;
    (beginning.wrapping_mul(0x9e37_79b1) >> (32 - SLOTS.trailing_zeros())) as usize
}

/// How many bytes at `at` equal those at the earlier `candidate`, up to the longest copy.
fn match_len(input: &[u8], candidate: usize, at: usize) -> usize {
    let ahead = &input[at..input.len().min(at + LONGEST_COPY)];
    let behind = &input[candidate..candidate + ahead.len()];
    let mut len = 0;
    for (a, b) in ahead.chunks_exact(8).zip(behind.chunks_exact(8)) {
        let (a, b) = (a.first_chunk::<8>(), b.first_chunk::<8>());
        let difference = a.map_or(0, |a| u64::from_le_bytes(*a)) ^ b.map_or(0, |b| u64::from_le_bytes(*b));
        if difference != 0 {
            return len + difference.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + ahead[len..].iter().zip(&behind[len..]).take_while(|(a, b)| a == b).count()
}

/// Where instructions go, up to an agreed end.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    /// The length that `out` must not exceed.
    end: usize,
}

impl Sink<'_> {
    fn literals(&mut self, bytes: &[u8]) -> Option<()> {
        for row in bytes.chunks(LONGEST_LITERAL) {
            self.make_room(1 + row.len())?;
            self.out.push((row.len() - 1) as u8);
            self.out.extend_from_slice(row);
        }
        Some(())
    }

    fn copy(&mut self, back: usize, len: usize) -> Option<()> {
        let [high, low] = ((back - 1) as u16).to_be_bytes();
        if len < 9 {
            self.make_room(2)?;
            self.out.extend_from_slice(&[((len - 2) as u8) << 5 | high, low]);
        } else {
            self.make_room(3)?;
            self.out.extend_from_slice(&[7 << 5 | high, (len - 9) as u8, low]);
        }
        Some(())
    }

    fn make_room(&self, bytes: usize) -> Option<()> {
        (self.out.len() + bytes <= self.end).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(block: &[u8], len: usize) -> Result<Vec<u8>, Malformed> {
        let mut out = b"before".to_vec();
        decompress(block, len, &mut out).map(|()| out.split_off(6))
    }

    fn shrink(input: &[u8]) -> Vec<u8> {
        let mut out = b"before".to_vec();
        assert!(compress(input, &mut out, usize::MAX));
        out.split_off(6)
    }

    #[test]
    fn a_run_is_one_copy_of_itself() {
        // One literal 'a', then 9+255 bytes from one back.
        assert_eq!(shrink(&[b'a'; 265]), [0, b'a', 0xe0, 255, 0]);
        assert_eq!(expand(&[0, b'a', 0xe0, 255, 0], 265), Ok(vec![b'a'; 265]));
    }

    #[test]
    fn each_instruction_expands_to_what_the_format_says() {
        assert_eq!(expand(&[2, b'a', b'b', b'c', 0x20, 2], 6).as_deref(), Ok(&b"abcabc"[..]));
        assert_eq!(expand(&[1, b'a', b'b', 0xc0, 1], 10).as_deref(), Ok(&b"ababababab"[..]));
        assert_eq!(expand(&[1, b'a', b'b', 0xe0, 0, 1], 11).as_deref(), Ok(&b"abababababa"[..]));
        assert_eq!(expand(&[], 0).as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        assert_eq!(expand(&[5, b'a'], 6), Err(Malformed), "a literal that is cut off");
        assert_eq!(expand(&[0, b'a', 0x20], 4), Err(Malformed), "a copy that is cut off");
        assert_eq!(expand(&[0, b'a', 0xe0, 0], 10), Err(Malformed), "a long copy that is cut off");
        assert_eq!(expand(&[0, b'a', 0x20, 1], 4), Err(Malformed), "a copy from before the beginning");
        assert_eq!(expand(&[0, b'a'], 2), Err(Malformed), "less than promised");
        assert_eq!(expand(&[1, b'a', b'b'], 1), Err(Malformed), "more than promised");
    }

    #[test]
    fn a_promise_that_no_block_could_keep_costs_no_memory() {
        let mut out = Vec::new();
        assert_eq!(decompress(&[0, b'a', 0xe0, 255, 0], 1 << 40, &mut out), Err(Malformed));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn what_would_not_get_smaller_leaves_no_trace() {
        let mut out = b"before".to_vec();
        assert!(!compress(b"abcdefghijklmnopqrstuvwxyz", &mut out, 22));
        assert_eq!(out, b"before");
    }

    #[test]
    fn text_and_long_repetition_shrink_well() {
        let text = b"the quick brown fox jumps over the lazy dog; ".repeat(1000);
        assert!(shrink(&text).len() < text.len() / 50);
        let distant: Vec<u8> = (0..4u32).flat_map(|_| (0..2000u32).flat_map(|n| n.to_le_bytes())).collect();
        assert!(shrink(&distant).len() < distant.len() * 2 / 3);
    }

    /// Bytes with repetitions at all distances and of all lengths.
    fn compressible() -> impl Strategy<Value = Vec<u8>> {
        let piece = (prop::collection::vec(0u8..4, 1..40), 1usize..60);
        prop::collection::vec(piece, 0..40)
            .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect())
    }

    proptest! {
        #[test]
        fn what_was_compressed_expands_to_itself(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..3000), compressible()]) {
            prop_assert_eq!(expand(&shrink(&bytes), bytes.len()), Ok(bytes));
        }

        #[test]
        fn the_limit_is_kept_to_the_byte(bytes in compressible()) {
            let size = shrink(&bytes).len();
            let mut out = Vec::new();
            prop_assert!(compress(&bytes, &mut out, size));
            prop_assert_eq!(out.len(), size);
            prop_assert!(size == 0 || !compress(&bytes, &mut Vec::new(), size - 1));
        }

        #[test]
        fn any_bytes_are_expanded_or_refused(block in prop::collection::vec(any::<u8>(), 0..300), len in 0usize..5000) {
            let mut out = Vec::new();
            let _ = decompress(&block, len, &mut out);
            prop_assert!(out.capacity() <= 2 * (block.len() * GREATEST_RATIO + LONGEST_COPY));
        }
    }
}
