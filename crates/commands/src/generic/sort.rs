//! SORT and SORT_RO: the elements of a list, set or sorted set in an order, with values of other keys in their place
//! if asked for.
//!
//! The keys that BY and GET patterns lead to are formed from what the collection holds, so nobody can declare them: a
//! request with such patterns runs alone (`Spec::reaches`), any other as every command does.
//!
//! Elements of equal weight are in the order of their text, so that what STORE leaves is the same everywhere.

use std::cmp::Ordering;
use std::ops::Range;

use quorate_values::list::End;
use quorate_values::listpack::Item;
use quorate_values::{List, Value, ValueRef, parse_double};
use smallvec::SmallVec;

use crate::spec::Indices;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Origin, Outcome, Run, Spec};

const SORTED: Spec = Spec {
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    categories: &["list", "set", "sortedset"],
    complexity: "O(N+M*log(M)) for N elements and M returned",
    ..Spec::BLANK
};

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA] [STORE destination]
pub(crate) static SORT: Spec = Spec {
    name: "sort",
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::MOVABLE_KEYS).and(Flags::DANGEROUS),
    keys: &[
        (Keys::At(1), Access::READ),
        (Keys::Parsed(|_, _| {}), Access::READ),
        (Keys::Parsed(destination), Access::OVERWRITE),
    ],
    summary: "Returns or stores the elements of a list, set or sorted set in an order.",
    reaches: Some(reaches),
    run: Run::Data(|cx, args| sort(cx, args, true)),
    ..SORTED
};

/// SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA]
pub(crate) static SORT_RO: Spec = Spec {
    name: "sort_ro",
    flags: Flags::READONLY.and(Flags::MOVABLE_KEYS).and(Flags::DANGEROUS),
    keys: &[(Keys::At(1), Access::READ), (Keys::Parsed(|_, _| {}), Access::READ)],
    since: "7.0.0",
    summary: "Returns the elements of a list, set or sorted set in an order.",
    reaches: Some(reaches),
    run: Run::Data(|cx, args| sort(cx, args, false)),
    ..SORTED
};

/// What BY or GET says of an element.
#[derive(Clone, Copy)]
enum Pattern<'a> {
    /// The element itself.
    Element,
    /// The string, or the field of the hash, at the key with this before and that behind the element.
    Key { before: &'a [u8], behind: &'a [u8], field: Option<&'a [u8]> },
    /// Nothing: there is no place for the element in it.
    Nothing,
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a [u8]) -> Pattern<'a> {
        if text == b"#" {
            return Pattern::Element;
        }
        let Some(star) = text.iter().position(|&byte| byte == b'*') else { return Pattern::Nothing };
        let (before, rest) = (&text[..star], &text[star + 1..]);
        // An arrow with nothing behind it is a part of the key.
        let arrow = rest.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < rest.len());
        match arrow {
            Some(at) => Pattern::Key { before, behind: &rest[..at], field: Some(&rest[at + 2..]) },
            None => Pattern::Key { before, behind: rest, field: None },
        }
    }

    /// Appends what the pattern leads to for `element`; whether there is anything. `key` is scratch.
    fn look_up(self, cx: &mut Exec<'_, '_>, element: &[u8], key: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
        let (before, behind, field) = match self {
            Pattern::Element => {
                out.extend_from_slice(element);
                return true;
            }
            Pattern::Nothing => return false,
            Pattern::Key { before, behind, field } => (before, behind, field),
        };
        key.clear();
        for part in [before, element, behind] {
            key.extend_from_slice(part);
        }
        let mut text = itoa::Buffer::new();
        match (cx.read(key), field) {
            (Some(ValueRef::Str(value)), None) => {
                out.extend_from_slice(value.text(&mut text));
                true
            }
            (Some(ValueRef::Hash(hash)), Some(field)) => match hash.get(field) {
                Some(value) => {
                    out.extend_from_slice(value.text(&mut text));
                    true
                }
                None => false,
            },
            _ => false,
        }
    }
}

/// By what the elements are in order.
#[derive(Clone, Copy)]
enum By<'a> {
    /// Themselves.
    Element,
    /// What a pattern leads to.
    Pattern(Pattern<'a>),
    /// Nothing: they stay as they lie there.
    Nothing,
}

/// The options of a request.
struct Query<'a> {
    by: By<'a>,
    alpha: bool,
    descending: bool,
    offset: i64,
    count: i64,
    gets: SmallVec<[Pattern<'a>; 4]>,
    /// The index of STORE's key.
    store_at: Option<usize>,
}

impl<'a> Query<'a> {
    fn parse(args: Args<'a>, may_store: bool) -> Result<Query<'a>, CommandError> {
        let mut query = Query {
            by: By::Element,
            alpha: false,
            descending: false,
            offset: 0,
            count: -1,
            gets: SmallVec::new(),
            store_at: None,
        };
        let mut at = 2;
        while at < args.len() {
            let left = args.len() - at - 1;
            if args.is(at, "ASC") {
                query.descending = false;
            } else if args.is(at, "DESC") {
                query.descending = true;
            } else if args.is(at, "ALPHA") {
                query.alpha = true;
            } else if args.is(at, "LIMIT") && left >= 2 {
                (query.offset, query.count) = (args.int(at + 1)?, args.int(at + 2)?);
                at += 2;
            } else if args.is(at, "STORE") && left >= 1 && may_store {
                query.store_at = Some(at + 1);
                at += 1;
            } else if args.is(at, "BY") && left >= 1 {
                query.by = match Pattern::parse(args.at(at + 1)) {
                    Pattern::Element | Pattern::Nothing => By::Nothing,
                    pattern @ Pattern::Key { .. } => By::Pattern(pattern),
                };
                at += 1;
            } else if args.is(at, "GET") && left >= 1 {
                query.gets.push(Pattern::parse(args.at(at + 1)));
                at += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        Ok(query)
    }

    /// Which of `len` elements, once they are in order, are asked for.
    fn window(&self, len: usize) -> Range<usize> {
        let start = usize::try_from(self.offset.max(0)).unwrap_or(usize::MAX).min(len);
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(len - start);
        start..start + count
    }
}

/// The key that STORE names, as the command itself will understand it.
fn destination(args: Args<'_>, indices: &mut Indices) {
    indices.extend(Query::parse(args, true).ok().and_then(|query| query.store_at));
}

/// Whether the request looks at keys that it can't declare.
fn reaches(args: Args<'_>) -> bool {
    let is_key = |pattern: &Pattern<'_>| matches!(pattern, Pattern::Key { .. });
    Query::parse(args, true)
        .is_ok_and(|query| matches!(&query.by, By::Pattern(by) if is_key(by)) || query.gets.iter().any(is_key))
}

/// The elements, their texts one behind the other.
#[derive(Default)]
struct Rows {
    texts: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    text: Range<usize>,
    /// Its weight, if weights are numbers.
    score: f64,
    /// Its weight, if weights are texts that a pattern has led to, and it has one.
    weight: Option<Range<usize>>,
}

impl Rows {
    fn add(&mut self, item: Item<'_>) {
        let start = self.texts.len();
        item.write_to(&mut self.texts);
        self.rows.push(Row { text: start..self.texts.len(), score: 0.0, weight: None });
    }

    fn text(&self, row: &Row) -> &[u8] {
        &self.texts[row.text.clone()]
    }

    /// Gives each row its weight.
    fn weigh(&mut self, cx: &mut Exec<'_, '_>, query: &Query<'_>) -> Outcome {
        const NO_NUMBER: CommandError = CommandError::text("ERR One or more scores can't be converted into double");
        let (mut key, mut found) = (Vec::new(), Vec::new());
        for index in 0..self.rows.len() {
            let text = self.rows[index].text.clone();
            let weight = match query.by {
                By::Nothing | By::Element if query.alpha => continue,
                By::Nothing | By::Element => &self.texts[text],
                By::Pattern(pattern) => {
                    found.clear();
                    if !pattern.look_up(cx, &self.texts[text], &mut key, &mut found) {
                        continue;
                    }
                    &found
                }
            };
            if query.alpha {
                let start = self.texts.len();
                self.texts.extend_from_slice(&found);
                self.rows[index].weight = Some(start..self.texts.len());
            } else {
                self.rows[index].score = parse_score(weight).ok_or(NO_NUMBER)?;
            }
        }
        Ok(())
    }

    /// Puts those rows that are asked for in order, as far as `window` reaches.
    fn order(&mut self, query: &Query<'_>, window: &Range<usize>) {
        let texts = &self.texts;
        let weight = |row: &Row| row.weight.clone().map(|weight| &texts[weight]);
        let compare = |left: &Row, right: &Row| {
            let by_text = || texts[left.text.clone()].cmp(&texts[right.text.clone()]);
            let order = match (query.alpha, query.by) {
                (false, _) => left.score.partial_cmp(&right.score).unwrap_or(Ordering::Equal).then_with(by_text),
                (true, By::Pattern(_)) => weight(left).cmp(&weight(right)).then_with(by_text),
                (true, _) => by_text(),
            };
            if query.descending { order.reverse() } else { order }
        };
        if window.end < self.rows.len() {
            self.rows.select_nth_unstable_by(window.end, compare);
            self.rows.truncate(window.end);
        }
        self.rows.sort_unstable_by(compare);
    }
}

/// A weight as a number; blanks in front are skipped, and the empty text weighs nothing. A zero byte ends the text:
/// Redis reads it so, and who sorts such elements gets what he got there.
fn parse_score(text: &[u8]) -> Option<f64> {
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    if text.is_empty() { Some(0.0) } else { parse_double(text.trim_ascii_start()) }
}

fn sort(cx: &mut Exec<'_, '_>, args: Args<'_>, may_store: bool) -> Outcome {
    let mut query = Query::parse(args, may_store)?;
    let (rows, window) = gather(cx, args.at(1), &mut query)?;
    let picked = &rows.rows[window];
    match query.store_at {
        Some(at) => store(cx, args.at(at), &rows, picked, &query.gets),
        None => answer(cx, &rows, picked, &query.gets),
    }
    Ok(())
}

/// The elements in order, and which of them are asked for.
fn gather(cx: &mut Exec<'_, '_>, key: &[u8], query: &mut Query<'_>) -> Result<(Rows, Range<usize>), CommandError> {
    let mut rows = Rows::default();
    let stays = matches!(query.by, By::Nothing);
    match cx.keys.read(cx.db, key).map(|entry| entry.value()) {
        None => {}
        Some(ValueRef::List(list)) if stays => {
            let window = query.window(list.len());
            let (skip, count) = (window.start, window.len());
            if query.descending {
                list.iter_rev().skip(skip).take(count).for_each(|item| rows.add(item));
            } else {
                list.iter_from(skip).take(count).for_each(|item| rows.add(item));
            }
            return Ok((rows, 0..count));
        }
        Some(ValueRef::ZSet(zset)) if stays => {
            let window = query.window(zset.len());
            let count = window.len();
            let members = if query.descending {
                zset.range_rev(zset.len() - window.end..zset.len() - window.start)
            } else {
                zset.range(window)
            };
            members.for_each(|(item, _)| rows.add(item));
            return Ok((rows, 0..count));
        }
        Some(ValueRef::List(list)) => list.iter().for_each(|item| rows.add(item)),
        Some(ValueRef::ZSet(zset)) => zset.iter().for_each(|(item, _)| rows.add(item)),
        Some(ValueRef::Set(set)) => {
            set.iter().for_each(|item| rows.add(item));
            if stays && (query.store_at.is_some() || cx.origin == Origin::Script) {
                // A set lies there in another order on each server; what is kept must not.
                (query.by, query.alpha) = (By::Element, true);
            }
        }
        Some(_) => return Err(CommandError::WrongType),
    }
    let window = query.window(rows.rows.len());
    if !matches!(query.by, By::Nothing) {
        rows.weigh(cx, query)?;
        rows.order(query, &window);
    }
    Ok((rows, window))
}

fn answer(cx: &mut Exec<'_, '_>, rows: &Rows, picked: &[Row], gets: &[Pattern<'_>]) {
    cx.reply.array(picked.len() * gets.len().max(1));
    let (mut key, mut found) = (Vec::new(), Vec::new());
    for row in picked {
        let text = rows.text(row);
        if gets.is_empty() {
            cx.reply.bulk(text);
        }
        for get in gets {
            found.clear();
            if get.look_up(cx, text, &mut key, &mut found) {
                cx.reply.bulk(&found);
            } else {
                cx.reply.null();
            }
        }
    }
}

fn store(cx: &mut Exec<'_, '_>, destination: &[u8], rows: &Rows, picked: &[Row], gets: &[Pattern<'_>]) {
    let limits = cx.settings.limits;
    let mut list = List::new();
    let (mut key, mut found) = (Vec::new(), Vec::new());
    for row in picked {
        let text = rows.text(row);
        if gets.is_empty() {
            list.push(End::Back, text, &limits);
        }
        for get in gets {
            found.clear();
            // Where there is nothing, an empty element is put.
            get.look_up(cx, text, &mut key, &mut found);
            list.push(End::Back, &found, &limits);
        }
    }
    let len = list.len();
    cx.keys.settle(cx.db, destination);
    if len > 0 {
        cx.keys.insert_value(cx.db, destination, Value::List(Box::new(list)));
        cx.changed(len);
        cx.notify(Class::LIST, "sortstore", destination);
    } else if cx.keys.remove(cx.db, destination).is_some() {
        cx.changed(1);
        cx.notify(Class::GENERIC, "del", destination);
    }
    cx.reply.count(len);
}

#[cfg(test)]
mod tests {
    use super::reaches;
    use crate::Args;
    use crate::testing::Bench;

    #[test]
    fn elements_are_ordered_by_number_or_by_text() {
        Bench::new().script(
            "RPUSH l 10 9 -1 2.5 => 4
             SORT l => [-1 2.5 9 10]
             SORT l DESC => [10 9 2.5 -1]
             SORT l ALPHA => [-1 10 2.5 9]
             SORT l ALPHA DESC LIMIT 1 2 => [2.5 10]
             SORT l LIMIT 1 2 => [2.5 9]
             SORT l LIMIT -5 2 => [-1 2.5]
             SORT l LIMIT 2 -1 => [9 10]
             SORT l LIMIT 9 9 => []
             SORT l LIMIT 1 0 => []
             SORT_RO l DESC LIMIT 0 1 => [10]
             SORT none => []
             SADD s 3 1 2 => 3
             SORT s => [1 2 3]
             RPUSH words b a => 2
             SORT words => ERR One or more scores can't be converted into double
             SORT words ALPHA => [a b]
             SORT l BY nosort => [10 9 -1 2.5]
             SORT l BY nosort DESC => [2.5 -1 9 10]
             SORT l BY nosort LIMIT 1 2 => [9 -1]
             SORT l BY nosort DESC LIMIT 1 2 => [-1 9]
             RPUSH odd \"\" \" 5\" 1 0x10 -inf => 5
             SORT odd DESC LIMIT 0 3 => [0x10  5 1]
             SORT odd LIMIT 0 1 => [-inf]
             SET text v => OK
             SORT text => WRONGTYPE Operation against a key holding the wrong kind of value
             SORT l LIMIT 1 => ERR syntax error
             SORT l LIMIT 1 x => ERR value is not an integer or out of range
             SORT l BY => ERR syntax error
             SORT l UP => ERR syntax error
             SORT_RO l STORE d => ERR syntax error",
        );
    }

    #[test]
    fn a_zero_byte_ends_a_number() {
        let mut bench = Bench::new();
        bench.reply(&[b"RPUSH", b"l", b"2\0x", b"1", b"\0"]);
        bench.check("SORT l LIMIT 1 1", "[1]");
    }

    #[test]
    fn patterns_lead_to_strings_and_to_fields() {
        Bench::new().script(
            "RPUSH l a b c => 3
             MSET w_a 3 w_b 1 w_c 2 => OK
             HSET h_a w 1 n A => 2
             HSET h_b w 2 n B => 2
             SORT l BY w_* => [b c a]
             SORT l BY w_* DESC => [a c b]
             SORT l BY h_*->w ALPHA => [c a b]
             SORT l BY h_*->w GET # GET h_*->n => [c nil a A b B]
             SORT l BY nosort GET w_* GET fixed GET none_* => [3 nil nil 1 nil nil 2 nil nil]
             SET w_b x => OK
             SORT l BY w_* => ERR One or more scores can't be converted into double
             SORT l BY w_* ALPHA => [c a b]
             SET k_a-> arrow => OK
             SORT l BY nosort GET k_*-> LIMIT 0 1 => [arrow]
             SORT l BY nosort GET h_* LIMIT 0 1 => [nil]
             SORT l BY nosort GET w_*->f LIMIT 0 1 => [nil]",
        );
    }

    #[test]
    fn the_result_is_stored_as_a_list() {
        let mut bench = Bench::new();
        bench.check("RPUSH l 3 1 2", "3").check("SET d v EX 100", "OK");
        bench.check("SORT l STORE d", "3").propagates("SORT l STORE d").notifies("sortstore d");
        bench.check("LRANGE d 0 -1", "[1 2 3]").check("TTL d", "-1");
        bench.check("SORT none STORE d", "0").propagates("SORT none STORE d").notifies("del d").check("EXISTS d", "0");
        bench.check("SORT none STORE d", "0").propagates("").notifies("");
        bench.check("SET w_1 x", "OK").check("SORT l BY nosort GET w_* STORE d", "3");
        bench.check("LRANGE d 0 -1", "[ x ]").check("SADD s b c a", "3").check("SORT s BY nosort STORE d", "3");
        bench.check("LRANGE d 0 -1", "[a b c]").check("SORT l STORE store DESC", "3").check("LLEN store", "3");
        bench.check("SORT l STORE other STORE l", "3").check("LRANGE l 0 -1", "[1 2 3]").check("EXISTS other", "0");
    }

    #[test]
    fn only_what_looks_at_other_keys_runs_alone() {
        let ask = |line: &str| reaches(Args::new(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()));
        assert!(ask("SORT k BY w_*"));
        assert!(ask("SORT k GET # GET h_*->f"));
        for line in ["SORT k", "SORT k BY nosort", "SORT k GET # STORE d", "SORT k GET fixed", "SORT k BY w_* UP"] {
            assert!(!ask(line), "{line}");
        }
    }
}
