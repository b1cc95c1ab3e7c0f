//! A large sorted set: a table that finds members by name, and a tree that finds them by place.
//!
//! ```text
//!   table   [ ● │ ● │   │ ● … ]           tree   [ score ● │ score ● │ score ● … ]
//!             └──────────────► score, member ◄───────────┘
//! ```
//!
//! A member lies on the heap once, with its score; the table owns it. The tree repeats the score beside the
//! pointer, so that a search follows a pointer only where scores are equal.

use std::ops::Range;
use std::ptr::NonNull;

use crate::counted_tree::{Backward, CountedTree, Forward, Weighed};
use crate::dict::{Dict, Item as _, hash_bytes};
use crate::thin::ScoredMember;

/// See the module's text.
#[derive(Default)]
pub struct Ranking {
    table: Dict<ScoredMember>,
    tree: CountedTree<Ranked>,
}

/// A member as the tree lists it.
///
/// It only exists in the tree of a [`Ranking`], or copied while that is borrowed, and its member is in the
/// same ranking's table: whoever takes a member out of the table takes it out of the tree before it is
/// dropped.
#[derive(Clone, Copy)]
pub(super) struct Ranked {
    score: f64,
    address: NonNull<u8>,
}

// SAFETY: it points to plain bytes that its ranking owns.
unsafe impl Send for Ranked {}
// SAFETY: as above.
unsafe impl Sync for Ranked {}

impl Weighed for Ranked {
    type Key = Ranked;
    const UNIT: bool = true;

    #[inline]
    fn key(&self) -> Ranked {
        *self
    }

    #[inline]
    fn weight(&self) -> usize {
        1
    }
}

impl Ranked {
    #[inline]
    fn of(owner: &ScoredMember) -> Ranked {
        Ranked { score: owner.scored().score(), address: owner.address() }
    }

    #[inline]
    pub(super) fn score(&self) -> f64 {
        self.score
    }

    #[inline]
    pub(super) fn member(&self) -> &[u8] {
        // SAFETY: the member is alive, see the type's text.
        unsafe { ScoredMember::body(self.address) }.member()
    }

    /// Whether it stands in front of a member of that score.
    #[inline]
    fn is_before(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || self.score == score && self.member() < member
    }

    /// Whether it stands in front of a member of that score, or is it.
    #[inline]
    fn is_up_to(&self, score: f64, member: &[u8]) -> bool {
        self.score < score || self.score == score && self.member() <= member
    }
}

impl Clone for Ranking {
    fn clone(&self) -> Ranking {
        let scored = self.tree.iter_from(0).map(|ranked| (ranked.member(), ranked.score));
        Ranking::from_ordered(scored).expect("no member is there twice")
    }
}

impl Ranking {
    /// A ranking of members that are in their order already; `None` if one comes twice.
    pub(super) fn from_ordered<M: AsRef<[u8]>>(members: impl IntoIterator<Item = (M, f64)>) -> Option<Ranking> {
        let mut table = Dict::new();
        let mut ranked = Vec::new();
        for (member, score) in members {
            let member = member.as_ref();
            let hash = hash_bytes(member);
            if table.contains(hash, member) {
                return None;
            }
            let owner = ScoredMember::new(member, score);
            ranked.push(Ranked::of(&owner));
            table.insert_new(hash, owner);
        }
        Some(Ranking { table, tree: CountedTree::from_ordered(ranked) })
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The members with their scores, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.tree.iter_from(0).map(|ranked| (ranked.member(), ranked.score))
    }

    /// The members with their scores, the last one first.
    pub fn iter_rev(&self) -> impl Iterator<Item = (&[u8], f64)> {
        self.tree.iter_rev_from(self.len()).map(|ranked| (ranked.member(), ranked.score))
    }

    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.table.find(hash_bytes(member), member).map(|scored| scored.score())
    }

    /// The place of a member, 0 for the first, and its score.
    pub(super) fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        Some((self.tree.weight_where(|ranked| ranked.is_before(score, member)), score))
    }

    /// How many members, from the first on, `holds` is true for; behind those it must be true for none.
    pub(super) fn count_while(&self, holds: impl Fn(&Ranked) -> bool) -> usize {
        self.tree.weight_where(|ranked| holds(&ranked))
    }

    /// See [`super::ZSet::update`].
    pub(super) fn update(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) -> bool {
        let hash = hash_bytes(member);
        let Some(mut owner) = self.table.find_mut(hash, member) else {
            let Some(score) = decide(None) else { return false };
            let owner = ScoredMember::new(member, score);
            let ranked = Ranked::of(&owner);
            self.table.insert_new(hash, owner);
            self.tree.insert_where(|other| other.is_before(score, member), ranked);
            return true;
        };
        let old = owner.scored().score();
        if let Some(score) = decide(Some(old)) {
            owner.set_score(score);
            let ranked = Ranked::of(&owner);
            drop(owner);
            self.rerank(member, old, ranked);
        }
        false
    }

    /// Moves a member of the score `old` to where its new score belongs.
    fn rerank(&mut self, member: &[u8], old: f64, ranked: Ranked) {
        let score = ranked.score;
        let stays = |before: Option<Ranked>, at: &mut Ranked, behind: Option<Ranked>| {
            // The neighbour towards which the member moves must be at hand to say that it stays in front of it.
            let passes_before = score < old && before.is_none_or(|before| !before.is_before(score, member));
            let passes_behind = score > old && behind.is_none_or(|behind| behind.is_before(score, member));
            let stays = !passes_before && !passes_behind;
            if stays {
                at.score = score;
            }
            stays
        };
        let stays = self.tree.adjust_where(|other| other.is_up_to(old, member), stays);
        if stays == Some(false) {
            self.tree.remove_where(|other| other.is_up_to(old, member));
            self.tree.insert_where(|other| other.is_before(score, member), ranked);
        }
    }

    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let owner = self.table.remove(hash_bytes(member), member)?;
        let score = owner.scored().score();
        self.tree.remove_where(|other| other.is_up_to(score, member));
        Some(score)
    }

    pub(super) fn remove_range(&mut self, ranks: Range<usize>, mut taken: impl FnMut(&[u8], f64)) {
        let table = &mut self.table;
        self.tree.remove_range(ranks, |ranked| {
            taken(ranked.member(), ranked.score);
            drop(table.remove(hash_bytes(ranked.member()), ranked.member()));
        });
    }

    pub(super) fn at(&self, rank: usize) -> Option<&Ranked> {
        self.tree.place(rank).map(|place| &place.items[place.slot])
    }

    pub(super) fn forward(&self, from: usize) -> Forward<'_, Ranked> {
        self.tree.iter_from(from)
    }

    pub(super) fn backward(&self, end: usize) -> Backward<'_, Ranked> {
        self.tree.iter_rev_from(end)
    }

    /// Shows a bounded piece; see [`Dict::scan`].
    pub(super) fn scan(&self, cursor: u64, budget: usize, mut each: impl FnMut(&[u8], f64)) -> u64 {
        self.table.scan(cursor, budget, |scored| each(scored.member(), scored.score()))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let members = self.table.iter().map(|scored| ScoredMember::heap_bytes(scored.member().len()));
        self.table.heap_bytes() + self.tree.heap_bytes() + members.sum::<usize>()
    }
}
