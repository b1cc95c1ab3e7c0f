//! SLOWLOG: the commands that took longest.

use std::time::Duration;

use quorate_commands::Args;

use crate::data::call::Cx;

/// Notes a command if it was slow.
#[inline]
pub fn note(_cx: &mut Cx<'_, '_>, _args: Args<'_>, _elapsed: Duration) {}
