//! SETBIT and GETBIT: single bits of strings, the first being the highest of the first byte.

use quorate_values::{StrRef, parse_i64};

use super::BITMAP;
use crate::exec::as_str;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// GETBIT key offset
pub(crate) static GETBIT: Spec = Spec {
    name: "getbit",
    since: "2.2.0",
    arity: Arity::Exactly(3),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    summary: "Returns a bit of the string at a key.",
    run: Run::Data(getbit),
    ..BITMAP
};

/// SETBIT key offset bit
pub(crate) static SETBIT: Spec = Spec {
    name: "setbit",
    since: "2.2.0",
    arity: Arity::Exactly(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(1), Access::of(&["RW", "access", "update"]))],
    summary: "Sets a bit of the string at a key, padding it with zero bytes as needed, and returns what it was.",
    run: Run::Data(setbit),
    ..BITMAP
};

/// The byte that the argument at index 2 names, and the bit's mask within it.
fn place(cx: &Exec<'_, '_>, args: Args<'_>) -> Result<(usize, u8), CommandError> {
    let offset = parse_i64(args.at(2)).and_then(|offset| u64::try_from(offset).ok());
    let offset = offset.filter(|offset| offset >> 3 < cx.settings.max_string as u64);
    let offset = offset.ok_or(CommandError::text("ERR bit offset is not an integer or out of range"))?;
    Ok(((offset >> 3) as usize, 0x80 >> (offset & 7)))
}

/// Whether the bit is set; bits behind the end are not.
fn bit(text: Option<StrRef<'_>>, byte: usize, mask: u8) -> bool {
    text.is_some_and(|text| {
        let mut buffer = itoa::Buffer::new();
        text.text(&mut buffer).get(byte).is_some_and(|byte| byte & mask != 0)
    })
}

fn getbit(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let (byte, mask) = place(cx, args)?;
    let is_set = bit(cx.string(args.at(1))?, byte, mask);
    cx.reply.int(i64::from(is_set));
    Ok(())
}

fn setbit(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let key = args.at(1);
    let (byte, mask) = place(cx, args)?;
    let on = match parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CommandError::text("ERR bit is not an integer or out of range")),
    };
    let text = as_str(cx.keys.find(cx.db, key))?;
    let (was, len) = (bit(text, byte, mask), text.map(StrRef::text_len));
    if len.is_none() {
        cx.keys.set_str(cx.db, key, b"", None);
    }
    if was != on || len.is_none_or(|len| len <= byte) {
        if let Some(mut entry) = cx.keys.modify(cx.db, key) {
            entry.bytes_mut(|bytes| {
                if bytes.len() <= byte {
                    bytes.resize(byte + 1, 0);
                }
                bytes[byte] = if on { bytes[byte] | mask } else { bytes[byte] & !mask };
            });
        }
        cx.modified(key, 1);
        cx.notify(Class::STRING, "setbit", key);
    }
    cx.reply.int(i64::from(was));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn bits_are_set_and_read_wherever_they_lie() {
        let mut bench = Bench::new();
        bench.check("SETBIT k 1 1", "0").propagates("SETBIT k 1 1").notifies("setbit k").check("GET k", "@");
        bench.check("SETBIT k 1 1", "1").propagates("").notifies("");
        bench.script(
            "SETBIT k 7 1 => 0
             GET k => A
             SETBIT k 1 0 => 1
             SETBIT k 23 0 => 0
             STRLEN k => 3
             GETBIT k 7 => 1
             GETBIT k 6 => 0
             GETBIT k 4294967295 => 0
             GETBIT none 0 => 0
             SET n 1 => OK
             GETBIT n 3 => 1
             SETBIT n 6 1 => 0
             GET n => 3
             SETBIT n 0 2 => ERR bit is not an integer or out of range
             SETBIT n 0 x => ERR bit is not an integer or out of range
             SETBIT n -1 1 => ERR bit offset is not an integer or out of range
             GETBIT n x => ERR bit offset is not an integer or out of range
             GETBIT n 4294967296 => ERR bit offset is not an integer or out of range
             HSET h f v => 1
             SETBIT h 0 1 => WRONGTYPE Operation against a key holding the wrong kind of value
             GETBIT h 0 => WRONGTYPE Operation against a key holding the wrong kind of value",
        );
    }
}
