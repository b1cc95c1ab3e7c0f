//! The configuration: every directive of redis.conf, the files that hold them, and what CONFIG does with them.
//!
//! Read in this order: `spec` (what one directive is), `directives/` (the tables of them), `config` (their values),
//! `parse` (a file or a command line becomes values), `change` (CONFIG SET), `rewrite` (CONFIG REWRITE), `page` (what
//! the documentation says of them). It knows no server: what a change needs before it is in force is said by
//! [`Apply`], and done elsewhere.

mod change;
mod choice;
mod command_line;
mod config;
pub mod directives;
mod include;
mod line;
mod page;
mod parse;
mod quantity;
mod rewrite;
mod sentinel_lines;
mod spec;
mod text;

pub use change::{Change, ChangeError, Conditions, get};
pub use command_line::as_text;
pub use config::{BusyReplyThreshold, Config};
pub use directives::append_only::{AppendOnly, Fsync};
pub use directives::clients::{ClientMemory, Clients, OutputBufferLimit, OutputBufferLimits};
pub use directives::cluster::{Cluster, EndpointKind};
pub use directives::encodings::Encodings;
pub use directives::events::EventClasses;
pub use directives::general::{General, LogFormat, LogLevel, LogTime, Permission, Supervised, SyslogFacility};
pub use directives::latency::Latency;
pub use directives::lazy_free::LazyFree;
pub use directives::locks::{Locks, TtlClock};
pub use directives::memory::{Memory, Policy};
pub use directives::network::Network;
pub use directives::process::{OomScore, Process};
pub use directives::replication::{DisklessLoad, Primary, Replication};
pub use directives::security::{DefaultChannels, Security};
pub use directives::shutdown::{Saving, Shutdown, ShutdownOptions};
pub use directives::slow_log::SlowLog;
pub use directives::snapshots::{SaveRule, Snapshots};
pub use directives::testing::Testing;
pub use directives::tls::{ClientAuthentication, Tls};
pub use page::{page, reference};
pub use parse::{Kept, Loaded, Mode, ParseError, Place, Rename, Source, load};
pub use rewrite::{Scope, UserLines, rewrite, rewritten, write_file};
pub use sentinel_lines::{rewrite_sentinel, sentinel_rewritten};
pub use spec::{Apply, Meaning, Origin, Refusal, Spec};
pub use text::{Secret, Text};

/// The names of all directives but those that are for tests.
pub fn names() -> impl Iterator<Item = &'static str> {
    directives::all().filter(|spec| !spec.is_hidden()).map(|spec| spec.name)
}
