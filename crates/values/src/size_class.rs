//! The sizes that the allocator really hands out.
//!
//! jemalloc serves 8, multiples of 16 up to 128, and then four classes a doubling. A buffer that grows
//! from class to class wastes nothing to rounding and still grows geometrically (by at least a seventh),
//! so that appending stays amortised. With another allocator the same sizes are merely good ones.

/// The smallest class that holds `bytes`; `bytes` itself where rounding would overflow.
#[inline]
pub const fn size_class(bytes: usize) -> usize {
    if bytes <= 8 {
        return if bytes == 0 { 0 } else { 8 };
    }
    let step = if bytes <= 128 { 16 } else { 1 << ((bytes - 1).ilog2() - 2) };
    match bytes.checked_next_multiple_of(step) {
        Some(class) => class,
        None => bytes,
    }
}

/// Makes room for `additional` more bytes, up to the end of a class.
#[inline]
pub(crate) fn reserve(buffer: &mut Vec<u8>, additional: usize) {
    let needed = buffer.len() + additional;
    if needed > buffer.capacity() {
        buffer.reserve_exact(size_class(needed) - buffer.len());
    }
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn classes_are_those_of_jemalloc() {
        let mut classes: Vec<usize> = (0..5000).map(size_class).collect();
        classes.dedup();
        let expected = [
            0, 8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280,
            1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120,
        ];
        assert_eq!(classes, expected);
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        assert_eq!(size_class(usize::MAX), usize::MAX);
    }
}
