//! Commands on sorted sets.

pub(crate) mod algebra;
mod bounds;
pub(crate) mod look;
pub(crate) mod pop;
pub(crate) mod random;
pub(crate) mod range;
pub(crate) mod remove;
mod reply;
pub(crate) mod write;
