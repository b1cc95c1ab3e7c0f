//! The generator behind `math.random`: the 48-bit linear congruence that POSIX calls `lrand48`.
//!
//! Redis carries its own copy so that a seed gives the same numbers on every machine; scripts that
//! call `math.randomseed` rely on that, so the sequence is the same here.

use crate::lua::{Frame, Raised, Results};

/// The generator's 48 bits of state.
#[derive(Debug, Clone)]
pub(crate) struct Rand48(u64);

/// The largest number that [`Rand48::next`] answers.
const MOST: u32 = 0x7fff_ffff;

impl Rand48 {
    /// The generator that `seed` begins.
    pub(crate) fn new(seed: u32) -> Rand48 {
        Rand48(u64::from(seed) << 16 | 0x330e)
    }

    /// The next number of 31 bits.
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(0x5_deec_e66d).wrapping_add(0xb) & 0xffff_ffff_ffff;
        (self.0 >> 17) as u32
    }
}

/// `math.random([m [, n]])`
pub(crate) fn random(frame: &mut Frame<'_>) -> Results {
    // The largest number stands for 0, so that the fraction stays below 1.
    let fraction = f64::from(frame.session().random.next() % MOST) / f64::from(MOST);
    let number = match frame.arguments() {
        0 => fraction,
        1 => {
            let upper = integer(frame, 1)?;
            if upper < 1 {
                return Err(frame.argument_error(1, "interval is empty"));
            }
            (fraction * upper as f64).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (integer(frame, 1)?, integer(frame, 2)?);
            if lower > upper {
                return Err(frame.argument_error(2, "interval is empty"));
            }
            let span = i64::from(upper) - i64::from(lower) + 1;
            (fraction * span as f64).floor() + f64::from(lower)
        }
        _ => return Err(frame.raise_here(b"wrong number of arguments")),
    };
    frame.push_number(number);
    Ok(1)
}

/// `math.randomseed(x)`
pub(crate) fn randomseed(frame: &mut Frame<'_>) -> Results {
    let seed = integer(frame, 1)?;
    frame.session().random = Rand48::new(seed as u32);
    Ok(0)
}

fn integer(frame: &mut Frame<'_>, index: i32) -> Result<i32, Raised> {
    Ok(frame.check_number(index)? as i64 as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_numbers_that_redis_gives() {
        let mut generator = Rand48::new(10);
        let fraction = f64::from(generator.next() % MOST) / f64::from(MOST);
        assert_eq!(crate::number::text_g(fraction, 14).as_bytes(), b"0.87885112309775");
    }
}
