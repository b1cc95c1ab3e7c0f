//! Commands on keys, whatever they hold.

pub(crate) mod dump;
pub(crate) mod expire;
pub(crate) mod look;
pub(crate) mod object;
pub(crate) mod place;
pub(crate) mod remove;
pub(crate) mod scan;
pub(crate) mod sort;
pub(crate) mod ttl;
