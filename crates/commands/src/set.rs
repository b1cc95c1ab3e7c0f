//! Commands on sets.

pub(crate) mod algebra;
pub(crate) mod random;
pub(crate) mod read;
pub(crate) mod write;
