//! Forty hexadecimal digits: the form of replication ids, run ids and node ids.

use crate::Rng;

/// A replication id: names one history of the dataset. 40 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplId([u8; 40]);

impl ReplId {
    /// The id that stands for "none": forty zeros, as Redis prints it.
    pub const NONE: ReplId = ReplId([b'0'; 40]);

    /// Parses exactly 40 hexadecimal digits; `None` for anything else.
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let digits: [u8; 40] = text.try_into().ok()?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(ReplId(digits))
    }

    /// A new id from `rng`; the server seeds it from the operating system.
    pub fn random(rng: &mut Rng) -> ReplId {
        let mut digits = [0; 40];
        for chunk in digits.chunks_mut(16) {
            let word = rng.next_u64();
            for (i, digit) in chunk.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(word >> (4 * i)) as usize & 15];
            }
        }
        ReplId(digits)
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }

    /// The digits as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only hexadecimal digits are ever stored")
    }
}

impl std::fmt::Display for ReplId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for ReplId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..", &self.as_str()[..8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_parses_and_another_length_does_not() {
        let id = ReplId::random(&mut Rng::new(1));
        assert_eq!(ReplId::parse(id.as_bytes()), Some(id));
        assert_eq!(ReplId::parse(&id.as_bytes()[1..]), None);
        assert_eq!(ReplId::parse(&[b'x'; 40]), None);
    }
}
