//! Commands on strings.

pub(crate) mod get;
pub(crate) mod set;
