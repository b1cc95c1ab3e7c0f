//! RESP2 and RESP3: requests in, replies out, and the other way round for our own clients.
//!
//! The only room that knows how the protocol's versions differ on the wire
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>). It knows no socket: it works on
//! bytes that somebody else reads and writes.

mod inline;
mod reply;
mod request;
mod writer;

pub use inline::split_words;
pub use reply::{Reply, ReplyError, parse_reply};
pub use request::{Limits, Parsed, ProtocolError, RequestParser, Span, encode_request, find_whole};
pub use writer::{Deferred, Protocol, ReplyWriter, push_bulk, push_int, push_multibulk};
