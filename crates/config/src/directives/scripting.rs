//! Scripts and functions.

use crate::config::{BusyReplyThreshold, from_millis, millis};
use crate::quantity::{LONG, decimal};
use crate::spec::{Flags, Spec, number, switch};

pub(super) static TABLE: &[Spec] = &[
    number(
        "busy-reply-threshold",
        decimal(0, LONG),
        |c| millis(c.busy_reply_threshold.0),
        |c, n| c.busy_reply_threshold = BusyReplyThreshold(from_millis(n)),
    )
    .also(&["lua-time-limit"]),
    switch("lua-enable-deprecated-api", |c| c.deprecated_script_api, |c, on| c.deprecated_script_api = on)
        .is(Flags::IMMUTABLE.and(Flags::HIDDEN)),
];
