//! Ranges of a sorted set: by score, and by member where all scores are equal.
//!
//! What a client writes as `(1`, `+inf`, `[a` or `-` is read by the commands; here is what it means.

/// A bound of scores; never NaN.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreBound {
    /// The score belongs to the range.
    Included(f64),
    /// It does not.
    Excluded(f64),
}

/// The scores from one bound to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreRange {
    /// The lower bound.
    pub min: ScoreBound,
    /// The upper bound.
    pub max: ScoreBound,
}

impl ScoreRange {
    /// Whether a score lies in front of the range.
    #[inline]
    pub fn is_below(&self, score: f64) -> bool {
        match self.min {
            ScoreBound::Included(min) => score < min,
            ScoreBound::Excluded(min) => score <= min,
        }
    }

    /// Whether a score lies behind the range.
    #[inline]
    pub fn is_above(&self, score: f64) -> bool {
        match self.max {
            ScoreBound::Included(max) => score > max,
            ScoreBound::Excluded(max) => score >= max,
        }
    }
}

/// A bound of members, which are ordered byte by byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// In front of all members.
    First,
    /// The member belongs to the range.
    Included(&'a [u8]),
    /// It does not.
    Excluded(&'a [u8]),
    /// Behind all members.
    Last,
}

/// The members from one bound to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexRange<'a> {
    /// The lower bound.
    pub min: LexBound<'a>,
    /// The upper bound.
    pub max: LexBound<'a>,
}

impl LexRange<'_> {
    /// Whether a member lies in front of the range.
    #[inline]
    pub fn is_below(&self, member: &[u8]) -> bool {
        match self.min {
            LexBound::First => false,
            LexBound::Included(min) => member < min,
            LexBound::Excluded(min) => member <= min,
            LexBound::Last => true,
        }
    }

    /// Whether a member lies behind the range.
    #[inline]
    pub fn is_above(&self, member: &[u8]) -> bool {
        match self.max {
            LexBound::First => true,
            LexBound::Included(max) => member > max,
            LexBound::Excluded(max) => member >= max,
            LexBound::Last => false,
        }
    }
}
