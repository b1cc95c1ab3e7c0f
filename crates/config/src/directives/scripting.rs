//! Scripts and functions.

use crate::config::{BusyReplyThreshold, from_millis, millis};
use crate::quantity::{LONG, decimal};
use crate::spec::{Flags, Form, Spec, kept, number};

pub(super) static TABLE: &[Spec] = &[
    number(
        "busy-reply-threshold",
        decimal(0, LONG),
        |c| millis(c.busy_reply_threshold.0),
        |c, n| c.busy_reply_threshold = BusyReplyThreshold(from_millis(n)),
    )
    .also(&["lua-time-limit"]),
    kept("lua-enable-deprecated-api", Form::Switch, "no", "scripts never see the old names of the API")
        .is(Flags::IMMUTABLE.and(Flags::HIDDEN)),
];
