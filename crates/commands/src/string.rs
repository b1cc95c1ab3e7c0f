//! Commands on strings.

pub(crate) mod get;
pub(crate) mod lcs;
pub(crate) mod many;
pub(crate) mod number;
pub(crate) mod part;
pub(crate) mod set;
