//! Who is to have which slots if not their number counts, but what they weigh: keys, processor time, traffic.
//!
//! Few slots are moved: the heaviest first of those that fit into what their owner has too much of and into what the other
//! lacks, or exceed it by no more than is tolerated. Slots that weigh nothing stay, and so does one that weighs more than a part:
//! it can't be divided.

use std::collections::BTreeMap;

use quorate_cluster::{NodeId, Slots};

use crate::plan::{Move, Share};

/// What each slot weighs; those that are not in it, nothing.
pub(crate) type Weights = BTreeMap<u16, f64>;

/// What a node carries: slots of this weight.
pub(crate) fn carried(slots: &Slots, weights: &Weights) -> f64 {
    slots.iter().filter_map(|slot| weights.get(&slot)).sum()
}

/// A node on the way to its share.
struct Node {
    id: NodeId,
    carries: f64,
    target: f64,
    /// What of its own it may still give: the heaviest last.
    slots: Vec<(u16, f64)>,
    is_to_be_empty: bool,
}

/// What has to move so that everybody carries its part, by the shares' weights. Nothing if nobody is further from it than
/// `threshold` percent of that.
pub(crate) fn level(shares: &[Share], weights: &Weights, threshold: f64) -> Vec<Move> {
    let total: f64 = shares.iter().map(|share| carried(&share.slots, weights)).sum();
    let parts: f64 = shares.iter().map(|share| share.weight).sum();
    if total <= 0.0 || parts <= 0.0 {
        return Vec::new();
    }
    let node = |share: &Share| {
        let weigh = |slot: u16| (slot, weights.get(&slot).copied().unwrap_or(0.0));
        let mut slots: Vec<(u16, f64)> = share.slots.iter().map(weigh).collect();
        slots.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let is_to_be_empty = share.weight == 0.0;
        if !is_to_be_empty {
            slots.retain(|(_, weight)| *weight > 0.0);
        }
        let carries = carried(&share.slots, weights);
        Node { id: share.id, carries, target: total * share.weight / parts, slots, is_to_be_empty }
    };
    let mut nodes: Vec<Node> = shares.iter().map(node).collect();
    let is_off = |node: &Node| {
        let off = (node.carries - node.target).abs() * 100.0;
        off > threshold * node.target || (node.is_to_be_empty && !node.slots.is_empty())
    };
    let mut moves: BTreeMap<(NodeId, NodeId), Slots> = BTreeMap::new();
    while nodes.iter().any(is_off)
        && let Some((from, to, at)) = next(&nodes, threshold)
    {
        let (slot, weight) = nodes[from].slots.remove(at);
        nodes[from].carries -= weight;
        nodes[to].carries += weight;
        moves.entry((nodes[from].id, nodes[to].id)).or_insert_with(Slots::none).insert(slot);
    }
    moves.into_iter().map(|((from, to), slots)| Move { from, to, slots }).collect()
}

/// The next slot that moves: from whom, to whom, and which of the giver's.
fn next(nodes: &[Node], threshold: f64) -> Option<(usize, usize, usize)> {
    let lack = |node: &Node| node.target - node.carries;
    let takes = |(_, node): &(usize, &Node)| !node.is_to_be_empty;
    let (to, taker) = nodes.iter().enumerate().filter(takes).max_by(|(_, a), (_, b)| lack(a).total_cmp(&lack(b)))?;
    // Whoever is to have nothing gives everything, whatever others lack.
    let leaving = nodes.iter().position(|node| node.is_to_be_empty && !node.slots.is_empty());
    if let Some(from) = leaving {
        return Some((from, to, nodes[from].slots.len() - 1));
    }
    let mut givers: Vec<usize> = (0..nodes.len()).filter(|from| *from != to && lack(&nodes[*from]) < 0.0).collect();
    givers.sort_by(|a, b| lack(&nodes[*a]).total_cmp(&lack(&nodes[*b])));
    givers.into_iter().find_map(|from| {
        let tolerated = nodes[from].target.min(taker.target) * threshold / 100.0;
        let room = (-lack(&nodes[from])).min(lack(taker)) + tolerated;
        let fitting = nodes[from].slots.partition_point(|(_, weight)| *weight <= room);
        fitting.checked_sub(1).map(|at| (from, to, at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: char) -> NodeId {
        NodeId::parse(&[digit as u8; 40]).expect("forty digits")
    }

    fn share(digit: char, slots: std::ops::Range<u16>, weight: f64) -> Share {
        Share { id: id(digit), slots: slots.collect(), weight }
    }

    /// What everybody carries, and how many slots he has, after the moves.
    fn after(shares: &[Share], weights: &Weights, moves: &[Move]) -> Vec<(f64, usize)> {
        let mut owners: BTreeMap<NodeId, Slots> = shares.iter().map(|share| (share.id, share.slots.clone())).collect();
        for step in moves {
            for slot in step.slots.iter() {
                assert!(owners.get_mut(&step.from).is_some_and(|slots| slots.remove(slot)), "{slot} is not there");
                assert!(owners.entry(step.to).or_insert_with(Slots::none).insert(slot));
            }
        }
        shares.iter().map(|share| (carried(&owners[&share.id], weights), owners[&share.id].len())).collect()
    }

    #[test]
    fn who_carries_too_much_gives_few_slots_and_heavy_ones() {
        let shares = [share('a', 0..100, 1.0), share('b', 100..200, 1.0)];
        let mut weights: Weights = (0..200).map(|slot| (slot, 1.0)).collect();
        for slot in 0..4 {
            weights.insert(slot, 101.0);
        }
        let moves = level(&shares, &weights, 2.0);
        assert_eq!(after(&shares, &weights, &moves), [(298.0, 98), (302.0, 102)]);
    }

    #[test]
    fn what_weighs_nothing_stays_and_so_does_what_is_more_than_a_share() {
        let shares = [share('a', 0..100, 1.0), share('b', 100..200, 1.0)];
        let weights = Weights::from([(7, 1000.0), (8, 50.0), (150, 10.0)]);
        let moves = level(&shares, &weights, 2.0);
        assert_eq!(after(&shares, &weights, &moves), [(1000.0, 99), (60.0, 101)]);
        assert!(level(&shares, &Weights::new(), 2.0).is_empty());
    }

    #[test]
    fn parts_are_kept_and_whoever_is_to_have_none_gives_even_what_weighs_nothing() {
        let shares = [share('a', 0..100, 2.0), share('b', 100..200, 0.0), share('c', 200..200, 1.0)];
        let weights: Weights = (0..150).map(|slot| (slot, 1.0)).collect();
        let all = after(&shares, &weights, &level(&shares, &weights, 2.0));
        assert_eq!(all.iter().map(|(carried, _)| *carried).collect::<Vec<_>>(), [100.0, 0.0, 50.0]);
        assert_eq!((all[1].1, all[0].1 + all[2].1), (0, 200));
    }

    #[test]
    fn small_differences_are_left_alone() {
        let shares = [share('a', 0..101, 1.0), share('b', 101..200, 1.0)];
        let weights: Weights = (0..200).map(|slot| (slot, 1.0)).collect();
        assert!(level(&shares, &weights, 2.0).is_empty());
        assert!(!level(&shares, &weights, 0.5).is_empty());
    }

    #[test]
    fn whatever_the_weights_nobody_ends_further_from_its_part() {
        for round in 1..200_u64 {
            let scattered = |number: u64, below: u64| (number * round).wrapping_mul(0x9E37_79B9_7F4A_7C15) % below;
            let bounds = [0, 1 + scattered(3, 500) as u16, 700, 1000];
            let shares: Vec<Share> =
                "abc".chars().zip(bounds.windows(2)).map(|(digit, ends)| share(digit, ends[0]..ends[1], 1.0)).collect();
            let weights: Weights = (0..1000).map(|slot| (slot, scattered(slot.into(), 1000) as f64)).collect();
            let part = (0..1000).map(|slot| weights[&slot]).sum::<f64>() / 3.0;
            let moves = level(&shares, &weights, 0.0);
            let most = weights.values().copied().fold(0.0, f64::max);
            for (carried, _) in after(&shares, &weights, &moves) {
                assert!((carried - part).abs() <= most, "round {round}: {carried} of {part}");
            }
        }
    }
}
