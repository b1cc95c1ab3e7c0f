//! Where the engine is known to answer otherwise than Redis 7.0.15, and why.

/// A script that answers otherwise.
pub struct Known {
    /// The script as it stands in its file.
    pub script: &'static str,
    /// A part of our answer that shows what it is.
    pub ours: &'static str,
    /// Why it is so.
    #[allow(dead_code, reason = "it is there to be read")]
    pub why: &'static str,
}

pub const DIFFERENCES: &[Known] = &[];
pub const MISSING_GLOBALS: &[&str] = &[];
pub const ADDED_GLOBALS: &[&str] = &[];
