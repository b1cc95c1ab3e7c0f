//! What has come from our primary and was not applied yet.
//!
//! The stream is read as it comes, and applied at its own pace. What waits here outlives the primary; what still waits in
//! the buffers of a connection does not, once the system of a dead process resets that.

/// So much room is kept when all has been applied, bytes.
const KEPT: usize = 1 << 20;

/// Bytes in the order in which they came; those at the front that have been applied are as good as gone.
#[derive(Debug, Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    applied: usize,
    /// How much more is to be applied without a look at anything else.
    due: usize,
}

impl Backlog {
    /// With bytes of which none has been applied.
    pub fn new(bytes: Vec<u8>) -> Backlog {
        Backlog { bytes, applied: 0, due: 0 }
    }

    /// How many bytes wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.bytes.len() - self.applied
    }

    /// Whether none waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that wait.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.applied..]
    }

    /// What it takes of memory, bytes.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes in what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        // What is moved is never more than what has been applied since the last time.
        if self.applied >= self.len() {
            self.bytes.drain(..std::mem::take(&mut self.applied));
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT {
                self.bytes = Vec::new();
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The bytes that wait, of which so many are to be applied now; the request in which the piece ends is part of it.
    pub fn begin(&mut self, piece: usize) -> &[u8] {
        self.due = piece;
        self.rest()
    }

    /// So many more bytes have been applied; whether that was the piece. What [`Backlog::rest`] gave stays where it is.
    #[inline]
    pub fn advance(&mut self, count: usize) -> bool {
        debug_assert!(count <= self.len());
        self.applied += count;
        self.due = self.due.saturating_sub(count);
        self.due == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_in_which_they_came_however_they_are_cut() {
        let (mut backlog, mut next, mut expected) = (Backlog::new(vec![0, 1, 2]), 3u8, 0u8);
        for round in 0..10_000usize {
            let fresh: Vec<u8> = (0..round % 7).map(|index| next.wrapping_add(index as u8)).collect();
            next = next.wrapping_add(fresh.len() as u8);
            backlog.push(&fresh);
            let count = (round * 5 % 11).min(backlog.len());
            for byte in &backlog.rest()[..count] {
                assert_eq!(*byte, expected);
                expected = expected.wrapping_add(1);
            }
            backlog.advance(count);
        }
        assert!(backlog.heap_bytes() < KEPT, "what has been applied is given up");
    }

    #[test]
    fn a_long_backlog_leaves_no_room_behind() {
        let mut backlog = Backlog::default();
        backlog.push(&vec![7; 4 * KEPT]);
        backlog.advance(4 * KEPT);
        assert!(backlog.is_empty());
        backlog.push(b"x");
        assert!(backlog.heap_bytes() < KEPT);
        assert_eq!(backlog.rest(), b"x");
    }
}
