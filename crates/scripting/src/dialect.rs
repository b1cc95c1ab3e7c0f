//! Luau's error messages in the words of Lua 5.1.
//!
//! Scripts and their tests match on these texts, and Redis passes them on to clients. What Lua 5.1
//! knows beyond Luau (the name of the variable that was nil) can't be recovered; everything else is
//! said as it was. The table of differences is in `docs/lua.md`.

use std::borrow::Cow;

/// `message` in the words of Lua 5.1, with its `source:line: ` left in front.
pub(crate) fn to_lua51(message: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(message) else { return Cow::Borrowed(message) };
    // The sandbox's own Lua has no lines that would mean something to a script.
    if let Some(complaint) = text.strip_prefix("sandbox:0: ") {
        let complaint = translate(complaint).unwrap_or_else(|| complaint.to_owned());
        return Cow::Owned(complaint.into_bytes());
    }
    let (position, complaint) = split_position(text);
    match translate(complaint) {
        Some(complaint) => Cow::Owned(format!("{position}{complaint}").into_bytes()),
        None => Cow::Borrowed(message),
    }
}

/// Cuts behind `source:line: `, where there is one.
fn split_position(text: &str) -> (&str, &str) {
    let mut from = 0;
    while let Some(colon) = text[from..].find(':').map(|at| from + at) {
        let digits = text[colon + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let behind = colon + 1 + digits;
        if digits > 0 && text[behind..].starts_with(": ") {
            return text.split_at(behind + 2);
        }
        from = colon + 1;
    }
    ("", text)
}

fn translate(complaint: &str) -> Option<String> {
    if complaint == "attempt to modify a readonly table" {
        return Some("Attempt to modify a readonly table".into());
    }
    if let Some(rest) = complaint.strip_prefix("invalid argument #") {
        let rest = match rest.split_once(" (") {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{number} to '?' ({rest}")
            }
            _ => rest.to_owned(),
        };
        return Some(format!("bad argument #{rest}"));
    }
    if let Some(rest) = complaint.strip_prefix("missing argument #") {
        if rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(format!("bad argument #{rest} to '?' (value expected)"));
        }
        let (place, expected) = rest.split_once(" (")?;
        let expected = expected.strip_suffix(" expected)")?;
        let place = if place.contains(" to ") { place.to_owned() } else { format!("{place} to '?'") };
        return Some(format!("bad argument #{place} ({expected} expected, got no value)"));
    }
    if let Some(rest) = complaint.strip_prefix("invalid 'for' ") {
        let (what, _) = rest.split_once(" (number expected")?;
        return Some(format!("'for' {what} must be a number"));
    }
    let attempt = complaint.strip_prefix("attempt to ")?;
    if let Some(rest) = attempt.strip_prefix("index ") {
        let (kind, _) = rest.split_once(" with ")?;
        return Some(format!("attempt to index a {kind} value"));
    }
    if let Some(rest) = attempt.strip_prefix("concatenate ") {
        let (left, right) = rest.split_once(" with ")?;
        let kind = if matches!(left, "string" | "number") { right } else { left };
        return Some(format!("attempt to concatenate a {kind} value"));
    }
    if let Some(rest) = attempt.strip_prefix("perform arithmetic (") {
        let (_, kinds) = rest.split_once(") on ")?;
        let (left, right) = kinds.split_once(" and ").unwrap_or((kinds, kinds));
        let kind = if left == "number" { right } else { left };
        return Some(format!("attempt to perform arithmetic on a {kind} value"));
    }
    if let Some(rest) = attempt.strip_prefix("call missing method '") {
        let (name, _) = rest.rsplit_once("' of ")?;
        return Some(format!("attempt to call method '{name}' (a nil value)"));
    }
    if let Some(rest) = attempt.strip_prefix("compare ") {
        let (left, rest) = rest.split_once(' ')?;
        let (_, right) = rest.split_once(' ')?;
        return Some(match left == right {
            true => format!("attempt to compare two {left} values"),
            false => format!("attempt to compare {left} with {right}"),
        });
    }
    if attempt == "iterate over a nil value" {
        return Some("attempt to call a nil value".into());
    }
    if let Some(kind) = attempt.strip_prefix("iterate over a ") {
        return Some(format!("attempt to call a {kind}"));
    }
    None
}

/// A complaint of Luau's compiler in the words of Lua 5.1, with its `source:line: ` left in front.
pub(crate) fn compile_error(message: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(message) else { return Cow::Borrowed(message) };
    let (position, complaint) = split_position(text);
    match translate_syntax(complaint) {
        Some(complaint) => Cow::Owned(format!("{position}{complaint}").into_bytes()),
        None => Cow::Borrowed(message),
    }
}

fn translate_syntax(complaint: &str) -> Option<String> {
    match complaint {
        "Malformed string; did you forget to finish it?" => return Some("unfinished string".into()),
        "Malformed number" => return Some("malformed number".into()),
        "Incomplete statement: expected assignment or a function call" => return Some("'=' expected".into()),
        _ => {}
    }
    let (wanted, found) = complaint.strip_prefix("Expected ")?.split_once(", got ")?;
    let found = found.split_once("; did you").map_or(found, |(found, _)| found);
    let found = if found == "<eof>" { "'<eof>'" } else { found };
    let (wanted, context) = match wanted.split_once(" when parsing ") {
        Some((wanted, context)) => (wanted, context),
        None => (wanted, ""),
    };
    match (wanted, context) {
        ("identifier", "expression") => Some(format!("unexpected symbol near {found}")),
        ("identifier", _) => Some(format!("<name> expected near {found}")),
        ("<eof>", _) => Some(format!("'<eof>' expected near {found}")),
        _ => match wanted.split_once(" (") {
            Some((wanted, opened)) => Some(format!("{wanted} expected ({opened} near {found}")),
            None => Some(format!("{wanted} expected near {found}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_said_in_the_words_of_lua_5_1() {
        let check = |luau: &str, lua: &str| {
            assert_eq!(String::from_utf8_lossy(&to_lua51(luau.as_bytes())), lua);
            let positioned = format!("user_script:12: {luau}");
            assert_eq!(String::from_utf8_lossy(&to_lua51(positioned.as_bytes())), format!("user_script:12: {lua}"));
        };
        check("attempt to modify a readonly table", "Attempt to modify a readonly table");
        check("attempt to index nil with 'x'", "attempt to index a nil value");
        check("attempt to perform arithmetic (add) on nil and number", "attempt to perform arithmetic on a nil value");
        check(
            "attempt to perform arithmetic (sub) on number and table",
            "attempt to perform arithmetic on a table value",
        );
        check("attempt to perform arithmetic (unm) on table", "attempt to perform arithmetic on a table value");
        check("attempt to concatenate string with nil", "attempt to concatenate a nil value");
        check("attempt to compare nil < number", "attempt to compare nil with number");
        check("attempt to compare nil <= nil", "attempt to compare two nil values");
        check("attempt to get length of a nil value", "attempt to get length of a nil value");
        check("attempt to call missing method 'x' of table", "attempt to call method 'x' (a nil value)");
        check("missing argument #1", "bad argument #1 to '?' (value expected)");
        check(
            "invalid argument #1 to 'f' (table expected, got nil)",
            "bad argument #1 to 'f' (table expected, got nil)",
        );
        check("missing argument #2 to 'f' (number expected)", "bad argument #2 to 'f' (number expected, got no value)");
        check("missing argument #1 (string expected)", "bad argument #1 to '?' (string expected, got no value)");
        check("invalid 'for' initial value (number expected, got string)", "'for' initial value must be a number");
    }

    #[test]
    fn what_scripts_say_themselves_stays() {
        for text in ["attempt to dance", "user_script:1: my own", "", ":", "a:1:", "a:1: ", "invalid argument"] {
            assert_eq!(to_lua51(text.as_bytes()), text.as_bytes());
        }
        assert_eq!(&*to_lua51(b"\xff: attempt to index nil with 'x'"), b"\xff: attempt to index nil with 'x'");
    }

    #[test]
    fn complaints_of_the_compiler_are_said_in_the_words_of_lua_5_1() {
        let check = |luau: &str, lua: &str| {
            let positioned = format!("user_script:3: {luau}");
            assert_eq!(String::from_utf8_lossy(&compile_error(positioned.as_bytes())), format!("user_script:3: {lua}"));
        };
        check("Expected identifier when parsing expression, got <eof>", "unexpected symbol near '<eof>'");
        check("Expected identifier when parsing variable name, got '='", "<name> expected near '='");
        check("Expected 'then' when parsing if statement, got <eof>", "'then' expected near '<eof>'");
        check("Expected <eof>, got '5'", "'<eof>' expected near '5'");
        check(
            "Expected 'end' (to close 'function' at line 1), got <eof>; did you forget to close 'do' at line 2?",
            "'end' expected (to close 'function' at line 1) near '<eof>'",
        );
        check("Something new", "Something new");
    }
}
