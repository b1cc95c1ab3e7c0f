//! Whether a history is linearizable: whether each operation can be given one moment between its call and its return so
//! that, in the order of these moments, every reply is what the model would give.
//!
//! The search is that of Wing and Gong with Lowe's memory: it tries every operation that has been called and not yet
//! placed, goes back when an operation returns without a place, and never tries the same set of placed operations with
//! the same state twice.

use std::collections::HashSet;
use std::hash::Hash;

/// What one object may do.
pub trait Model {
    /// What it is at one moment.
    type State: Clone + Eq + Hash;
    /// What was done to it, with what was replied.
    type Operation;

    /// What it is at first.
    fn start(&self) -> Self::State;

    /// The state after the operation took effect in `state`; `None` if it cannot have replied there as it did.
    fn step(&self, state: &Self::State, operation: &Self::Operation) -> Option<Self::State>;
}

/// An operation with the moments of its call and its return. No two moments of a history are the same.
#[derive(Debug)]
pub struct Record<O> {
    /// The moment before the request was sent.
    pub called: u64,
    /// The moment after the reply was read.
    pub returned: u64,
    /// What was done.
    pub operation: O,
}

/// The events in their order as a linked list, out of which placed operations are taken and put back.
struct Events {
    /// By event; `usize::MAX` is nothing. The list's head is behind the last event.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// The operation of each event, and whether the event is its call.
    of: Vec<(usize, bool)>,
    call_of: Vec<usize>,
    return_of: Vec<usize>,
}

const NOTHING: usize = usize::MAX;

impl Events {
    fn new<O>(history: &[Record<O>]) -> Events {
        let mut moments: Vec<(u64, usize, bool)> = Vec::new();
        for (index, record) in history.iter().enumerate() {
            assert!(record.called < record.returned, "an operation returns after its call");
            moments.extend([(record.called, index, true), (record.returned, index, false)]);
        }
        moments.sort_unstable();
        let head = moments.len();
        let mut events = Events {
            next: (1..=head).map(|next| if next < head { next } else { NOTHING }).collect(),
            previous: (0..head).map(|event| if event > 0 { event - 1 } else { head }).collect(),
            of: moments.iter().map(|&(_, index, is_call)| (index, is_call)).collect(),
            call_of: vec![0; history.len()],
            return_of: vec![0; history.len()],
        };
        events.next.push(if head > 0 { 0 } else { NOTHING });
        events.previous.push(NOTHING);
        for (event, &(_, index, is_call)) in moments.iter().enumerate() {
            let place = if is_call { &mut events.call_of } else { &mut events.return_of };
            place[index] = event;
        }
        events
    }

    fn first(&self) -> usize {
        self.next[self.of.len()]
    }

    fn take(&mut self, event: usize) {
        let (before, after) = (self.previous[event], self.next[event]);
        self.next[before] = after;
        if after != NOTHING {
            self.previous[after] = before;
        }
    }

    fn put_back(&mut self, event: usize) {
        let (before, after) = (self.previous[event], self.next[event]);
        self.next[before] = event;
        if after != NOTHING {
            self.previous[after] = event;
        }
    }

    fn take_operation(&mut self, index: usize) {
        self.take(self.call_of[index]);
        self.take(self.return_of[index]);
    }

    fn put_back_operation(&mut self, index: usize) {
        self.put_back(self.return_of[index]);
        self.put_back(self.call_of[index]);
    }
}

/// An order in which the operations may have taken effect, as indexes; if there is none, the longest beginning found.
pub fn linearize<M: Model>(model: &M, history: &[Record<M::Operation>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut events = Events::new(history);
    let mut placed = vec![0_u64; history.len().div_ceil(64)];
    let mut seen: HashSet<(Vec<u64>, M::State)> = HashSet::new();
    let mut order: Vec<(usize, M::State)> = Vec::new();
    let mut longest: Vec<usize> = Vec::new();
    let mut state = model.start();
    let mut at = events.first();
    while at != NOTHING {
        let (index, is_call) = events.of[at];
        if !is_call {
            // This operation returned before anything that is left could be placed: go back.
            let Some((last, before)) = order.pop() else { return Err(longest) };
            placed[last / 64] &= !(1 << (last % 64));
            state = before;
            events.put_back_operation(last);
            at = events.next[events.call_of[last]];
            continue;
        }
        at = events.next[at];
        let Some(after) = model.step(&state, &history[index].operation) else { continue };
        placed[index / 64] |= 1 << (index % 64);
        if !seen.insert((placed.clone(), after.clone())) {
            placed[index / 64] &= !(1 << (index % 64));
            continue;
        }
        order.push((index, std::mem::replace(&mut state, after)));
        events.take_operation(index);
        if order.len() > longest.len() {
            longest = order.iter().map(|(index, _)| *index).collect();
        }
        at = events.first();
    }
    Ok(order.into_iter().map(|(index, _)| index).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register that starts at 0.
    struct Register;

    #[derive(Debug)]
    enum Access {
        Write(u8),
        Read(u8),
        /// Replaces the first by the second; whether it did.
        Swap(u8, u8, bool),
    }

    impl Model for Register {
        type State = u8;
        type Operation = Access;

        fn start(&self) -> u8 {
            0
        }

        fn step(&self, state: &u8, operation: &Access) -> Option<u8> {
            match *operation {
                Access::Write(value) => Some(value),
                Access::Read(value) => (value == *state).then_some(*state),
                Access::Swap(from, to, done) => (done == (from == *state)).then_some(if done { to } else { *state }),
            }
        }
    }

    fn is_linearizable(history: Vec<(u64, u64, Access)>) -> bool {
        let record = |(called, returned, operation)| Record { called, returned, operation };
        let history: Vec<_> = history.into_iter().map(record).collect();
        linearize(&Register, &history).is_ok()
    }

    use Access::{Read, Swap, Write};

    #[test]
    fn what_overlaps_may_take_effect_in_either_order() {
        assert!(is_linearizable(vec![]));
        assert!(is_linearizable(vec![(1, 4, Write(1)), (2, 3, Read(0))]));
        assert!(is_linearizable(vec![(1, 4, Write(1)), (2, 3, Read(1))]));
        assert!(is_linearizable(vec![(1, 10, Write(1)), (2, 3, Read(0)), (4, 5, Read(1)), (6, 7, Read(1))]));
    }

    #[test]
    fn a_stale_read_is_found() {
        assert!(!is_linearizable(vec![(1, 2, Write(1)), (3, 4, Read(0))]));
        assert!(!is_linearizable(vec![(1, 10, Write(1)), (2, 3, Read(1)), (4, 5, Read(0))]));
    }

    #[test]
    fn a_lost_update_is_found() {
        let both = |second| vec![(1, 4, Swap(0, 1, true)), (2, 3, Swap(0, 2, second))];
        assert!(is_linearizable(both(false)));
        assert!(!is_linearizable(both(true)));
    }

    #[test]
    fn two_readers_agree_on_the_order_of_two_writes() {
        let history =
            |last| vec![(1, 20, Write(1)), (2, 19, Write(2)), (3, 4, Read(1)), (5, 6, Read(2)), (7, 8, Read(last))];
        assert!(is_linearizable(history(2)));
        assert!(!is_linearizable(history(1)));
    }

    #[test]
    fn the_order_found_explains_every_reply() {
        let history: Vec<Record<Access>> = [(1, 8, Write(1)), (2, 7, Write(2)), (3, 6, Read(2)), (4, 5, Read(1))]
            .into_iter()
            .map(|(called, returned, operation)| Record { called, returned, operation })
            .collect();
        let order = linearize(&Register, &history).unwrap();
        let last = order.iter().try_fold(0, |state, &index| Register.step(&state, &history[index].operation));
        assert!(last.is_some() && order.len() == 4, "{order:?}");
    }
}
