//! The first line of a script that declares how it behaves: `#!lua flags=no-writes,allow-stale`.

use quorate_resp::split_words;
use thiserror::Error;

/// What a script declares about itself. All of it is for the host to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// `no-writes`: it calls no write command.
    pub no_writes: bool,
    /// `allow-oom`: it may run when memory is short.
    pub allow_oom: bool,
    /// `allow-stale`: it may run on a replica that has lost its primary.
    pub allow_stale: bool,
    /// `no-cluster`: it refuses to run in cluster mode.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`: its keys may lie in several slots.
    pub allow_cross_slot_keys: bool,
}

/// Why a first line is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShebangError {
    /// The line does not end.
    #[error("Invalid script shebang")]
    Unterminated,
    /// The line can't be cut into words.
    #[error("Invalid engine in script shebang")]
    Unreadable,
    /// The first word is not `#!lua`.
    #[error("Unexpected engine in script shebang: {0}")]
    Engine(String),
    /// An option other than `flags=`.
    #[error("Unknown lua shebang option: {0}")]
    Option(String),
    /// A flag that nobody knows.
    #[error("Unexpected flag in script shebang: {0}")]
    Flag(String),
}

/// Reads the first line of `source`. `None` as flags: the script declares nothing, not even that it
/// knows of flags. The rest begins with the line's end, so that line numbers stay right.
pub(crate) fn split(source: &[u8]) -> Result<(Option<Flags>, &[u8]), ShebangError> {
    if !source.starts_with(b"#!") {
        return Ok((None, source));
    }
    let end = source.iter().position(|&byte| byte == b'\n').ok_or(ShebangError::Unterminated)?;
    let words = split_words(&source[..end]).ok_or(ShebangError::Unreadable)?;
    let mut words = words.iter().map(Vec::as_slice);
    let engine = words.next().unwrap_or_default();
    if engine != b"#!lua" {
        return Err(ShebangError::Engine(shown(engine)));
    }
    let mut flags = Flags::default();
    for word in words {
        let list = word.strip_prefix(b"flags=").ok_or_else(|| ShebangError::Option(shown(word)))?;
        if list.is_empty() {
            continue;
        }
        for name in list.split(|&byte| byte == b',') {
            *flags.named(name).ok_or_else(|| ShebangError::Flag(shown(name)))? = true;
        }
    }
    Ok((Some(flags), &source[end..]))
}

/// What the first line of `source` declares; `None` if there is no such line, or one that is refused.
pub fn declared_flags(source: &[u8]) -> Option<Flags> {
    split(source).ok()?.0
}

impl Flags {
    /// The names of the flags that are set, in Redis' order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (self.no_writes, "no-writes"),
            (self.allow_oom, "allow-oom"),
            (self.allow_stale, "allow-stale"),
            (self.no_cluster, "no-cluster"),
            (self.allow_cross_slot_keys, "allow-cross-slot-keys"),
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
    }

    /// The flag of that name.
    pub(crate) fn named(&mut self, name: &[u8]) -> Option<&mut bool> {
        Some(match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return None,
        })
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(source: &str) -> String {
        split(source.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_script_without_a_first_line_declares_nothing() {
        assert_eq!(split(b"return 1"), Ok((None, &b"return 1"[..])));
        assert_eq!(split(b"\n#!lua\n"), Ok((None, &b"\n#!lua\n"[..])));
    }

    #[test]
    fn flags_are_read_and_the_line_end_stays() {
        let all = b"#!lua flags=no-writes,allow-oom flags=allow-stale,no-cluster,allow-cross-slot-keys\nreturn 1";
        let flags = Flags {
            no_writes: true,
            allow_oom: true,
            allow_stale: true,
            no_cluster: true,
            allow_cross_slot_keys: true,
        };
        assert_eq!(split(all), Ok((Some(flags), &b"\nreturn 1"[..])));
        assert_eq!(split(b"#!lua flags=\n"), Ok((Some(Flags::default()), &b"\n"[..])));
        assert_eq!(split(b"#!lua\r\nx"), Ok((Some(Flags::default()), &b"\nx"[..])));
    }

    #[test]
    fn refusals_have_the_words_of_redis() {
        assert_eq!(refusal("#!lua"), "Invalid script shebang");
        assert_eq!(refusal("#!lua 'flags=no-writes\n"), "Invalid engine in script shebang");
        assert_eq!(refusal("#!not-lua\n"), "Unexpected engine in script shebang: #!not-lua");
        assert_eq!(refusal("#! lua\n"), "Unexpected engine in script shebang: #!");
        assert_eq!(refusal("#!lua name=x\n"), "Unknown lua shebang option: name=x");
        assert_eq!(refusal("#!lua flags=no-writes,\n"), "Unexpected flag in script shebang: ");
        assert_eq!(refusal("#!lua flags=NO-WRITES\n"), "Unexpected flag in script shebang: NO-WRITES");
    }
}
