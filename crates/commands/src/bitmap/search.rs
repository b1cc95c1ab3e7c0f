//! BITCOUNT and BITPOS: how many bits are set, and where the first one is.

use super::{BITMAP, Range};
use crate::exec::as_str;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// BITCOUNT key [start end [BYTE | BIT]]
pub(crate) static BITCOUNT: Spec = Spec {
    name: "bitcount",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    since: "2.6.0",
    complexity: "O(N) for N bytes looked at",
    summary: "Counts the bits that are set in a string or a part of it.",
    run: Run::Data(bitcount),
    ..BITMAP
};

/// BITPOS key bit [start [end [BYTE | BIT]]]
pub(crate) static BITPOS: Spec = Spec {
    name: "bitpos",
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    since: "2.8.7",
    complexity: "O(N) for N bytes looked at",
    summary: "Finds the first bit that is set, or that is not, in a string or a part of it.",
    run: Run::Data(bitpos),
    ..BITMAP
};

/// The bits of the byte of that index that lie from `from` to before `to`, at their places.
fn mask(byte: usize, from: usize, to: usize) -> u8 {
    let first = from.saturating_sub(byte * 8).min(8);
    let behind = to.saturating_sub(byte * 8).min(8);
    let upto = |bits: usize| (0xff00_u16 >> bits) as u8;
    upto(behind) & !upto(first)
}

fn count(bytes: &[u8], from: usize, to: usize) -> usize {
    let (first, last) = (from / 8, (to - 1) / 8);
    let ones = |byte: usize| (bytes[byte] & mask(byte, from, to)).count_ones() as usize;
    if first == last {
        return ones(first);
    }
    let words = bytes[first + 1..last].chunks_exact(8);
    let rest: usize = words.remainder().iter().map(|byte| byte.count_ones() as usize).sum();
    let whole: usize = words.map(|word| word.try_into().map_or(0, u64::from_ne_bytes).count_ones() as usize).sum();
    ones(first) + whole + rest + ones(last)
}

fn bitcount(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    if args.len() == 3 {
        return Err(CommandError::Syntax);
    }
    let range = Range::parse(args, 2)?;
    let text = as_str(cx.keys.read(cx.db, args.at(1)))?;
    let mut buffer = itoa::Buffer::new();
    let bytes = text.as_ref().map_or(&b""[..], |text| text.text(&mut buffer));
    let ones = range.bits(bytes.len()).map_or(0, |(from, to)| count(bytes, from, to));
    cx.reply.count(ones);
    Ok(())
}

/// The first bit from `from` to before `to` that is `wanted`.
fn find(bytes: &[u8], wanted: bool, from: usize, to: usize) -> Option<usize> {
    let dull = if wanted { 0 } else { 0xff };
    let mut byte = from / 8;
    while byte * 8 < to {
        let hits = (bytes[byte] ^ dull) & mask(byte, from, to);
        if hits != 0 {
            return Some(byte * 8 + hits.leading_zeros() as usize);
        }
        byte += 1;
        let rest = &bytes[byte..to.div_ceil(8).max(byte)];
        byte += rest.chunks_exact(8).take_while(|word| word.iter().all(|byte| *byte == dull)).count() * 8;
    }
    None
}

fn bitpos(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let wanted = match args.int(2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    let range = Range::parse(args, 3)?;
    let text = as_str(cx.keys.read(cx.db, args.at(1)))?;
    let Some(text) = text else {
        cx.reply.int(if wanted { -1 } else { 0 });
        return Ok(());
    };
    let mut buffer = itoa::Buffer::new();
    let bytes = text.text(&mut buffer);
    let Some((from, to)) = range.bits(bytes.len()) else {
        cx.reply.int(-1);
        return Ok(());
    };
    let found = match find(bytes, wanted, from, to) {
        Some(at) => at as i64,
        // Behind its end a string is taken for zeros, unless the end was named.
        None if !wanted && args.len() <= 4 => (bytes.len() * 8) as i64,
        None => -1,
    };
    cx.reply.int(found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{count, find};
    use crate::testing::Bench;

    #[test]
    fn parts_are_counted_and_searched_as_bit_by_bit() {
        let bytes: Vec<u8> = (0..40_u32).map(|index| ((index * index * 37) >> 3) as u8 & 0xf8).collect();
        let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
        for from in 0..bytes.len() * 8 {
            for to in from + 1..=bytes.len() * 8 {
                assert_eq!(count(&bytes, from, to), (from..to).filter(|at| bit(*at)).count(), "{from}..{to}");
                for wanted in [false, true] {
                    assert_eq!(find(&bytes, wanted, from, to), (from..to).find(|at| bit(*at) == wanted));
                }
            }
        }
        assert_eq!(find(&[0xff; 50], false, 3, 397), None);
        assert_eq!(find(&[0; 50], true, 3, 397), None);
    }

    #[test]
    fn bits_are_counted_in_bytes_and_bits() {
        Bench::new().script(
            "SET k foobar => OK
             BITCOUNT k => 26
             BITCOUNT k 0 0 => 4
             BITCOUNT k 1 1 BYTE => 6
             BITCOUNT k 5 30 BIT => 17
             BITCOUNT k -2 -1 => 7
             BITCOUNT k -1 -2 => 0
             BITCOUNT k 10 20 => 0
             BITCOUNT k 0 => ERR syntax error
             BITCOUNT k 0 1 HELLO => ERR syntax error
             BITCOUNT k a b => ERR value is not an integer or out of range
             BITCOUNT none => 0
             BITCOUNT none 0 1 HELLO => ERR syntax error
             BITCOUNT none -9223372036854775808 -1 BIT => 0
             HSET h f v => 1
             BITCOUNT h => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn the_first_bit_is_found_and_zeros_follow_the_end() {
        Bench::new().script(
            r#"SET k "\xff\xf0\x00" => OK
             BITPOS k 0 => 12
             BITPOS k 1 2 => -1
             BITPOS k 1 2 -1 BYTE => -1
             BITPOS k 0 7 15 BIT => 12
             BITPOS k 2 => ERR The bit argument must be 1 or 0.
             BITPOS k 0 0 1 BITS => ERR syntax error
             SET k "\xff\xff" => OK
             BITPOS k 0 => 16
             BITPOS k 0 0 => 16
             BITPOS k 0 0 -1 => -1
             BITPOS k 0 9 => -1
             BITPOS none 0 => 0
             BITPOS none 1 => -1"#,
        );
    }
}
