//! Parts of strings: APPEND, STRLEN, SETRANGE, GETRANGE.

use crate::exec::as_str;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Group, Keys, Outcome, Run, Spec};

const STRING: Spec = Spec { group: Group::String, ..Spec::BLANK };

/// APPEND key value
pub(crate) static APPEND: Spec = Spec {
    name: "append",
    arity: Arity::Exactly(3),
    flags: Flags::WRITE.and(Flags::DENY_OOM).and(Flags::FAST),
    keys: &[(Keys::At(1), Access::INSERT)],
    since: "2.0.0",
    summary: "Appends to the string at a key, which is made if it does not exist.",
    run: Run::Data(append),
    ..STRING
};

/// GETRANGE key start end
pub(crate) static GETRANGE: Spec = Spec {
    name: "getrange",
    arity: Arity::Exactly(4),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    since: "2.4.0",
    complexity: "O(N) for N bytes returned",
    summary: "Returns a part of the string at a key.",
    run: Run::Data(getrange),
    ..STRING
};

/// SETRANGE key offset value
pub(crate) static SETRANGE: Spec = Spec {
    name: "setrange",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::UPDATE)],
    since: "2.2.0",
    complexity: "O(N) for N bytes written",
    summary: "Overwrites a part of the string at a key, padding it with zero bytes as needed.",
    run: Run::Data(setrange),
    ..STRING
};

/// STRLEN key
pub(crate) static STRLEN: Spec = Spec {
    name: "strlen",
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::LOOK)],
    since: "2.2.0",
    summary: "Returns the length in bytes of the string at a key.",
    run: Run::Data(strlen),
    ..STRING
};

/// SUBSTR key start end
pub(crate) static SUBSTR: Spec = Spec {
    name: "substr",
    deprecated: Some(("2.0.0", "GETRANGE")),
    arity: Arity::Exactly(4),
    flags: Flags::READONLY,
    keys: &[(Keys::At(1), Access::READ)],
    complexity: "O(N) for N bytes returned",
    summary: "Returns a part of the string at a key; GETRANGE under its old name.",
    run: Run::Data(getrange),
    ..STRING
};

fn append(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, more) = (args.at(1), args.at(2));
    let max = cx.settings.max_string;
    let len = if let Some(mut entry) = cx.keys.modify(cx.db, key) {
        let len = as_str(Some(&entry))?.expect("there is an entry").text_len() + more.len();
        if len > max {
            return Err(CommandError::TooLong);
        }
        entry.bytes_mut(|bytes| bytes.extend_from_slice(more));
        len
    } else {
        cx.keys.set_str(cx.db, key, more, None);
        more.len()
    };
    cx.modified(key, 1);
    cx.notify(Class::STRING, "append", key);
    cx.reply.count(len);
    Ok(())
}

fn strlen(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let len = cx.string(args.at(1))?.map_or(0, |text| text.text_len());
    cx.reply.count(len);
    Ok(())
}

fn getrange(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (start, end) = (args.int(2)?, args.int(3)?);
    match as_str(cx.keys.read(cx.db, args.at(1)))? {
        None => cx.reply.bulk(b""),
        Some(text) => {
            let mut buffer = itoa::Buffer::new();
            let text = text.text(&mut buffer);
            cx.reply.bulk(part(text, start, end));
        }
    }
    Ok(())
}

/// The bytes from `start` to `end`, both included; negative indices count from the end.
fn part(text: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let len = text.len() as i64;
    let from_front = |index: i64| if index < 0 { index.saturating_add(len).max(0) } else { index };
    let (start, end) = (from_front(start), from_front(end).min(len - 1));
    if start > end { b"" } else { &text[start as usize..=end as usize] }
}

fn setrange(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (key, value) = (args.at(1), args.at(3));
    let offset = usize::try_from(args.int(2)?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let old = as_str(cx.keys.find(cx.db, key))?.map(|text| text.text_len());
    if value.is_empty() {
        cx.reply.count(old.unwrap_or(0));
        return Ok(());
    }
    let end = offset.checked_add(value.len()).filter(|&end| end <= cx.settings.max_string);
    let end = end.ok_or(CommandError::TooLong)?;
    if old.is_none() {
        cx.keys.set_str(cx.db, key, b"", None);
    }
    if let Some(mut entry) = cx.keys.modify(cx.db, key) {
        entry.bytes_mut(|bytes| {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset..end].copy_from_slice(value);
        });
    }
    cx.modified(key, 1);
    cx.notify(Class::STRING, "setrange", key);
    cx.reply.count(end.max(old.unwrap_or(0)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::part;
    use crate::testing::Bench;

    #[test]
    fn a_part_is_what_its_bounds_say() {
        let text = b"Hello World";
        for (start, end, expected) in [
            (0, 4, "Hello"),
            (-5, -1, "World"),
            (0, -1, "Hello World"),
            (6, 100, "World"),
            (5, 4, ""),
            (-1, -5, ""),
            (-100, 0, "H"),
            (11, 20, ""),
            (i64::MIN, i64::MAX, "Hello World"),
            (0, i64::MIN, "H"),
        ] {
            assert_eq!(part(text, start, end), expected.as_bytes(), "{start} {end}");
        }
        assert_eq!(part(b"", 0, -1), b"");
    }

    #[test]
    fn strings_grow_at_their_end_and_in_their_middle() {
        let mut bench = Bench::new();
        bench.script(
            "APPEND k abc => 3
             APPEND k def => 6
             SETRANGE k 1 XY => 6
             GET k => aXYdef
             SETRANGE k 0 \"\" => 6
             SETRANGE none 3 \"\" => 0
             EXISTS none => 0
             SETRANGE k -1 x => ERR offset is out of range
             SETRANGE k 536870912 x => ERR string exceeds maximum allowed size (proto-max-bulk-len)
             SETRANGE k 9223372036854775807 x => ERR string exceeds maximum allowed size (proto-max-bulk-len)
             SET n 12345 => OK
             STRLEN n => 5
             STRLEN none => 0
             GETRANGE n 1 2 => 23
             SUBSTR n 0 -2 => 1234
             SETRANGE n 1 9 => 5
             GET n => 19345
             SETRANGE new 2 x => 3
             STRLEN new => 3",
        );
        bench.check("APPEND k !", "7").propagates("APPEND k !").notifies("append k");
        assert_eq!(bench.run("GET new"), "\0\0x");
    }
}
