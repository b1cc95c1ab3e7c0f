//! LCS: the longest common subsequence of two strings, by the textbook's table of lengths.

use crate::exec::as_str;
use crate::{Access, Args, Arity, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]
pub(crate) static LCS: Spec = Spec {
    name: "lcs",
    group: Group::String,
    arity: Arity::AtLeast(3),
    flags: Flags::READONLY,
    keys: &[(Keys::Span { first: 1, last: 2, step: 1 }, Access::READ)],
    since: "7.0.0",
    complexity: "O(N*M) for strings of N and M bytes",
    summary: "Finds the longest common subsequence of two strings.",
    run: Run::Data(lcs),
    ..Spec::BLANK
};

/// The table may take this many bytes.
const TABLE_MAX: usize = 512 << 20;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    min_match: usize,
    with_match_len: bool,
}

fn options(args: Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "LEN") {
            options.len = true;
        } else if args.is(at, "IDX") {
            options.idx = true;
        } else if args.is(at, "WITHMATCHLEN") {
            options.with_match_len = true;
        } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
            at += 1;
            options.min_match = usize::try_from(args.int(at)?).unwrap_or(0);
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    if options.len && options.idx {
        return Err(CommandError::text("ERR If you want both the length and indexes, please just use IDX."));
    }
    Ok(options)
}

fn lcs(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let text = |cx: &mut Exec<'_, '_>, key: &[u8]| match as_str(cx.keys.read(cx.db, key)) {
        Ok(text) => Ok(text.map_or_else(Vec::new, |text| text.to_vec())),
        Err(_) => Err(CommandError::text("ERR The specified keys must contain string values")),
    };
    let (a, b) = (text(cx, args.at(1))?, text(cx, args.at(2))?);
    let options = options(args)?;
    let table = Table::of(&a, &b)
        .ok_or(CommandError::text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"))?;
    if options.len {
        cx.reply.count(table.at(a.len(), b.len()));
    } else if options.idx {
        answer_matches(cx, &table.matches(&a, &b), table.at(a.len(), b.len()), &options);
    } else {
        let matches = table.matches(&a, &b);
        let common: Vec<u8> = matches.iter().rev().flat_map(|run| &a[run.a..run.a + run.len]).copied().collect();
        cx.reply.bulk(&common);
    }
    Ok(())
}

fn answer_matches(cx: &mut Exec<'_, '_>, matches: &[Match], len: usize, options: &Options) {
    cx.reply.map(2);
    cx.reply.bulk(b"matches");
    let shown = || matches.iter().filter(|run| run.len >= options.min_match);
    cx.reply.array(shown().count());
    for run in shown() {
        cx.reply.array(if options.with_match_len { 3 } else { 2 });
        for start in [run.a, run.b] {
            cx.reply.array(2);
            cx.reply.count(start);
            cx.reply.count(start + run.len - 1);
        }
        if options.with_match_len {
            cx.reply.count(run.len);
        }
    }
    cx.reply.bulk(b"len");
    cx.reply.count(len);
}

/// A run of bytes that both strings have, in `a` and in `b`.
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

/// At `(i, j)` the length of the longest common subsequence of `a[..i]` and `b[..j]`.
struct Table {
    width: usize,
    lengths: Vec<u32>,
}

impl Table {
    /// `None` if it would be too large.
    fn of(a: &[u8], b: &[u8]) -> Option<Table> {
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width).filter(|&cells| cells <= TABLE_MAX / size_of::<u32>())?;
        let mut table = Table { width, lengths: vec![0; cells] };
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table.lengths[i * width + j] = if a[i - 1] == b[j - 1] {
                    table.lengths[(i - 1) * width + j - 1] + 1
                } else {
                    table.lengths[(i - 1) * width + j].max(table.lengths[i * width + j - 1])
                };
            }
        }
        Some(table)
    }

    fn at(&self, i: usize, j: usize) -> usize {
        self.lengths[i * self.width + j] as usize
    }

    /// The runs of one longest subsequence, the last one first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let (mut i, mut j) = (a.len(), b.len());
        let mut matches: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                match matches.last_mut() {
                    Some(run) if run.a == i + 1 && run.b == j + 1 => {
                        *run = Match { a: i, b: j, len: run.len + 1 };
                    }
                    _ => matches.push(Match { a: i, b: j, len: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        matches
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn the_longest_common_subsequence_is_found() {
        Bench::new().script(
            "MSET a ohmytext b mynewtext => OK
             LCS a b => mytext
             LCS a b LEN => 6
             LCS a b IDX => [matches [[[4 7] [5 8]] [[2 3] [0 1]]] len 6]
             LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN => [matches [[[4 7] [5 8] 4]] len 6]
             LCS a none IDX => [matches [] len 0]
             LCS a b LEN IDX => ERR If you want both the length and indexes, please just use IDX.
             LCS a b FOO => ERR syntax error
             HSET h f v => 1
             LCS a h => ERR The specified keys must contain string values",
        );
    }
}
