//! Where names may end, found in sixty-four bytes at once: behind a member's name stands a colon, behind a parameter's
//! name in a URL an equals sign, which may be escaped by a percent sign or a backslash.

use crate::block::{BLOCK, NAME_ENDS, look_at};

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
            (self.bits, _) = look_at::<NAME_ENDS>(rest);
            self.next += BLOCK;
        }
        let place = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.next - BLOCK + place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
