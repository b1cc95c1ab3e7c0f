//! Scores, and members with their scores, in replies.

use quorate_resp::{Protocol, ReplyWriter};
use quorate_values::listpack::Item;
use quorate_values::write_double;

/// How members are answered with their scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scores {
    /// Without them.
    None,
    /// One behind the other.
    Flat,
    /// Each pair in an array of its own.
    Nested,
}

impl Scores {
    /// As `WITHSCORES` asks for: nested in RESP3.
    pub(crate) fn wanted(with_scores: bool, protocol: Protocol) -> Scores {
        match (with_scores, protocol) {
            (false, _) => Scores::None,
            (true, Protocol::Resp2) => Scores::Flat,
            (true, Protocol::Resp3) => Scores::Nested,
        }
    }

    /// Writes the head of `members` members.
    pub(crate) fn head(self, reply: &mut ReplyWriter<'_>, members: usize) {
        reply.array(if self == Scores::Flat { members.saturating_mul(2) } else { members });
    }

    /// Writes one member.
    #[inline]
    pub(crate) fn member(self, reply: &mut ReplyWriter<'_>, member: Item<'_>, score: f64) {
        if self == Scores::Nested {
            reply.array(2);
        }
        reply.bulk(member.text(&mut itoa::Buffer::new()));
        if self != Scores::None {
            push_score(reply, score);
        }
    }

    /// Writes all members, and their number in front.
    pub(crate) fn members<'m>(
        self,
        reply: &mut ReplyWriter<'_>,
        members: impl ExactSizeIterator<Item = (Item<'m>, f64)>,
    ) {
        self.head(reply, members.len());
        members.for_each(|(member, score)| self.member(reply, member, score));
    }
}

/// Writes a score.
#[inline]
pub(crate) fn push_score(reply: &mut ReplyWriter<'_>, score: f64) {
    reply.double_from(|out| write_double(out, score));
}
