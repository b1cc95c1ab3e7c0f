//! HyperLogLog: how many different elements were added, to about 0.8 %, in at most 12 KiB.
//!
//! A string in the representation of Redis, byte for byte, so that values exchange by DUMP, in RDB files and by
//! replication:
//!
//! ```text
//!  0      4          5       8               16
//!  ┌──────┬──────────┬───────┬───────────────┬───────────────┐
//!  │ HYLL │ encoding │ 0 0 0 │ cached count  │ registers     │
//!  │      │ 0 or 1   │       │ u64           │               │
//!  └──────┴──────────┴───────┴───────────────┴───────────────┘
//!  dense (0):  16384 registers of 6 bits, the first one in the lowest bits
//!  sparse (1): 00llllll           1 to 64 registers that are 0
//!              01llllll llllllll  1 to 16384 registers that are 0
//!              1vvvvvll           1 to 4 registers that are 1 to 32
//! ```
//!
//! The highest bit of the cached count says that it is stale. A register keeps the longest run of zeros that an element
//! of its own has shown; 14 bits of an element's hash choose the register, the other 50 show the run.
//!
//! The estimator is Ertl's (<https://arxiv.org/abs/1702.01284>, algorithm 6), the hash MurmurHash64A.
//!
//! The bytes may come from anybody (SET, RESTORE): what contradicts itself is [`Corrupt`], never a panic.

/// How many registers there are.
pub const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
/// Bits of a hash that are left to show a run of zeros.
const RUN_BITS: u32 = 64 - INDEX_BITS;
const REGISTER_BITS: usize = 6;
const HEADER: usize = 16;
const DENSE_BYTES: usize = HEADER + REGISTERS * REGISTER_BITS / 8;
const MAGIC: &[u8] = b"HYLL";
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const STALE: u8 = 0x80;
/// The largest value that a sparse opcode can say, and for how many registers.
const SPARSE_VALUE_MAX: u8 = 32;
const SPARSE_VALUE_RUN_MAX: usize = 4;
const SPARSE_ZERO_RUN_MAX: usize = 64;

/// Bytes that begin as a HyperLogLog and are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

/// All registers, one a byte.
pub type Registers = [u8; REGISTERS];

/// A HyperLogLog to which nothing was added.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[MAGIC.len()] = SPARSE;
    Run { value: 0, len: REGISTERS }.push(&mut bytes);
    bytes
}

/// Whether `bytes` look like a HyperLogLog: header and length.
pub fn is_hll(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(MAGIC)
        && match bytes[MAGIC.len()] {
            DENSE => bytes.len() == DENSE_BYTES,
            encoding => encoding == SPARSE,
        }
}

/// Whether one that [`is_hll`] is sparse.
pub fn is_sparse(bytes: &[u8]) -> bool {
    bytes[MAGIC.len()] == SPARSE
}

/// The count that is cached, if it is not stale.
pub fn cached_count(bytes: &[u8]) -> Option<u64> {
    let cached: [u8; 8] = bytes[8..HEADER].try_into().ok()?;
    (cached[7] & STALE == 0).then(|| u64::from_le_bytes(cached))
}

/// Caches a count.
pub fn cache_count(bytes: &mut [u8], count: u64) {
    bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
}

/// Marks the cached count as stale.
pub fn forget_count(bytes: &mut [u8]) {
    bytes[HEADER - 1] |= STALE;
}

/// Adds an element; whether that changed anything. A sparse one that would grow beyond `sparse_max` bytes becomes dense.
pub fn add(bytes: &mut Vec<u8>, element: &[u8], sparse_max: usize) -> Result<bool, Corrupt> {
    let hash = murmur64(element);
    let run = (hash >> INDEX_BITS | 1 << RUN_BITS).trailing_zeros() as u8 + 1;
    raise(bytes, hash as usize & (REGISTERS - 1), run, sparse_max)
}

/// Raises a register to `value` if it is lower; whether it was.
pub fn raise(bytes: &mut Vec<u8>, register: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupt> {
    if is_sparse(bytes) {
        if value <= SPARSE_VALUE_MAX
            && let Some(changed) = raise_sparse(bytes, register, value, sparse_max)?
        {
            return Ok(changed);
        }
        make_dense(bytes)?;
    }
    let old = dense_register(&bytes[HEADER..], register);
    if value > old {
        set_dense_register(&mut bytes[HEADER..], register, value);
    }
    Ok(value > old)
}

/// Raises each of `registers` to what `bytes` have there.
pub fn merge(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupt> {
    if is_sparse(bytes) {
        return for_each_run(bytes, |at, run| {
            registers[at..at + run.len].iter_mut().for_each(|register| *register = run.value.max(*register));
        });
    }
    for (index, register) in registers.iter_mut().enumerate() {
        *register = dense_register(&bytes[HEADER..], index).max(*register);
    }
    Ok(())
}

/// The estimate of how many different elements were added.
pub fn count(bytes: &[u8]) -> Result<u64, Corrupt> {
    let mut histogram = Histogram::default();
    if is_sparse(bytes) {
        for_each_run(bytes, |_, run| histogram.0[usize::from(run.value)] += run.len as u32)?;
    } else {
        (0..REGISTERS).for_each(|index| histogram.take(dense_register(&bytes[HEADER..], index)));
    }
    Ok(histogram.estimate())
}

/// The estimate for registers that were merged.
pub fn count_registers(registers: &Registers) -> u64 {
    let mut histogram = Histogram::default();
    registers.iter().for_each(|register| histogram.take(*register));
    histogram.estimate()
}

/// Makes a sparse one dense.
pub fn make_dense(bytes: &mut Vec<u8>) -> Result<(), Corrupt> {
    if !is_sparse(bytes) {
        return Ok(());
    }
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER].copy_from_slice(&bytes[..HEADER]);
    dense[MAGIC.len()] = DENSE;
    for_each_run(bytes, |at, run| {
        if run.value > 0 {
            (at..at + run.len).for_each(|index| set_dense_register(&mut dense[HEADER..], index, run.value));
        }
    })?;
    *bytes = dense;
    Ok(())
}

/// The opcodes of a sparse one in the form of PFDEBUG DECODE.
pub fn describe_sparse(bytes: &[u8]) -> String {
    let mut words = Vec::new();
    let mut at = HEADER;
    while let Some((run, len)) = Run::read(&bytes[at..]) {
        words.push(match (run.value, len) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (value, _) => format!("v:{value},{}", run.len),
        });
        at += len;
    }
    words.join(" ")
}

// ---- Dense ---------------------------------------------------------------------------------------

fn dense_register(registers: &[u8], index: usize) -> u8 {
    let (byte, bit) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([registers[byte], next]) >> bit) as u8 & 0x3f
}

fn set_dense_register(registers: &mut [u8], index: usize, value: u8) {
    let (byte, bit) = (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8);
    let next = registers.get(byte + 1).copied().unwrap_or(0);
    let word = u16::from_le_bytes([registers[byte], next]) & !(0x3f << bit) | u16::from(value) << bit;
    let [low, high] = word.to_le_bytes();
    registers[byte] = low;
    if let Some(next) = registers.get_mut(byte + 1) {
        *next = high;
    }
}

// ---- Sparse --------------------------------------------------------------------------------------

/// So many registers of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    value: u8,
    len: usize,
}

impl Run {
    /// The run that `bytes` begin with, and how many bytes it takes.
    fn read(bytes: &[u8]) -> Option<(Run, usize)> {
        let first = *bytes.first()?;
        Some(match first >> 6 {
            0 => (Run { value: 0, len: usize::from(first) + 1 }, 1),
            1 => {
                let low = usize::from(*bytes.get(1)?);
                (Run { value: 0, len: (usize::from(first & 0x3f) << 8 | low) + 1 }, 2)
            }
            _ => (Run { value: (first >> 2 & 0x1f) + 1, len: usize::from(first & 3) + 1 }, 1),
        })
    }

    /// Appends it in the shortest form; of none, nothing.
    fn push(self, out: &mut Vec<u8>) {
        match (self.value, self.len.wrapping_sub(1)) {
            (_, usize::MAX) => {}
            (0, less @ ..SPARSE_ZERO_RUN_MAX) => out.push(less as u8),
            (0, less) => out.extend_from_slice(&[0x40 | (less >> 8) as u8, less as u8]),
            (value, less) => out.push(0x80 | (value - 1) << 2 | less as u8),
        }
    }
}

/// Calls `each` with every run and its first register; all registers have to be told of.
fn for_each_run(bytes: &[u8], mut each: impl FnMut(usize, Run)) -> Result<(), Corrupt> {
    let (mut at, mut register) = (HEADER, 0);
    while at < bytes.len() {
        let (run, len) = Run::read(&bytes[at..]).ok_or(Corrupt)?;
        if run.len > REGISTERS - register {
            return Err(Corrupt);
        }
        each(register, run);
        register += run.len;
        at += len;
    }
    if register == REGISTERS { Ok(()) } else { Err(Corrupt) }
}

/// Raises a register; `None` if that would take more than `max` bytes.
fn raise_sparse(bytes: &mut Vec<u8>, register: usize, value: u8, max: usize) -> Result<Option<bool>, Corrupt> {
    let (mut at, mut first, mut previous) = (HEADER, 0, None);
    let (run, len) = loop {
        let (run, len) = Run::read(&bytes[at.min(bytes.len())..]).ok_or(Corrupt)?;
        if register < first + run.len {
            break (run, len);
        }
        previous = Some(at);
        first += run.len;
        at += len;
    };
    if run.value >= value {
        return Ok(Some(false));
    }
    // The run falls into what is in front of the register, the register, and what is behind it.
    let before = register - first;
    let mut pieces = Vec::with_capacity(5);
    for piece in [Run { len: before, ..run }, Run { value, len: 1 }, Run { len: run.len - before - 1, ..run }] {
        piece.push(&mut pieces);
    }
    if pieces.len() > len && bytes.len() + pieces.len() - len > max {
        return Ok(None);
    }
    bytes.splice(at..at + len, pieces);
    join_values(bytes, previous.unwrap_or(HEADER));
    forget_count(bytes);
    Ok(Some(true))
}

/// Joins neighbours of the same value among the few opcodes from `at` on, as far as one opcode can say it. How far it
/// looks is part of the representation: others do just as much.
fn join_values(bytes: &mut Vec<u8>, mut at: usize) {
    const LOOKS_AT: usize = 5;
    for _ in 0..LOOKS_AT {
        let Some((run, len)) = bytes.get(at..).and_then(Run::read) else { return };
        if run.value > 0
            && let Some((next, _)) = Run::read(&bytes[at + 1..])
            && next.value == run.value
            && run.len + next.len <= SPARSE_VALUE_RUN_MAX
        {
            let mut joined = Vec::with_capacity(1);
            Run { value: run.value, len: run.len + next.len }.push(&mut joined);
            bytes.splice(at..at + 2, joined);
            continue;
        }
        at += len;
    }
}

// ---- The estimate --------------------------------------------------------------------------------

/// How many registers have which value.
struct Histogram([u32; 1 << REGISTER_BITS]);

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram([0; 1 << REGISTER_BITS])
    }
}

impl Histogram {
    fn take(&mut self, value: u8) {
        self.0[usize::from(value)] += 1;
    }

    fn estimate(&self) -> u64 {
        // 1 / (2 ln 2)
        const ALPHA: f64 = 0.721_347_520_444_481_7;
        let all = REGISTERS as f64;
        let top = RUN_BITS as usize + 1;
        let mut sum = all * tau((all - f64::from(self.0[top])) / all);
        for count in self.0[1..top].iter().rev() {
            sum += f64::from(*count);
            sum *= 0.5;
        }
        sum += all * sigma(f64::from(self.0[0]) / all);
        (ALPHA * all * all / sum).round() as u64
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * y;
        y += y;
        if sum == before {
            return sum;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        y *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * y;
        if sum == before {
            return sum / 3.0;
        }
    }
}

/// MurmurHash64A with the seed of Redis.
fn murmur64(bytes: &[u8]) -> u64 {
    const SEED: u64 = 0xadc8_3b19;
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    for word in words {
        let word = word.try_into().map_or(0, u64::from_le_bytes).wrapping_mul(M);
        hash = (hash ^ (word ^ word >> 47).wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> 47).wrapping_mul(M);
    hash ^ hash >> 47
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many different elements, added under a bound for the sparse form.
    fn filled(elements: u32, sparse_max: usize) -> Vec<u8> {
        let mut bytes = empty();
        for element in 0..elements {
            add(&mut bytes, &element.to_le_bytes(), sparse_max).unwrap();
        }
        bytes
    }

    #[test]
    fn estimates_are_near_the_truth_and_the_same_in_both_forms() {
        for elements in [0, 1, 2, 100, 1000, 20_000, 200_000] {
            let bytes = filled(elements, 3000);
            let estimate = count(&bytes).unwrap() as f64;
            assert!((estimate - f64::from(elements)).abs() <= f64::from(elements) * 0.03, "{elements}: {estimate}");
            let dense = filled(elements, 0);
            assert_eq!((count(&dense), is_sparse(&dense)), (count(&bytes), elements == 0));
            let mut registers = [0; REGISTERS];
            merge(&mut registers, &bytes).unwrap();
            assert_eq!(Ok(count_registers(&registers)), count(&bytes));
            let mut converted = bytes.clone();
            make_dense(&mut converted).unwrap();
            let mut expected = dense;
            make_dense(&mut expected).unwrap();
            assert_eq!(converted[HEADER..], expected[HEADER..]);
        }
    }

    #[test]
    fn a_sparse_one_says_what_a_table_of_registers_says() {
        let mut rng = quorate_stdx::Rng::new(7);
        for round in 0..30 {
            let mut bytes = empty();
            let mut table = [0; REGISTERS];
            for _ in 0..200 {
                let register = if round % 2 == 0 { rng.below(40) } else { rng.below(REGISTERS as u64) } as usize;
                let value = 1 + rng.below(3 + round % 30) as u8;
                let changed = raise(&mut bytes, register, value, 3000).unwrap();
                assert_eq!(changed, table[register] < value);
                table[register] = value.max(table[register]);
                let mut read = [0; REGISTERS];
                merge(&mut read, &bytes).unwrap();
                assert!(read == table, "after register {register} became {value}");
            }
        }
    }

    #[test]
    fn neighbours_of_one_value_share_an_opcode() {
        let mut bytes = empty();
        assert_eq!(describe_sparse(&bytes), "Z:16384");
        for register in [100, 102, 101, 103, 104, 16383, 0] {
            raise(&mut bytes, register, 2, 3000).unwrap();
        }
        assert_eq!(describe_sparse(&bytes), "v:2,1 Z:99 v:2,4 v:2,1 Z:16278 v:2,1");
        raise(&mut bytes, 102, 5, 3000).unwrap();
        assert_eq!(describe_sparse(&bytes), "v:2,1 Z:99 v:2,2 v:5,1 v:2,2 Z:16278 v:2,1");
        assert!(cached_count(&bytes).is_none());
        raise(&mut bytes, 102, 33, 3000).unwrap();
        assert!(!is_sparse(&bytes));
    }

    #[test]
    fn whatever_the_bytes_are_nothing_panics() {
        let mut rng = quorate_stdx::Rng::new(3);
        for _ in 0..2000 {
            let mut bytes = empty();
            bytes.truncate(HEADER);
            bytes.extend((0..rng.below(40)).map(|_| rng.below(256) as u8));
            assert!(is_hll(&bytes));
            let mut registers = [0; REGISTERS];
            let sound = count(&bytes).is_ok();
            assert_eq!(merge(&mut registers, &bytes).is_ok(), sound);
            describe_sparse(&bytes);
            let mut copy = bytes.clone();
            assert_eq!(make_dense(&mut copy).is_ok(), sound);
            let _ = raise(&mut bytes, rng.below(REGISTERS as u64) as usize, 3, 3000);
        }
        for len in 0..HEADER {
            assert!(!is_hll(&empty()[..len]));
        }
    }
}
