//! Where names may end, found in sixty-four bytes at once: behind a member's name stands a colon, behind a parameter's
//! name in a URL an equals sign, which may be escaped by a percent sign or a backslash.

const BLOCK: usize = 64;

/// The colons, equals signs, percent signs and backslashes of a text, in order.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// Where the next block begins.
    next: usize,
    /// Those of the block before it that were not given yet, the first one lowest.
    bits: u64,
}

impl Marks {
    /// Those at or behind `from`.
    pub fn from(from: usize) -> Self {
        Marks {
            next: from,
            bits: 0,
        }
    }

    /// The next one. `text` is the same at each call, but for what is before the last one.
    #[inline(always)]
    pub fn next(&mut self, text: &[u8]) -> Option<usize> {
        while self.bits == 0 {
            let rest = text.get(self.next..).filter(|rest| !rest.is_empty())?;
            self.bits = match rest.first_chunk() {
                Some(block) => look(block),
                None => {
                    let mut block = [0; BLOCK];
                    block[..rest.len()].copy_from_slice(rest);
                    look(&block)
                }
            };
            self.next += BLOCK;
        }
        let place = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.next - BLOCK + place)
    }
}

/// A block's marks.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn look(block: &[u8; BLOCK]) -> u64 {
    // SAFETY: every x86_64 has SSE2, and Rust counts on it.
    unsafe { sse2::look(block) }
}

#[cfg(not(target_arch = "x86_64"))]
use portable::look;

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };

    use super::BLOCK;

    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn look(block: &[u8; BLOCK]) -> u64 {
        let mut marks = 0;
        let (quarters, _) = block.as_chunks::<16>();
        for (number, quarter) in quarters.iter().enumerate() {
            let bytes = u128::from_le_bytes(*quarter);
            // One instruction once it is compiled.
            let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
            let is = |byte: u8| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8));
            let found = _mm_or_si128(
                _mm_or_si128(is(b':'), is(b'=')),
                _mm_or_si128(is(b'%'), is(b'\\')),
            );
            marks |= (_mm_movemask_epi8(found) as u32 as u64) << (number * quarter.len());
        }
        marks
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::BLOCK;

    pub(super) fn look(block: &[u8; BLOCK]) -> u64 {
        let marks = block.iter().enumerate();
        let marks = marks.map(|(place, byte)| u64::from(b":=%\\".contains(byte)) << place);
        marks.fold(0, |all, mark| all | mark)
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
        fn all_are_found_in_order(text in "[a-cé:=%\\\\\n]{0,300}", from in 0..300_usize) {
            let text = text.as_bytes();
            let mut marks = Marks::from(from);
            let found: Vec<_> = std::iter::from_fn(|| marks.next(text)).collect();
            let expected = (from..text.len()).filter(|at| b":=%\\".contains(&text[*at]));
            prop_assert_eq!(found, expected.collect::<Vec<_>>());
        }
    }
}
