//! What names a node and a shard: forty lower-case hexadecimal digits, chosen at random and kept for ever.
//!
//! A node is its id, never its address: a node that comes back from another address is the same node.

use quorate_stdx::Rng;

/// The name of a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    // Three numbers are compared faster than twenty bytes, and in the same order.
    first: u64,
    second: u64,
    third: u32,
}

/// The name of a shard: a primary and its replicas share it.
pub type ShardId = NodeId;

impl NodeId {
    /// Parses exactly 40 lower-case hexadecimal digits; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<NodeId> {
        let digits: &[u8; 40] = text.try_into().ok()?;
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(NodeId::of_bytes(bytes))
    }

    fn of_bytes(bytes: [u8; 20]) -> NodeId {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = bytes;
        NodeId {
            first: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            second: u64::from_be_bytes([i, j, k, l, m, n, o, p]),
            third: u32::from_be_bytes([q, r, s, t]),
        }
    }

    fn bytes(self) -> impl Iterator<Item = u8> {
        let NodeId { first, second, third } = self;
        first.to_be_bytes().into_iter().chain(second.to_be_bytes()).chain(third.to_be_bytes())
    }

    /// A new name from `rng`.
    pub fn random(rng: &mut Rng) -> NodeId {
        let mut bytes = [0; 20];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
        }
        NodeId::of_bytes(bytes)
    }

    /// The forty digits.
    pub fn digits(&self) -> [u8; 40] {
        let mut digits = [0; 40];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.bytes()) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        digits
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).expect("hexadecimal digits are ASCII"))
    }
}

impl std::fmt::Debug for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..", std::str::from_utf8(&self.digits()[..8]).expect("hexadecimal digits are ASCII"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is_read() {
        let id = NodeId::random(&mut Rng::new(1));
        assert_eq!(NodeId::parse(&id.digits()), Some(id));
        assert_eq!(id.to_string().len(), 40);
        assert_eq!(NodeId::parse(&id.digits()[1..]), None);
        assert_eq!(NodeId::parse(&[b'A'; 40]), None);
        assert_eq!(NodeId::parse(&[0; 40]), None);
    }
}
