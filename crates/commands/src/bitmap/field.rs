//! BITFIELD: a string as an array of integers of any width, read, set and counted up at any bit.

use quorate_values::{StrRef, parse_i64};

use super::BITMAP;
use crate::exec::as_str;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset by ...]
pub(crate) static BITFIELD: Spec = Spec {
    name: "bitfield",
    arity: Arity::AtLeast(2),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::of(&["RW", "access", "update", "variable_flags"]))],
    precisely: Some(|args| {
        let writes = (2..args.len()).any(|at| args.is(at, "SET") || args.is(at, "INCRBY"));
        if writes { Access::READ_UPDATE } else { Access::READ }
    }),
    since: "3.2.0",
    complexity: "O(1) for each subcommand specified",
    summary: "Reads, sets and increments integers of any width within a string.",
    run: Run::Data(|cx, args| bitfield(cx, args, true)),
    ..BITMAP
};

/// BITFIELD_RO key [GET type offset ...]
pub(crate) static BITFIELD_RO: Spec = Spec {
    name: "bitfield_ro",
    arity: Arity::AtLeast(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    since: "6.0.0",
    complexity: "O(1) for each subcommand specified",
    summary: "Reads integers of any width within a string.",
    run: Run::Data(|cx, args| bitfield(cx, args, false)),
    ..BITMAP
};

/// What happens to a number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    /// Its highest bits are lost.
    Wrap,
    /// It becomes the nearest one that fits.
    Saturate,
    /// It is not stored.
    Fail,
}

/// An integer's place and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    signed: bool,
    /// 1 to 64, of unsigned ones to 63.
    width: u32,
    /// Its first bit.
    at: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

impl Field {
    fn parse(cx: &Exec<'_, '_>, kind: &[u8], offset: &[u8]) -> Result<Field, CommandError> {
        const TYPE: CommandError = CommandError::text(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        );
        let (sign, width) = kind.split_first().ok_or(TYPE)?;
        let signed = *sign == b'i';
        let width = parse_i64(width).filter(|&width| width >= 1 && width <= if signed { 64 } else { 63 });
        let width = width.filter(|_| signed || *sign == b'u').ok_or(TYPE)? as u32;
        let (times, digits) = match offset.split_first() {
            Some((b'#', digits)) => (u64::from(width), digits),
            _ => (1, offset),
        };
        let at = parse_i64(digits).and_then(|at| u64::try_from(at).ok()).and_then(|at| at.checked_mul(times));
        let at = at.filter(|at| at.checked_add(width.into()).is_some_and(|_| at >> 3 < cx.settings.max_string as u64));
        let at = at.ok_or(CommandError::text("ERR bit offset is not an integer or out of range"))?;
        Ok(Field { signed, width, at })
    }

    /// The bytes that a string needs to hold it.
    fn end(self) -> usize {
        (self.at + u64::from(self.width)).div_ceil(8) as usize
    }

    /// Its value; what is behind the end of `bytes` is zeros.
    fn get(self, bytes: &[u8]) -> i64 {
        let first = (self.at / 8) as usize;
        let wide =
            (first..self.end()).fold(0_u128, |wide, byte| wide << 8 | u128::from(*bytes.get(byte).unwrap_or(&0)));
        let spare = self.end() as u64 * 8 - self.at - u64::from(self.width);
        let bits = (wide >> spare) as u64;
        let unused = 64 - self.width;
        if self.signed { (bits << unused) as i64 >> unused } else { (bits << unused >> unused) as i64 }
    }

    /// Sets its value, of which as many low bits are taken as it has; `bytes` are long enough.
    fn set(self, bytes: &mut [u8], value: i64) {
        for index in 0..u64::from(self.width) {
            let at = self.at + index;
            let mask = 0x80 >> (at % 8);
            let byte = &mut bytes[(at / 8) as usize];
            let is_one = value as u64 >> (u64::from(self.width) - 1 - index) & 1 == 1;
            *byte = if is_one { *byte | mask } else { *byte & !mask };
        }
    }

    /// `sum` as it is stored, or `None` if it is not to be.
    fn fit(self, sum: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = match (self.signed, self.width) {
            (true, width) => (-(1_i128 << (width - 1)), (1_i128 << (width - 1)) - 1),
            (false, width) => (0, (1_i128 << width) - 1),
        };
        match overflow {
            _ if (min..=max).contains(&sum) => Some(sum as i64),
            Overflow::Saturate => Some(sum.clamp(min, max) as i64),
            Overflow::Fail => None,
            Overflow::Wrap => {
                let unused = 128 - self.width;
                let bits = (sum as u128) << unused;
                Some(if self.signed { (bits as i128 >> unused) as i64 } else { (bits >> unused) as i64 })
            }
        }
    }
}

fn parse(cx: &Exec<'_, '_>, args: Args<'_>, may_write: bool) -> Result<Vec<(Field, Action)>, CommandError> {
    let mut actions = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - at - 1;
        let action = if args.is(at, "GET") && left >= 2 {
            Action::Get
        } else if args.is(at, "SET") && left >= 3 {
            Action::Set(0, overflow)
        } else if args.is(at, "INCRBY") && left >= 3 {
            Action::Increment(0, overflow)
        } else if args.is(at, "OVERFLOW") && left >= 1 {
            let known = [("WRAP", Overflow::Wrap), ("SAT", Overflow::Saturate), ("FAIL", Overflow::Fail)];
            let named = known.into_iter().find(|(name, _)| args.is(at + 1, name));
            overflow = named.ok_or(CommandError::text("ERR Invalid OVERFLOW type specified"))?.1;
            at += 2;
            continue;
        } else {
            return Err(CommandError::Syntax);
        };
        let field = Field::parse(cx, args.at(at + 1), args.at(at + 2))?;
        let (action, taken) = match action {
            Action::Get => (action, 3),
            Action::Set(..) => (Action::Set(args.int(at + 3)?, overflow), 4),
            Action::Increment(..) => (Action::Increment(args.int(at + 3)?, overflow), 4),
        };
        if action != Action::Get && !may_write {
            return Err(CommandError::text("ERR BITFIELD_RO only supports the GET subcommand"));
        }
        actions.push((field, action));
        at += taken;
    }
    Ok(actions)
}

fn bitfield(cx: &mut Exec<'_, '_>, args: Args<'_>, may_write: bool) -> Outcome {
    let actions = parse(cx, args, may_write)?;
    let writes = actions.iter().filter(|(_, action)| *action != Action::Get);
    match writes.map(|(field, _)| field.end()).max() {
        Some(end) => write(cx, args.at(1), &actions, end),
        None => read(cx, args.at(1), &actions),
    }
}

fn read(cx: &mut Exec<'_, '_>, key: &[u8], actions: &[(Field, Action)]) -> Outcome {
    let text = as_str(cx.keys.read(cx.db, key))?;
    let mut buffer = itoa::Buffer::new();
    let bytes = text.as_ref().map_or(&b""[..], |text| text.text(&mut buffer));
    cx.reply.array(actions.len());
    for (field, _) in actions {
        cx.reply.int(field.get(bytes));
    }
    Ok(())
}

fn write(cx: &mut Exec<'_, '_>, key: &[u8], actions: &[(Field, Action)], end: usize) -> Outcome {
    let len = as_str(cx.keys.find(cx.db, key))?.map(StrRef::text_len);
    if len.is_none() {
        cx.keys.set_str(cx.db, key, b"", None);
    }
    // A string that has grown is another one, whatever is written to it.
    let grown = len.is_none_or(|len| len < end);
    let (mut answers, mut changes) = (Vec::with_capacity(actions.len()), 0);
    if let Some(mut entry) = cx.keys.modify(cx.db, key) {
        entry.bytes_mut(|bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            for (field, action) in actions {
                let old = field.get(bytes);
                let (new, answer) = match *action {
                    Action::Get => (None, Some(old)),
                    // Of an unsigned field a negative value is the large number that its bits spell.
                    Action::Set(value, overflow) => {
                        let value = if field.signed { i128::from(value) } else { i128::from(value as u64) };
                        let new = field.fit(value, overflow);
                        (new, new.map(|_| old))
                    }
                    Action::Increment(by, overflow) => {
                        let new = field.fit(i128::from(old) + i128::from(by), overflow);
                        (new, new)
                    }
                };
                if let Some(new) = new {
                    field.set(bytes, new);
                    changes += usize::from(grown || new != old);
                }
                answers.push(answer);
            }
        });
    }
    if changes > 0 || grown {
        cx.modified(key, changes.max(1));
        cx.notify(Class::STRING, "setbit", key);
    }
    cx.reply.array(answers.len());
    for answer in answers {
        match answer {
            Some(value) => cx.reply.int(value),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Field;
    use crate::testing::Bench;

    #[test]
    fn fields_of_every_width_and_place_keep_to_themselves() {
        for signed in [false, true] {
            for width in 1..=if signed { 64 } else { 63 } {
                for at in 0..17 {
                    let field = Field { signed, width, at };
                    for value in [0_u64, u64::MAX, 0x5a5a_a5a5_1234_8765] {
                        let unused = 64 - width;
                        let bits = value << unused;
                        let value = if signed { bits as i64 >> unused } else { (bits >> unused) as i64 };
                        for ground in [0, 0xff] {
                            let mut bytes = [ground; 12];
                            field.set(&mut bytes, value);
                            assert_eq!(field.get(&bytes), value, "{field:?}");
                            field.set(&mut bytes, if ground == 0 { 0 } else { -1 });
                            assert_eq!(bytes, [ground; 12], "{field:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn integers_are_read_set_and_counted_up() {
        let mut bench = Bench::new();
        bench.check("BITFIELD k SET u8 0 255 GET u8 0 INCRBY u8 #1 10", "[0 255 10]").notifies("setbit k");
        bench.propagates("BITFIELD k SET u8 0 255 GET u8 0 INCRBY u8 #1 10");
        bench.check("BITFIELD k SET u8 0 255", "[255]").propagates("").notifies("");
        bench.check("BITFIELD k GET u8 0", "[255]").propagates("");
        bench.script(
            "BITFIELD k GET i8 0 GET u4 4 GET u63 100 => [-1 15 0]
             BITFIELD k INCRBY u8 0 1 => [0]
             BITFIELD k OVERFLOW SAT INCRBY u8 0 300 INCRBY i8 #1 -200 => [255 -128]
             BITFIELD k OVERFLOW FAIL INCRBY u8 0 1 OVERFLOW WRAP INCRBY u8 0 1 => [nil 0]
             BITFIELD k OVERFLOW FAIL SET u8 0 -1 SET u8 0 7 => [nil 0]
             BITFIELD k OVERFLOW SAT SET u8 0 -1 GET u8 0 => [7 255]
             BITFIELD k SET i64 0 -9223372036854775808 OVERFLOW SAT INCRBY i64 0 -1 => [-36028797018963968 -9223372036854775808]
             BITFIELD k OVERFLOW foo INCRBY u8 0 1 => ERR Invalid OVERFLOW type specified
             BITFIELD k GET u64 0 => ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.
             BITFIELD k GET u8 -1 => ERR bit offset is not an integer or out of range
             BITFIELD k GET u8 #9223372036854775807 => ERR bit offset is not an integer or out of range
             BITFIELD k SET u8 0 x => ERR value is not an integer or out of range
             BITFIELD k GET u8 => ERR syntax error
             BITFIELD k => []
             BITFIELD_RO k GET u1 0 => [1]
             BITFIELD_RO k SET u1 0 1 => ERR BITFIELD_RO only supports the GET subcommand
             BITFIELD_RO none GET u1 0 => [0]
             HSET h f v => 1
             BITFIELD h SET u8 0 1 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
