//! XADD and XTRIM: entries added at one end and removed at the other.

use std::borrow::Cow;

use quorate_values::stream::{Keep, Stream, StreamId, Trim};
use quorate_values::{Limits, Value};

use super::ids::{self, Wanted};
use super::{STREAM, reply, with_stream};
use crate::exec::as_stream;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Origin, Outcome, Run, Spec};

/// XADD key [NOMKSTREAM] [MAXLEN | MINID [= | ~] threshold [LIMIT count]] * | id field value [field value ...]
pub(crate) static XADD: Spec = Spec {
    name: "xadd",
    arity: Arity::AtLeast(5),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::UPDATE)],
    tips: &["nondeterministic_output"],
    complexity: "O(1), and O(N) for N entries that are trimmed",
    summary: "Adds an entry to a stream, which is made if it does not exist.",
    run: Run::Data(xadd),
    ..STREAM
};

/// XTRIM key MAXLEN | MINID [= | ~] threshold [LIMIT count]
pub(crate) static XTRIM: Spec = Spec {
    name: "xtrim",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE,
    keys: &[(Keys::At(1), Access::DELETE)],
    tips: &["nondeterministic_output"],
    complexity: "O(N) for N entries that are removed",
    summary: "Removes entries from the front of a stream.",
    run: Run::Data(xtrim),
    ..STREAM
};

/// What both commands are told before an entry comes.
#[derive(Debug, Clone, Copy, Default)]
struct Options {
    /// What is kept, if anything is to go.
    keep: Option<Keep>,
    /// Where the threshold stands.
    threshold_at: usize,
    /// Whether whole nodes are enough (`~`).
    by_nodes: bool,
    limit: Option<u64>,
    /// Whether a stream that is not there stays so.
    never_made: bool,
    /// Where the options end.
    end: usize,
}

impl Options {
    fn parse(args: Args<'_>, adds: bool) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut at = 2;
        while at < args.len() {
            let left = args.len() - at - 1;
            if adds && args.is(at, "*") {
                break;
            } else if left > 0 && (args.is(at, "MAXLEN") || args.is(at, "MINID")) {
                at = options.threshold(args, at)?;
            } else if left > 0 && args.is(at, "LIMIT") {
                const LIMIT: CommandError = CommandError::text("ERR The LIMIT argument must be >= 0.");
                options.limit = Some(u64::try_from(args.int(at + 1)?).map_err(|_| LIMIT)?);
                at += 2;
            } else if adds && args.is(at, "NOMKSTREAM") {
                options.never_made = true;
                at += 1;
            } else if adds {
                break;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        options.end = at;
        Ok(options)
    }

    /// Reads MAXLEN or MINID at `at`: the index behind.
    fn threshold(&mut self, args: Args<'_>, at: usize) -> Result<usize, CommandError> {
        let mut threshold_at = at + 1;
        if threshold_at + 1 < args.len() && (args.is(threshold_at, "~") || args.is(threshold_at, "=")) {
            self.by_nodes = args.is(threshold_at, "~");
            threshold_at += 1;
        }
        let keep = if args.is(at, "MAXLEN") {
            const LEN: CommandError = CommandError::text("ERR The MAXLEN argument must be >= 0.");
            Keep::Newest(u64::try_from(args.int(threshold_at)?).map_err(|_| LEN)?)
        } else {
            Keep::From(ids::strict(args.at(threshold_at))?)
        };
        if self.keep.is_some_and(|before| std::mem::discriminant(&before) != std::mem::discriminant(&keep)) {
            return Err(CommandError::text(
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
            ));
        }
        (self.keep, self.threshold_at) = (Some(keep), threshold_at);
        Ok(threshold_at + 1)
    }

    /// Whether the options go together.
    fn check(&self, origin: Origin) -> Result<(), CommandError> {
        // What a primary says has been decided there.
        if origin == Origin::Replication || self.limit.is_none() {
            return Ok(());
        }
        if self.keep.is_none() {
            const TEXT: &str = "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy";
            return Err(CommandError::text(TEXT));
        }
        if !self.by_nodes {
            const TEXT: &str = "ERR syntax error, LIMIT cannot be used without the special ~ option";
            return Err(CommandError::text(TEXT));
        }
        Ok(())
    }

    /// Trims as the options say; how many entries went.
    fn trim(&self, stream: &mut Stream, limits: &Limits, origin: Origin) -> u64 {
        let Some(keep) = self.keep else { return 0 };
        let trim = match (self.by_nodes, self.limit) {
            (false, _) => Trim::Exactly,
            _ if origin == Origin::Replication => Trim::ByNodes(0),
            (true, Some(limit)) => Trim::ByNodes(limit),
            // Nobody is to wait long for who adds one entry.
            (true, None) => match limits.stream_node_max_entries as u64 {
                0 => Trim::ByNodes(10_000),
                entries => Trim::ByNodes(entries.saturating_mul(100).min(1_000_000)),
            },
        };
        stream.trim(keep, trim)
    }

    /// The request with the threshold that was really kept, in place of one by whole nodes.
    fn exact<'a>(&self, words: &mut [Cow<'a, [u8]>], left: Left) {
        if self.by_nodes && self.keep.is_some() {
            words[self.threshold_at - 1] = Cow::Borrowed(b"=");
            let threshold = match self.keep {
                Some(Keep::From(_)) => left.first_id.to_string(),
                _ => left.len.to_string(),
            };
            words[self.threshold_at] = Cow::Owned(threshold.into_bytes());
        }
    }
}

/// What is left of a trimmed stream.
#[derive(Debug, Clone, Copy)]
struct Left {
    len: u64,
    /// Of the first entry, or behind every entry if there is none.
    first_id: StreamId,
}

impl Left {
    fn of(stream: &Stream) -> Left {
        let first_id = if stream.is_empty() { StreamId::MAX } else { stream.first_id };
        Left { len: stream.len(), first_id }
    }
}

fn propagate(cx: &mut Exec<'_, '_>, words: &[Cow<'_, [u8]>]) {
    let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
    cx.propagate(&words);
}

/// The id that a stream with that last one gives.
fn choose(wanted: Wanted, last: StreamId, now: i64) -> Result<StreamId, CommandError> {
    const EXHAUSTED: CommandError =
        CommandError::text("ERR The stream has exhausted the last possible ID, unable to add more items");
    const SMALL: CommandError =
        CommandError::text("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    if last == StreamId::MAX {
        return Err(EXHAUSTED);
    }
    let id = match wanted {
        Wanted::This(id) => Some(id),
        Wanted::Within(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId { ms, seq }),
        Wanted::Within(ms) => Some(StreamId { ms, seq: 0 }),
        Wanted::Any if now as u64 > last.ms => Some(StreamId { ms: now as u64, seq: 0 }),
        Wanted::Any => last.next(),
    };
    id.filter(|id| *id > last).ok_or(SMALL)
}

fn xadd(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let options = Options::parse(args, true)?;
    options.check(cx.origin)?;
    let id_at = options.end;
    let wanted = if id_at < args.len() { ids::wanted(args.at(id_at))? } else { Wanted::Any };
    let pairs = args.from(id_at + 1);
    if pairs.len() < 2 || !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Arity("xadd".to_owned()));
    }
    if wanted == Wanted::This(StreamId::MIN) {
        return Err(CommandError::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let last = as_stream(cx.keys.find(cx.db, key))?.map(|stream| stream.last_id);
    if last.is_none() && options.never_made {
        cx.reply.null();
        return Ok(());
    }
    let id = choose(wanted, last.unwrap_or(StreamId::MIN), cx.now.0)?;
    let origin = cx.origin;
    let change = |stream: &mut Stream, limits: &Limits| -> Result<(u64, Left), CommandError> {
        const LARGE: CommandError = CommandError::text("ERR Elements are too large to be stored");
        stream.append(id, pairs, limits).map_err(|_| LARGE)?;
        Ok((options.trim(stream, limits, origin), Left::of(stream)))
    };
    let (trimmed, left) = if last.is_some() {
        with_stream(cx, key, change)?.expect("it was found just now")?
    } else {
        let mut stream = Stream::new();
        let done = change(&mut stream, &cx.settings.limits)?;
        cx.keys.insert_value(cx.db, key, Value::Stream(Box::new(stream)));
        done
    };
    cx.keys.signal(cx.db, key);
    cx.modified(key, 1);
    cx.notify(Class::STREAM, "xadd", key);
    if trimmed > 0 {
        cx.notify(Class::STREAM, "xtrim", key);
    }
    let is_decided = matches!(wanted, Wanted::This(_));
    if !is_decided || options.by_nodes {
        let mut words: Vec<Cow<'_, [u8]>> = args.words().iter().map(|word| Cow::Borrowed(*word)).collect();
        words[id_at] = Cow::Owned(id.to_string().into_bytes());
        options.exact(&mut words, left);
        propagate(cx, &words);
    }
    reply::id(&mut cx.reply, id);
    Ok(())
}

fn xtrim(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let options = Options::parse(args, false)?;
    options.check(cx.origin)?;
    if options.keep.is_none() {
        return Err(CommandError::text("ERR syntax error, XTRIM must be called with either MAXLEN or MINID"));
    }
    let origin = cx.origin;
    let trimmed = with_stream(cx, key, |stream, limits| (options.trim(stream, limits, origin), Left::of(stream)))?;
    let (trimmed, left) = trimmed.unwrap_or((0, Left { len: 0, first_id: StreamId::MIN }));
    if trimmed > 0 {
        cx.modified(key, trimmed as usize);
        cx.notify(Class::STREAM, "xtrim", key);
        if options.by_nodes {
            let mut words: Vec<Cow<'_, [u8]>> = args.words().iter().map(|word| Cow::Borrowed(*word)).collect();
            options.exact(&mut words, left);
            propagate(cx, &words);
        }
    }
    cx.reply.int(trimmed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn entries_are_added_with_ids_that_rise() {
        let mut bench = Bench::new();
        bench.check("XADD s * a 1 b 2", "1000000-0").propagates("XADD s 1000000-0 a 1 b 2").notifies("xadd s");
        bench.check("XADD s * a 1", "1000000-1").propagates("XADD s 1000000-1 a 1");
        bench.check("XADD s 2000000-* c d", "2000000-0").propagates("XADD s 2000000-0 c d");
        bench.check("XADD s 2000000-* c d", "2000000-1").check("XADD s 3000000-7 e f", "3000000-7");
        bench.propagates("XADD s 3000000-7 e f").check("XADD s * g h", "3000000-8");
        bench.script(
            "XADD s 3000000-8 a b => ERR The ID specified in XADD is equal or smaller than the target stream top item
             XADD s 5-* a b => ERR The ID specified in XADD is equal or smaller than the target stream top item
             XADD s 0-0 a b => ERR The ID specified in XADD must be greater than 0-0
             XADD s x a b => ERR Invalid stream ID specified as stream command argument
             XADD s 1-1-1 a b => ERR Invalid stream ID specified as stream command argument
             XADD s * a b c => ERR wrong number of arguments for 'xadd' command
             XADD s MAXLEN 1 LIMIT => ERR Invalid stream ID specified as stream command argument
             XADD none NOMKSTREAM * a b => nil
             EXISTS none => 0
             XADD s 18446744073709551615-18446744073709551615 a b => 18446744073709551615-18446744073709551615
             XADD s * a b => ERR The stream has exhausted the last possible ID, unable to add more items
             XADD z 0-* a b => 0-1
             XLEN s => 7
             SET str v => OK
             XADD str * a b => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }

    #[test]
    fn streams_are_trimmed_exactly_or_by_nodes_and_replicas_told_exactly() {
        let mut bench = Bench::new();
        bench.settings.limits.stream_node_max_entries = 10;
        for number in 1..=35 {
            bench.run(&format!("XADD s {number} f v"));
        }
        bench.check("XADD s MAXLEN ~ 22 LIMIT 30 36 f v", "36-0").notifies("xadd s; xtrim s");
        bench.propagates("XADD s MAXLEN = 26 LIMIT 30 36-0 f v");
        bench.check("XTRIM s MINID ~ 25", "10").propagates("XTRIM s MINID = 21-0").notifies("xtrim s");
        bench.check("XTRIM s MINID ~ 25", "0").propagates("").notifies("");
        bench.check("XTRIM s MAXLEN = 10", "6").propagates("XTRIM s MAXLEN = 10");
        bench.check("XADD s MAXLEN 3 * f v", "1000000-0").propagates("XADD s MAXLEN 3 1000000-0 f v");
        bench.check("XRANGE s - +", "[[35-0 [f v]] [36-0 [f v]] [1000000-0 [f v]]]");
        bench.check("XTRIM s MAXLEN ~ 0", "3").propagates("XTRIM s MAXLEN = 0").check("EXISTS s", "1");
        bench.script(
            "XTRIM s MAXLEN 0 => 0
             XTRIM none MAXLEN 0 => 0
             XTRIM s MAXLEN -1 => ERR The MAXLEN argument must be >= 0.
             XTRIM s MAXLEN x => ERR value is not an integer or out of range
             XTRIM s MAXLEN 1 MINID 1 => ERR syntax error, MAXLEN and MINID options at the same time are not compatible
             XTRIM s MAXLEN 1 LIMIT 1 => ERR syntax error, LIMIT cannot be used without the special ~ option
             XTRIM s MAXLEN ~ 1 LIMIT -1 => ERR The LIMIT argument must be >= 0.
             XTRIM s LIMIT 1 => ERR syntax error, LIMIT cannot be used without specifying a trimming strategy
             XTRIM s MAXLEN 1 NOMKSTREAM => ERR syntax error
             XTRIM s MINID x => ERR Invalid stream ID specified as stream command argument
             XADD s LIMIT 1 1-2 a b => ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        );
    }
}
