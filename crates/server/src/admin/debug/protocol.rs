//! DEBUG PROTOCOL: one reply of each kind, for the tests of clients.

use quorate_commands::{Args, CommandError, Outcome};
use quorate_resp::Protocol;

use crate::data::call::Cx;

/// Answers with a sample of the type that the argument names.
pub(super) fn sample(cx: &mut Cx<'_, '_>, args: Args<'_>) -> Outcome {
    let name = String::from_utf8_lossy(args.at(2)).to_lowercase();
    let is_new = cx.session.protocol == Protocol::Resp3;
    let mut reply = cx.reply();
    match &*name {
        "string" => reply.bulk(b"Hello World"),
        "integer" => reply.int(12345),
        "double" => reply.double_text(b"3.141"),
        "bignum" => reply.big_number(b"1234567999999999999999999999999999999"),
        "null" => reply.null(),
        "array" => {
            reply.array(3);
            (0..3).for_each(|number| reply.int(number));
        }
        "set" => {
            reply.set(3);
            (0..3).for_each(|number| reply.int(number));
        }
        "map" => {
            reply.map(3);
            for number in 0..3 {
                reply.int(number);
                reply.boolean(number == 1);
            }
        }
        "attrib" => {
            if is_new {
                reply.raw(b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        "push" if !is_new => return Err(CommandError::text("ERR RESP2 is not supported by this command")),
        "push" => {
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
            reply.bulk(b"Some real reply following the push reply");
        }
        "true" => reply.boolean(true),
        "false" => reply.boolean(false),
        "verbatim" => reply.verbatim(b"txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}
