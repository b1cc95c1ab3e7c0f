//! What a table does with keys: it hashes and compares them.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

/// The hash of a key, seeded anew in each process, so that nobody can prepare colliding keys.
#[inline]
pub fn hash_bytes(key: &[u8]) -> u64 {
    static STATE: OnceLock<foldhash::quality::RandomState> = OnceLock::new();
    let mut hasher = STATE.get_or_init(Default::default).build_hasher();
    hasher.write(key);
    hasher.finish()
}

/// Whether two keys are equal. They nearly always are where this is asked, and short, for which a call of the general
/// comparison takes longer than the comparison.
#[inline]
pub(super) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    match (a.first_chunk(), a.last_chunk(), b.first_chunk(), b.last_chunk()) {
        (Some(a_head), Some(a_tail), Some(b_head), Some(b_tail)) if a.len() <= 16 => {
            (word(a_head) ^ word(b_head)) | (word(a_tail) ^ word(b_tail)) == 0
        }
        _ => a == b,
    }
}
