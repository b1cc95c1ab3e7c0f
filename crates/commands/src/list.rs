//! Commands on lists.

pub(crate) mod edit;
pub(crate) mod pop;
pub(crate) mod push;
pub(crate) mod read;
pub(crate) mod transfer;

use quorate_values::list::End;

use crate::{Args, CommandError};

/// The end that the argument at `index` names: LEFT or RIGHT.
fn end(args: Args<'_>, index: usize) -> Result<End, CommandError> {
    if args.is(index, "LEFT") {
        Ok(End::Front)
    } else if args.is(index, "RIGHT") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

/// The first index and the number of elements from `start` to `stop`, both included, of a list of `len`; negative ones
/// count from the end.
fn span(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = i64::try_from(len).expect("a list has fewer elements than memory has bytes");
    let from_start = |index: i64| if index < 0 { len.saturating_add(index).max(0) } else { index };
    let (start, stop) = (from_start(start), if stop < 0 { len.saturating_add(stop) } else { stop.min(len - 1) });
    if start > stop { (0, 0) } else { (start as usize, (stop - start + 1) as usize) }
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn a_span_is_cut_to_what_there_is() {
        assert_eq!(span(0, -1, 3), (0, 3));
        assert_eq!(span(-100, 100, 3), (0, 3));
        assert_eq!(span(1, 1, 3), (1, 1));
        assert_eq!(span(-2, -1, 3), (1, 2));
        assert_eq!(span(2, 1, 3), (0, 0));
        assert_eq!(span(3, 5, 3), (0, 0));
        assert_eq!(span(0, -4, 3), (0, 0));
        assert_eq!(span(i64::MIN, i64::MAX, 3), (0, 3));
        assert_eq!(span(i64::MAX, i64::MIN, 3), (0, 0));
        assert_eq!(span(0, -1, 0), (0, 0));
    }
}
