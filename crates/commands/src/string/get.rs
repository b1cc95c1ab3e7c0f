//! GET: the string at a key.

use crate::{Access, Args, Arity, Exec, Flags, Group, Keys, Outcome, Run, Spec};

/// GET key
pub(crate) static GET: Spec = Spec {
    name: "get",
    group: Group::String,
    arity: Arity::Exactly(2),
    flags: Flags::READONLY.and(Flags::FAST),
    keys: &[(Keys::At(1), Access::READ)],
    since: "1.0.0",
    summary: "Returns the string value of a key.",
    run: Run::Data(get),
    ..Spec::BLANK
};

fn get(cx: &mut Exec<'_, '_>, args: Args<'_>) -> Outcome {
    let text = match cx.keys.read(cx.db, args.at(1)).map(|entry| entry.value()) {
        None => {
            cx.reply.null();
            return Ok(());
        }
        Some(quorate_values::ValueRef::Str(text)) => text,
        Some(_) => return Err(crate::CommandError::WrongType),
    };
    cx.reply.bulk(text.text(&mut itoa::Buffer::new()));
    Ok(())
}
