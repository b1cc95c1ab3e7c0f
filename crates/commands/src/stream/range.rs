//! XRANGE and XREVRANGE: the entries between two ids.

use super::{STREAM, ids, reply};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

const RANGE: Spec = Spec {
    arity: Arity::AtLeast(4),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    complexity: "O(N) for N entries returned",
    ..STREAM
};

/// XRANGE key start end [COUNT count]
pub(crate) static XRANGE: Spec = Spec {
    name: "xrange",
    summary: "Returns the entries between two ids.",
    run: Run::Data(|cx, args| range(cx, args, false)),
    ..RANGE
};

/// XREVRANGE key end start [COUNT count]
pub(crate) static XREVRANGE: Spec = Spec {
    name: "xrevrange",
    summary: "Returns the entries between two ids, the last one first.",
    run: Run::Data(|cx, args| range(cx, args, true)),
    ..RANGE
};

fn range(cx: &mut Exec<'_, '_>, args: Args<'_>, backwards: bool) -> Outcome {
    let (start_at, end_at) = if backwards { (3, 2) } else { (2, 3) };
    let (start, end) = (ids::start(args.at(start_at))?, ids::end(args.at(end_at))?);
    let mut count = None;
    let mut at = 4;
    while at < args.len() {
        if !args.is(at, "COUNT") || at + 1 == args.len() {
            return Err(CommandError::Syntax);
        }
        count = Some(usize::try_from(args.int(at + 1)?).unwrap_or(0));
        at += 2;
    }
    match as_stream(cx.keys.read(cx.db, args.at(1)))? {
        None => cx.reply.array(0),
        Some(_) if count == Some(0) => cx.reply.null_array(),
        Some(stream) => {
            let count = count.unwrap_or(usize::MAX);
            if backwards {
                reply::entries(&mut cx.reply, stream.range_rev(start, end), count);
            } else {
                reply::entries(&mut cx.reply, stream.range(start, end), count);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn entries_are_read_from_both_ends() {
        let mut bench = Bench::new();
        bench.check("XADD s 1-1 a 1", "1-1").check("XADD s 1-2 a 2 b 3", "1-2").check("XADD s 2-0 c 4", "2-0");
        bench.script(
            "XRANGE s - + => [[1-1 [a 1]] [1-2 [a 2 b 3]] [2-0 [c 4]]]
             XRANGE s 1 1 => [[1-1 [a 1]] [1-2 [a 2 b 3]]]
             XRANGE s (1-1 (2-0 => [[1-2 [a 2 b 3]]]
             XRANGE s - + COUNT 1 => [[1-1 [a 1]]]
             XRANGE s - + COUNT 0 => nil
             XRANGE none - + COUNT 0 => []
             XRANGE s 3 + => []
             XRANGE s 2 1 => []
             XREVRANGE s + - COUNT 2 => [[2-0 [c 4]] [1-2 [a 2 b 3]]]
             XREVRANGE s (2 1-2 => [[2-0 [c 4]] [1-2 [a 2 b 3]]]
             XRANGE s (18446744073709551615-18446744073709551615 + => ERR invalid start ID for the interval
             XRANGE s - (0-0 => ERR invalid end ID for the interval
             XRANGE s x + => ERR Invalid stream ID specified as stream command argument
             XRANGE s (- + => ERR Invalid stream ID specified as stream command argument
             XRANGE s - + COUNT => ERR syntax error
             XRANGE s - + LIMIT 1 => ERR syntax error
             SET str v => OK
             XRANGE str - + => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
