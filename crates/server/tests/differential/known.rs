//! Where we answer otherwise on purpose, or the server compared with is older than the one we follow.

use quorate_resp::Reply;

/// Whether the difference is one of these.
pub(crate) fn is_known(request: &[Vec<u8>], ours: &Reply, theirs: &Reply) -> bool {
    let is =
        |index: usize, word: &str| request.get(index).is_some_and(|given| given.eq_ignore_ascii_case(word.as_bytes()));
    let ours_is = |text: &str| matches!(ours, Reply::Error(error) if error == text.as_bytes());
    if is(0, "object") && is(1, "refcount") {
        // We share no integers, so nothing is referred to twice.
        return *ours == Reply::Int(1) && *theirs == Reply::Int(i64::from(i32::MAX));
    }
    // We take cursors in decimal digits only, as later versions of Redis do.
    ["scan", "hscan", "sscan", "zscan"].iter().any(|name| is(0, name)) && ours_is("ERR invalid cursor")
}
