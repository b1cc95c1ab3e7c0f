//! LLEN, LINDEX, LRANGE and LPOS: what a list holds.

use quorate_values::list::Needle;

use crate::exec::as_list;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const READ: Spec =
    Spec { group: Group::List, flags: Flags::READONLY, keys: &[(Keys::At(1), Access::READ)], ..Spec::BLANK };

/// LINDEX key index
pub(crate) static LINDEX: Spec = Spec {
    name: "lindex",
    arity: Arity::Exactly(3),
    complexity: "O(log N) for N nodes, and O(M) for the elements of one",
    summary: "Returns the element of an index.",
    run: Run::Data(lindex),
    ..READ
};

/// LLEN key
pub(crate) static LLEN: Spec = Spec {
    name: "llen",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::LOOK)],
    summary: "Returns the number of elements of a list.",
    run: Run::Data(llen),
    ..READ
};

/// LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]
pub(crate) static LPOS: Spec = Spec {
    name: "lpos",
    arity: Arity::AtLeast(3),
    since: "6.0.6",
    complexity: "O(N) for N elements",
    summary: "Returns the indices at which an element is found.",
    run: Run::Data(lpos),
    ..READ
};

/// LRANGE key start stop
pub(crate) static LRANGE: Spec = Spec {
    name: "lrange",
    arity: Arity::Exactly(4),
    complexity: "O(log N) for N nodes, and O(M) for M elements returned",
    summary: "Returns the elements between two indices.",
    run: Run::Data(lrange),
    ..READ
};

fn llen(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let len = cx.list(args.at(1))?.map_or(0, |list| list.len());
    cx.reply.count(len);
    Ok(())
}

/// The index from the front that `index` means in a list of `len`; it may lie behind the end.
pub(super) fn from_front(index: i64, len: usize) -> Option<usize> {
    if index >= 0 {
        usize::try_from(index).ok()
    } else {
        usize::try_from(index.unsigned_abs()).ok().and_then(|back| len.checked_sub(back))
    }
}

fn lindex(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let element = match as_list(cx.keys.read(cx.db, args.at(1)))? {
        None => None,
        Some(list) => from_front(args.int(2)?, list.len()).and_then(|index| list.get(index)),
    };
    match element {
        None => cx.reply.null(),
        Some(element) => cx.reply.bulk(element.text(&mut itoa::Buffer::new())),
    }
    Ok(())
}

fn lrange(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let Some(list) = as_list(cx.keys.read(cx.db, args.at(1)))? else {
        cx.reply.array(0);
        return Ok(());
    };
    let (start, amount) = super::span(start, stop, list.len());
    cx.reply.array(amount);
    let mut text = itoa::Buffer::new();
    for element in list.iter_from(start).take(amount) {
        cx.reply.bulk(element.text(&mut text));
    }
    Ok(())
}

/// Which of the matches LPOS is asked for.
struct Wanted {
    /// The first match that counts: 1 is the first from the front, -1 the first from the back.
    rank: i64,
    /// How many of them; 0 is all. `None` asks for a single index and not for an array.
    count: Option<usize>,
    /// How many elements are looked at.
    most: usize,
}

impl Wanted {
    fn parse(args: Args<'_>) -> Result<Wanted, CommandError> {
        const RANK: CommandError = CommandError::text(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list",
        );
        const RANK_RANGE: CommandError = CommandError::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        const COUNT: CommandError = CommandError::text("ERR COUNT can't be negative");
        const MAXLEN: CommandError = CommandError::text("ERR MAXLEN can't be negative");
        let amount = |index, error| {
            let amount = args.int(index).ok().and_then(|amount| usize::try_from(amount).ok());
            amount.ok_or(error)
        };
        let mut wanted = Wanted { rank: 1, count: None, most: usize::MAX };
        for at in (3..args.len()).step_by(2) {
            let has_value = at + 1 < args.len();
            if args.is(at, "RANK") && has_value {
                wanted.rank = match args.int(at + 1)? {
                    0 => return Err(RANK),
                    i64::MIN => return Err(RANK_RANGE),
                    rank => rank,
                };
            } else if args.is(at, "COUNT") && has_value {
                wanted.count = Some(amount(at + 1, COUNT)?);
            } else if args.is(at, "MAXLEN") && has_value {
                wanted.most = match amount(at + 1, MAXLEN)? {
                    0 => usize::MAX,
                    most => most,
                };
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(wanted)
    }
}

fn lpos(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let wanted = Wanted::parse(args)?;
    let needle = Needle::new(args.at(2));
    let most = match wanted.count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let skip = usize::try_from(wanted.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found: Vec<usize> = match as_list(cx.keys.read(cx.db, args.at(1)))? {
        None => Vec::new(),
        Some(list) if wanted.rank > 0 => {
            let matches = list.iter().take(wanted.most).enumerate().filter(|(_, element)| needle.is(*element));
            matches.map(|(index, _)| index).skip(skip).take(most).collect()
        }
        Some(list) => {
            let last = list.len().saturating_sub(1);
            let matches = list.iter_rev().take(wanted.most).enumerate().filter(|(_, element)| needle.is(*element));
            matches.map(|(index, _)| last - index).skip(skip).take(most).collect()
        }
    };
    match (wanted.count, found.first()) {
        (None, None) => cx.reply.null(),
        (None, Some(&index)) => cx.reply.count(index),
        (Some(_), _) => {
            cx.reply.array(found.len());
            found.iter().for_each(|&index| cx.reply.count(index));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn elements_are_found_by_index_from_both_ends() {
        Bench::new().script(
            "RPUSH l a b c 4 => 4
             LLEN l => 4
             LLEN none => 0
             LINDEX l 0 => a
             LINDEX l 3 => 4
             LINDEX l 4 => nil
             LINDEX l -1 => 4
             LINDEX l -4 => a
             LINDEX l -5 => nil
             LINDEX l -9223372036854775808 => nil
             LINDEX l x => ERR value is not an integer or out of range
             LINDEX none x => nil
             LRANGE l 1 2 => [b c]
             LRANGE l -2 100 => [c 4]
             LRANGE l 3 1 => []
             LRANGE none 0 -1 => []
             LRANGE none x 1 => ERR value is not an integer or out of range
             SET text v => OK
             LLEN text => WRONGTYPE Operation against a key holding the wrong kind of value
             LINDEX text 0 => WRONGTYPE Operation against a key holding the wrong kind of value
             LRANGE text 0 -1 => WRONGTYPE Operation against a key holding the wrong kind of value
             LPOS text a => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn positions_are_counted_as_the_options_say() {
        let mut bench = Bench::new();
        bench.script(
            "RPUSH l a b c 1 2 3 c c => 8
             LPOS l a => 0
             LPOS l c => 2
             LPOS l 3 => 5
             LPOS l x => nil
             LPOS l c RANK 2 => 6
             LPOS l c RANK 4 => nil
             LPOS l c RANK -1 => 7
             LPOS l c RANK -3 => 2
             LPOS l c COUNT 0 => [2 6 7]
             LPOS l c COUNT 2 => [2 6]
             LPOS l c COUNT 2 RANK -1 => [7 6]
             LPOS l x COUNT 2 => []
             LPOS none c COUNT 2 => []
             LPOS none c => nil
             LPOS l c COUNT 0 MAXLEN 3 => [2]
             LPOS l c COUNT 0 MAXLEN 3 RANK -1 => [7 6]
             LPOS l c COUNT 0 MAXLEN 7 RANK 2 => [6]
             LPOS l c COUNT 0 MAXLEN 0 => [2 6 7]
             LPOS l c COUNT -1 => ERR COUNT can't be negative
             LPOS l c MAXLEN x => ERR MAXLEN can't be negative
             LPOS l c RANK x => ERR value is not an integer or out of range
             LPOS l c RANK => ERR syntax error
             LPOS l c FOO 1 => ERR syntax error",
        );
        bench.check(
            "LPOS l c RANK -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
    }
}
