//! Byte strings of the configuration: names, paths, passwords.
//!
//! They are bytes and not `String`: a path or a password need not be UTF-8, and a configuration that was read from a
//! file must be written back byte by byte. They are shared, so that cloning a whole configuration for one `CONFIG SET`
//! copies no string.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// A byte string that is cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<[u8]>);

impl Text {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes as the name of a file.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `None` for the empty text, which is how redis.conf spells "not set".
    pub(crate) fn unless_empty(bytes: &[u8]) -> Option<Text> {
        (!bytes.is_empty()).then(|| Text::from(bytes))
    }
}

/// What CONFIG GET shows of a text that may be unset.
pub(crate) fn shown(text: &Option<Text>) -> &[u8] {
    text.as_ref().map_or(b"", Text::as_bytes)
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Text {
        Text(bytes.into())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// A text that no log and no trace shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Text);

impl Secret {
    /// The bytes, for whoever must compare or send them.
    pub fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub(crate) fn unless_empty(bytes: &[u8]) -> Option<Secret> {
        Text::unless_empty(bytes).map(Secret)
    }

    pub(crate) fn shown(secret: &Option<Secret>) -> &[u8] {
        secret.as_ref().map_or(b"", Secret::reveal)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_text_is_unset() {
        assert_eq!(Text::unless_empty(b""), None);
        assert_eq!(shown(&Text::unless_empty(b"a\xff")), b"a\xff");
        assert_eq!(shown(&None), b"");
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let secret = Secret::unless_empty(b"hunter2");
        assert_eq!(format!("{secret:?}"), "Some((secret))");
        assert_eq!(Secret::shown(&secret), b"hunter2");
    }
}
