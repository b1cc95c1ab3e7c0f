//! Commands on hashes.

pub(crate) mod expire;
pub(crate) mod extended;
mod fields;
pub(crate) mod number;
pub(crate) mod random;
pub(crate) mod read;
pub(crate) mod write;
