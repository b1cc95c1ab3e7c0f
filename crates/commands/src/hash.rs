//! Commands on hashes.

pub(crate) mod number;
pub(crate) mod random;
pub(crate) mod read;
pub(crate) mod write;
