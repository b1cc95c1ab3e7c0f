//! Who is to have which slots: pure decisions, made of numbers and names.

use std::collections::BTreeMap;

use quorate_cluster::{NodeId, SLOTS, Slots};

/// Slots that go from one node to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    /// Who has them.
    pub(crate) from: NodeId,
    /// Who is to have them.
    pub(crate) to: NodeId,
    /// Which.
    pub(crate) slots: Slots,
}

/// A primary among those that share the slots.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Share {
    /// Its name.
    pub(crate) id: NodeId,
    /// What it has.
    pub(crate) slots: Slots,
    /// How much it is to have, compared with the others; 0 is nothing.
    pub(crate) weight: f64,
}

/// Shares of all slots for a new cluster: neighbours stay together.
pub(crate) fn shares(count: usize) -> Vec<(u16, u16)> {
    let bound = |index: usize| (index * usize::from(SLOTS) / count) as u16;
    (0..count).map(|index| (bound(index), bound(index + 1) - 1)).collect()
}

/// How many slots each is to have, by weight; the sum is exactly what there is.
pub(crate) fn targets(shares: &[Share]) -> Vec<usize> {
    let total: usize = shares.iter().map(|share| share.slots.len()).sum();
    let weights: f64 = shares.iter().map(|share| share.weight).sum();
    if weights <= 0.0 {
        return shares.iter().map(|share| share.slots.len()).collect();
    }
    let exact: Vec<f64> = shares.iter().map(|share| total as f64 * share.weight / weights).collect();
    let mut targets: Vec<usize> = exact.iter().map(|share| share.floor() as usize).collect();
    // What is left goes to those who are furthest below their share; of equals, to those who have more, so that less moves.
    let mut order: Vec<usize> = (0..shares.len()).filter(|index| shares[*index].weight > 0.0).collect();
    order.sort_by(|a, b| {
        let (left, right) = (exact[*a] - exact[*a].floor(), exact[*b] - exact[*b].floor());
        right.total_cmp(&left).then(shares[*b].slots.len().cmp(&shares[*a].slots.len()))
    });
    let rest = total - targets.iter().sum::<usize>();
    for index in order.iter().cycle().take(rest) {
        targets[*index] += 1;
    }
    targets
}

/// What has to move so that everybody has its share by weight. Nothing if nobody is further from it than `threshold` percent, and
/// nobody is to have nothing.
pub(crate) fn rebalance(shares: &[Share], threshold: f64) -> Vec<Move> {
    let targets = targets(shares);
    let is_off = |(share, target): (&Share, &usize)| {
        let (have, want) = (share.slots.len() as f64, *target as f64);
        if want == 0.0 { have > 0.0 } else { (have - want).abs() * 100.0 / want > threshold }
    };
    if !shares.iter().zip(&targets).any(is_off) {
        return Vec::new();
    }
    let mut giving: Vec<(NodeId, Vec<u16>)> = Vec::new();
    let mut taking: Vec<(NodeId, usize)> = Vec::new();
    for (share, target) in shares.iter().zip(targets) {
        match share.slots.len().checked_sub(target) {
            Some(0) => {}
            Some(extra) => {
                let slots: Vec<u16> = share.slots.iter().collect();
                giving.push((share.id, slots[slots.len() - extra..].to_vec()));
            }
            None => taking.push((share.id, target - share.slots.len())),
        }
    }
    pair(giving, taking)
}

/// Gives slots to those who want some, so that few pairs have to speak to each other.
fn pair(mut giving: Vec<(NodeId, Vec<u16>)>, taking: Vec<(NodeId, usize)>) -> Vec<Move> {
    let mut moves = Vec::new();
    for (to, mut wanted) in taking {
        while wanted > 0 {
            giving.sort_by_key(|(_, slots)| std::cmp::Reverse(slots.len()));
            let Some((from, slots)) = giving.first_mut().filter(|(_, slots)| !slots.is_empty()) else { break };
            let count = wanted.min(slots.len());
            wanted -= count;
            moves.push(Move { from: *from, to, slots: slots.drain(..count).collect() });
        }
    }
    moves
}

/// What has to move so that `to` gets `count` slots more, from these, each according to how much it has.
pub(crate) fn reshard(sources: &[Share], to: NodeId, count: usize) -> Vec<Move> {
    let total: usize = sources.iter().map(|share| share.slots.len()).sum();
    let mut left = count.min(total);
    let mut moves = Vec::new();
    let mut ordered: Vec<&Share> = sources.iter().filter(|share| !share.slots.is_empty()).collect();
    ordered.sort_by_key(|share| std::cmp::Reverse(share.slots.len()));
    for share in ordered {
        let part = (count.min(total) * share.slots.len()).div_ceil(total).min(left).min(share.slots.len());
        left -= part;
        if part > 0 {
            moves.push(Move { from: share.id, to, slots: share.slots.iter().take(part).collect() });
        }
    }
    moves
}

/// What has to move so that `leaving` has nothing: its slots go to the others, who end with shares by their weights.
pub(crate) fn drain(leaving: &Share, others: &[Share]) -> Vec<Move> {
    let mut all = others.to_vec();
    all.push(Share { weight: 0.0, ..leaving.clone() });
    let targets = targets(&all);
    let mut slots: Vec<u16> = leaving.slots.iter().collect();
    let mut moves: BTreeMap<NodeId, Slots> = BTreeMap::new();
    // Whoever is furthest below its share is given the most; those who have too much keep it.
    let mut wants: Vec<(NodeId, usize)> = others
        .iter()
        .zip(targets)
        .map(|(share, target)| (share.id, target.saturating_sub(share.slots.len())))
        .collect();
    wants.sort_by_key(|(_, wanted)| std::cmp::Reverse(*wanted));
    for (to, wanted) in &wants {
        let count = (*wanted).min(slots.len());
        if count > 0 {
            moves.insert(*to, slots.drain(..count).collect());
        }
    }
    for (slot, (to, _)) in slots.into_iter().zip(wants.iter().cycle()) {
        moves.entry(*to).or_insert_with(Slots::none).insert(slot);
    }
    moves.into_iter().map(|(to, slots)| Move { from: leaving.id, to, slots }).collect()
}

/// Of new nodes, given the machine that each is on: which lead, and whom each of the others follows. A primary and its replicas
/// are on different machines, as far as there are enough.
pub(crate) fn roles(machines: &[String], primaries: usize) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut by_machine: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, machine) in machines.iter().enumerate() {
        by_machine.entry(machine).or_default().push(index);
    }
    // One from each machine in turn.
    let mut order = Vec::new();
    let longest = by_machine.values().map(Vec::len).max().unwrap_or(0);
    for round in 0..longest {
        order.extend(by_machine.values().filter_map(|nodes| nodes.get(round)));
    }
    let leading: Vec<usize> = order[..primaries.min(order.len())].to_vec();
    let mut following = Vec::new();
    // Each primary gets one before any gets another.
    let replicas: Vec<usize> = order.iter().skip(primaries).copied().collect();
    for some in replicas.chunks(leading.len().max(1)) {
        let mut chosen = vec![None; leading.len()];
        let left: Vec<usize> =
            some.iter().copied().filter(|node| !place(*node, machines, &leading, &mut chosen)).collect();
        let mut free = (0..leading.len()).filter(|index| chosen[*index].is_none()).collect::<Vec<usize>>().into_iter();
        for (node, index) in left.into_iter().zip(&mut free) {
            chosen[index] = Some(node);
        }
        following.extend(chosen.iter().zip(&leading).filter_map(|(node, primary)| Some(((*node)?, *primary))));
    }
    (leading, following)
}

/// Finds a primary on another machine for `node`, for which those that have one already may change theirs: an augmenting path
/// (H. W. Kuhn, 1955). False if there is none.
fn place(node: usize, machines: &[String], leading: &[usize], chosen: &mut [Option<usize>]) -> bool {
    fn augment(
        node: usize,
        machines: &[String],
        leading: &[usize],
        chosen: &mut [Option<usize>],
        tried: &mut [bool],
    ) -> bool {
        for index in 0..leading.len() {
            if tried[index] || machines[leading[index]] == machines[node] {
                continue;
            }
            tried[index] = true;
            if chosen[index].is_none_or(|other| augment(other, machines, leading, chosen, tried)) {
                chosen[index] = Some(node);
                return true;
            }
        }
        false
    }
    augment(node, machines, leading, chosen, &mut vec![false; leading.len()])
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

    /// What everybody has after the moves.
    fn after(shares: &[Share], moves: &[Move]) -> Vec<usize> {
        let mut owners: BTreeMap<NodeId, Slots> = shares.iter().map(|share| (share.id, share.slots.clone())).collect();
        for step in moves {
            for slot in step.slots.iter() {
                assert!(owners.get_mut(&step.from).is_some_and(|slots| slots.remove(slot)), "{slot} is not there");
                assert!(owners.entry(step.to).or_insert_with(Slots::none).insert(slot));
            }
        }
        shares.iter().map(|share| owners[&share.id].len()).collect()
    }

    #[test]
    fn the_shares_of_a_new_cluster_are_all_there_is_and_nearly_equal() {
        for count in 1..=1000 {
            let shares = shares(count);
            assert_eq!((shares[0].0, shares[count - 1].1), (0, SLOTS - 1));
            assert!(shares.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
            let sizes: Vec<u16> = shares.iter().map(|(first, last)| last - first + 1).collect();
            assert!(sizes.iter().max().zip(sizes.iter().min()).is_some_and(|(most, least)| most - least <= 1));
        }
    }

    #[test]
    fn a_new_node_gets_its_share_and_nobody_else_anything() {
        let shares = [share('a', 0..8192, 1.0), share('b', 8192..16384, 1.0), share('c', 0..0, 1.0)];
        let moves = rebalance(&shares, 2.0);
        assert!(moves.iter().all(|step| step.to == id('c')));
        let mut sizes = after(&shares, &moves);
        sizes.sort_unstable();
        assert_eq!(sizes, [5461, 5461, 5462]);
        assert!(rebalance(&[share('a', 0..8192, 1.0), share('b', 8192..16384, 1.0)], 2.0).is_empty());
    }

    #[test]
    fn weights_are_kept_and_zero_means_nothing() {
        let shares = [share('a', 0..8192, 2.0), share('b', 8192..16384, 0.0), share('c', 0..0, 1.0)];
        assert_eq!(after(&shares, &rebalance(&shares, 2.0)), [10923, 0, 5461]);
    }

    #[test]
    fn small_differences_are_left_alone() {
        let shares = [share('a', 0..8200, 1.0), share('b', 8200..16384, 1.0)];
        assert!(rebalance(&shares, 2.0).is_empty());
        assert!(!rebalance(&shares, 0.01).is_empty());
    }

    #[test]
    fn who_leaves_leaves_a_balanced_cluster() {
        let others = [share('a', 0..5461, 1.0), share('b', 5461..10922, 1.0)];
        let leaving = share('c', 10922..16384, 1.0);
        let moves = drain(&leaving, &others);
        let all = [others[0].clone(), others[1].clone(), leaving];
        assert_eq!(after(&all, &moves), [8192, 8192, 0]);
    }

    #[test]
    fn a_reshard_takes_from_each_what_it_can_give() {
        let sources = [share('a', 0..1000, 1.0), share('b', 1000..4000, 1.0)];
        let moves = reshard(&sources, id('c'), 400);
        let counts: BTreeMap<NodeId, usize> = moves.iter().map(|step| (step.from, step.slots.len())).collect();
        assert_eq!((counts[&id('a')], counts[&id('b')]), (100, 300));
        assert_eq!(reshard(&sources, id('c'), 9999).iter().map(|step| step.slots.len()).sum::<usize>(), 4000);
    }

    #[test]
    fn replicas_are_on_other_machines_than_their_primaries() {
        let machines: Vec<String> = ["x", "x", "y", "y", "z", "z"].map(str::to_owned).to_vec();
        let (leading, following) = roles(&machines, 3);
        assert_eq!(leading.len(), 3);
        let distinct: std::collections::BTreeSet<&String> = leading.iter().map(|index| &machines[*index]).collect();
        assert_eq!(distinct.len(), 3);
        assert!(following.iter().all(|(node, primary)| machines[*node] != machines[*primary]), "{following:?}");
        let mut followed: Vec<usize> = following.iter().map(|(_, primary)| *primary).collect();
        followed.sort_unstable();
        followed.dedup();
        assert_eq!(followed.len(), 3);
    }
}
