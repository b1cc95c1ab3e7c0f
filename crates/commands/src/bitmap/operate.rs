//! BITOP: strings made of strings, bit by bit.

use quorate_values::ValueRef;

use super::BITMAP;
use crate::exec::as_str;
use crate::{Access, Args, Arity, Class, CommandError, Exec, Flags, Keys, Outcome, Run, Spec};

/// BITOP AND | OR | XOR | NOT destination key [key ...]
pub(crate) static BITOP: Spec = Spec {
    name: "bitop",
    arity: Arity::AtLeast(4),
    flags: Flags::WRITE.and(Flags::DENY_OOM),
    keys: &[(Keys::At(2), Access::OVERWRITE), (Keys::Span { first: 3, last: -1, step: 1 }, Access::READ)],
    since: "2.6.0",
    complexity: "O(N) for N bytes in all strings",
    summary: "Combines strings bit by bit and stores the result.",
    run: Run::Data(bitop),
    ..BITMAP
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn of(args: Args<'_>) -> Result<Operation, CommandError> {
        let all = [("AND", Operation::And), ("OR", Operation::Or), ("XOR", Operation::Xor), ("NOT", Operation::Not)];
        let named = all.into_iter().find(|(name, _)| args.is(1, name)).map(|(_, operation)| operation);
        match named.ok_or(CommandError::Syntax)? {
            Operation::Not if args.len() != 4 => {
                Err(CommandError::text("ERR BITOP NOT must be called with a single source key."))
            }
            operation => Ok(operation),
        }
    }

    /// Folds `more` into `result`, which is at least as long; behind its end it is zeros.
    fn fold(self, result: &mut [u8], more: &[u8]) {
        let (head, tail) = result.split_at_mut(more.len());
        let pairs = head.iter_mut().zip(more);
        match self {
            Operation::And => {
                pairs.for_each(|(own, other)| *own &= other);
                tail.fill(0);
            }
            Operation::Or => pairs.for_each(|(own, other)| *own |= other),
            Operation::Xor => pairs.for_each(|(own, other)| *own ^= other),
            Operation::Not => {}
        }
    }
}

fn bitop(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let operation = Operation::of(args)?;
    let (key, sources) = (args.at(2), args.from(3));
    let mut len = 0;
    for source in sources {
        len = len.max(as_str(cx.keys.read(cx.db, source))?.map_or(0, |text| text.text_len()));
    }
    let mut result = Vec::with_capacity(len);
    for (index, source) in sources.iter().enumerate() {
        let mut buffer = itoa::Buffer::new();
        let bytes = match cx.keys.peek(cx.db, source).map(|entry| entry.value()) {
            Some(ValueRef::Str(text)) => text.text(&mut buffer),
            _ => b"",
        };
        if index > 0 {
            operation.fold(&mut result, bytes);
        } else {
            result.extend_from_slice(bytes);
            result.resize(len, 0);
        }
    }
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if len > 0 {
        cx.keys.set_str(cx.db, key, &result, None);
        cx.changed(1);
        cx.notify(Class::STRING, "set", key);
    } else if cx.remove(key, cx.keys.scope().lazy.server_del) {
        cx.changed(1);
        cx.notify(Class::GENERIC, "del", key);
    }
    cx.reply.count(len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Bench;

    #[test]
    fn strings_are_combined_and_the_shorter_ones_padded() {
        let mut bench = Bench::new();
        bench.script(
            r#"SET {t}a "abc" => OK
             SET {t}b "aB" => OK
             BITOP AND {t}d {t}a {t}b => 3
             BITCOUNT {t}d 2 2 => 0
             GETRANGE {t}d 0 1 => aB
             BITOP or {t}d {t}a {t}b => 3
             GET {t}d => abc
             BITOP XOR {t}d {t}a {t}a {t}b => 3
             GETRANGE {t}d 0 1 => aB
             BITOP AND {t}d {t}a {t}none => 3
             BITCOUNT {t}d => 0
             BITOP NOT {t}d {t}a => 3
             BITOP NOT {t}d {t}d => 3
             GET {t}d => abc
             BITOP NOT {t}d {t}a {t}b => ERR BITOP NOT must be called with a single source key.
             BITOP NAND {t}d {t}a {t}b => ERR syntax error
             HSET {t}h f v => 1
             BITOP OR {t}d {t}a {t}h => WRONGTYPE Operation against a key holding the wrong kind of value"#,
        );
        bench.check("BITOP OR {t}h {t}a", "3").propagates("BITOP OR {t}h {t}a").notifies("set {t}h");
        bench.check("BITOP OR {t}h {t}none", "0").propagates("BITOP OR {t}h {t}none").notifies("del {t}h");
        bench.check("BITOP OR {t}h {t}none", "0").propagates("").notifies("");
    }
}
