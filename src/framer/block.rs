//! Where strings end, found in sixty-four bytes at once: what most bytes of an event go through.

/// Bytes looked at together, a bit each.
pub(crate) const BLOCK: usize = 64;

/// The places where a string's plain bytes end: quotes, backslashes and control characters.
///
/// One search covers all strings of a block. If each string were searched for by itself, each search would have to wait
/// for the one before it to know where to begin, which takes three times as long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stops {
    /// Where the block begins.
    start: usize,
    /// Those in the block, as bits; the lowest is the first one.
    bits: u64,
    /// No byte of the blocks searched is above 127, including some that are after the last string.
    pub(crate) is_ascii: bool,
}

impl Stops {
    /// Nothing was searched yet.
    pub(crate) const NONE: Stops = Stops {
        // Far from any place.
        start: usize::MAX / 2,
        bits: 0,
        is_ascii: true,
    };

    /// The first one at or after `at`, or the end of `bytes`, which must be the same at each call.
    #[inline(always)]
    pub(crate) fn next(&mut self, bytes: &[u8], mut at: usize) -> usize {
        loop {
            let offset = at.wrapping_sub(self.start);
            if offset < BLOCK {
                let bits = self.bits >> offset;
                if bits != 0 {
                    return at + bits.trailing_zeros() as usize;
                }
                at = self.start + BLOCK;
            }
            if at >= bytes.len() {
                return bytes.len();
            }
            self.look(&bytes[at..]);
            self.start = at;
        }
    }

    #[inline(always)]
    fn look(&mut self, bytes: &[u8]) {
        let (bits, is_ascii) = look_at(bytes);
        self.bits = bits;
        self.is_ascii &= is_ascii;
    }
}

/// Which of the first sixty-four bytes are such places, the first one lowest, and whether all bytes are ASCII.
#[inline(always)]
fn look_at(bytes: &[u8]) -> (u64, bool) {
    match bytes.first_chunk() {
        Some(block) => look(block),
        None => {
            // A zero is a control character, so it ends a string after the last byte.
            let mut block = [0; BLOCK];
            block[..bytes.len()].copy_from_slice(bytes);
            look(&block)
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn look(block: &[u8; BLOCK]) -> (u64, bool) {
    // SAFETY: every x86_64 has SSE2, and Rust counts on it.
    unsafe { sse2::look(block) }
}

#[cfg(not(target_arch = "x86_64"))]
use portable::look;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8, _mm_setzero_si128, _mm_xor_si128,
    };

    use super::BLOCK;

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn look(block: &[u8; BLOCK]) -> (u64, bool) {
        let mut ends = 0;
        let mut all = _mm_setzero_si128();
        let (quarters, _) = block.as_chunks();
        for (number, quarter) in quarters.iter().enumerate() {
            let bytes = load(quarter);
            // With bit 1 flipped, the quote comes right after the control characters, so that one comparison finds
            // both; with bit 7 flipped, signed numbers compare as unsigned ones do.
            let turned = _mm_xor_si128(bytes, _mm_set1_epi8(TURNED));
            let others = _mm_cmplt_epi8(turned, _mm_set1_epi8((b'"' as i8 ^ TURNED) + 1));
            let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
            let found = _mm_or_si128(others, backslashes);
            ends |= (_mm_movemask_epi8(found) as u64) << (number * quarter.len());
            all = _mm_or_si128(all, bytes);
        }
        (ends, _mm_movemask_epi8(all) == 0)
    }

    const TURNED: i8 = 0b1000_0010_u8 as i8;

    /// One instruction once it is compiled.
    #[target_feature(enable = "sse2")]
    #[inline]
    fn load(quarter: &[u8; 16]) -> __m128i {
        let bytes = u128::from_le_bytes(*quarter);
        _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::BLOCK;

    pub(super) fn look(block: &[u8; BLOCK]) -> (u64, bool) {
        let is_end = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        let ends = block.iter().enumerate();
        let ends = ends.map(|(place, byte)| u64::from(is_end(*byte)) << place);
        (ends.fold(0, |all, end| all | end), block.is_ascii())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_byte_is_found_at_each_place() {
        for byte in 0..=255 {
            for place in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[place] = byte;
                assert_eq!(look(&block), portable::look(&block), "{byte} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_next_one_is_found_from_anywhere(bytes in "[a-cé\"\\\\\n]{0,300}", steps in proptest::collection::vec(1usize..90, 1..20)) {
            let bytes = bytes.as_bytes();
            let mut stops = Stops::NONE;
            let mut at = 0;
            for step in steps {
                let is_stop = |byte: &u8| b"\"\\\n".contains(byte);
                let expected = bytes[at..].iter().position(is_stop).map_or(bytes.len(), |found| at + found);
                prop_assert_eq!(stops.next(bytes, at), expected);
                prop_assert!(bytes[at..expected].is_ascii() || !stops.is_ascii);
                at = (at + step).min(bytes.len());
            }
        }
    }
}
