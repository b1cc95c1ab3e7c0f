//! How many elements a command is to choose at random, and which.

use std::collections::HashSet;

use quorate_resp::ReplyWriter;
use quorate_stdx::Rng;

use crate::{Args, CommandError, Outcome};

/// What the count of SRANDMEMBER and its kin asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    /// So many different ones, or all if there are fewer.
    Distinct(usize),
    /// Exactly so many, any of them any number of times.
    Repeating(usize),
}

impl Count {
    /// The count at `index`: below zero it asks for repetitions.
    pub(crate) fn parse(args: Args<'_>, index: usize) -> Result<Count, CommandError> {
        const RANGE: CommandError = CommandError::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        );
        let count = args.int_within(index, -i64::MAX, i64::MAX, RANGE)?;
        let amount = count.unsigned_abs() as usize;
        Ok(if count < 0 { Count::Repeating(amount) } else { Count::Distinct(amount) })
    }

    /// The number without what it means.
    pub(crate) fn amount(self) -> usize {
        match self {
            Count::Distinct(amount) | Count::Repeating(amount) => amount,
        }
    }
}

/// Lets `answer` write one drawn element after the other, until there are `amount` or the reply is longer than any value
/// may be: who asks for more has mistyped, or wants to see how much memory there is.
pub(crate) fn repeat(
    reply: &mut ReplyWriter<'_>,
    longest: usize,
    amount: usize,
    mut answer: impl FnMut(&mut ReplyWriter<'_>),
) -> Outcome {
    if amount.saturating_mul(SHORTEST) > longest {
        return Err(CommandError::OutOfRange);
    }
    let start = reply.buffered();
    for _ in 0..amount {
        answer(reply);
        if reply.buffered() - start > longest {
            return Err(CommandError::OutOfRange);
        }
    }
    Ok(())
}

/// An element of a reply has at least so many bytes: `$0`, and two line ends.
const SHORTEST: usize = 6;

/// The indices below `len` of `amount` different elements, ascending; each choice has the same
/// probability (Floyd's algorithm). `amount` is at most `len`.
pub(crate) fn distinct(len: usize, amount: usize, rng: &mut Rng) -> Vec<usize> {
    assert!(amount <= len, "{amount} of {len} elements");
    let mut chosen = HashSet::with_capacity(amount);
    for last in len - amount..len {
        let index = rng.below(last as u64 + 1) as usize;
        if !chosen.insert(index) {
            chosen.insert(last);
        }
    }
    let mut indices: Vec<usize> = chosen.into_iter().collect();
    indices.sort_unstable();
    indices
}

/// The items whose places `indices` (ascending) names.
pub(crate) fn pick<T>(items: impl Iterator<Item = T>, indices: &[usize]) -> impl Iterator<Item = T> {
    let mut indices = indices.iter().copied().peekable();
    items.enumerate().filter_map(move |(index, item)| indices.next_if_eq(&index).map(|_| item))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_comes_up_and_none_has_an_element_twice() {
        let mut rng = Rng::new(7);
        let mut seen = HashSet::new();
        for _ in 0..500 {
            let indices = distinct(5, 3, &mut rng);
            assert!(indices.windows(2).all(|pair| pair[0] < pair[1]) && indices.len() == 3 && indices[2] < 5);
            seen.insert(indices);
        }
        assert_eq!(seen.len(), 10);
        assert_eq!(distinct(3, 3, &mut rng), [0, 1, 2]);
        assert_eq!(distinct(3, 0, &mut rng), [0_usize; 0]);
        assert_eq!(pick(["a", "b", "c"].into_iter(), &[0, 2]).collect::<Vec<_>>(), ["a", "c"]);
    }
}
