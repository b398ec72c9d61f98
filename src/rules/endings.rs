//! Where names may end, found in sixty-four bytes at once: by the last two bytes of a name and the one behind them.

/// Bytes that are looked at together.
const WINDOW: usize = 3;
const NIBBLES: usize = 16;

/// What may be behind a name: an equals sign or a quote, which may be escaped as in URLs or in JSON; or a colon.
pub(super) const BEHIND: &[u8] = b"=\"%\\:";

/// What escapes begin with.
pub(super) const ESCAPES: &[u8] = b"%\\";

/// How names end, in any case of letters. Up to eight sets of windows, a bit each: a byte at a place of a window is in those
/// sets that both of its halves are in.
#[derive(Debug, Clone)]
pub(super) struct Endings {
    low: [[u8; NIBBLES]; WINDOW],
    high: [[u8; NIBBLES]; WINDOW],
    /// The same for whole bytes.
    whole: Box<[[u8; 256]; WINDOW]>,
}

/// Sets of escapes: those of letters and of `_`, or in JSON; and of `-`, or of a percent sign. All others are of names.
const LETTER: u8 = 1 << 7;
const HYPHEN: u8 = 1 << 6;
const SETS: usize = 6;

impl Endings {
    /// Of names in lower case, with `-` for `_`.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut endings = Endings {
            low: [[0; NIBBLES]; WINDOW],
            high: [[0; NIBBLES]; WINDOW],
            whole: Box::new([[0; 256]; WINDOW]),
        };
        // A set for each last byte, as long as there is one.
        let mut last_bytes = Vec::new();
        for name in names {
            let (Some(last), before) = (name.last(), name.iter().nth_back(1)) else {
                continue;
            };
            let known = last_bytes.iter().position(|known| known == last);
            let set = known.unwrap_or(last_bytes.len());
            if known.is_none() {
                last_bytes.push(*last);
            }
            let set = 1 << (set % SETS);
            match before {
                Some(before) => endings.add(0, &spellings(*before), set),
                None => endings.add(0, &ASCII, set),
            }
            endings.add(1, &spellings(*last), set);
            endings.add(2, BEHIND, set);
        }
        for (second, third, set) in [
            (&b"4567u\\"[..], &b"0123456789ABCDEFabcdef\\u"[..], LETTER),
            (b"2", b"5Dd\\", HYPHEN),
        ] {
            endings.add(0, ESCAPES, set);
            endings.add(1, second, set);
            endings.add(2, third, set);
        }
        for (place, whole) in endings.whole.iter_mut().enumerate() {
            for byte in ASCII {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                whole[usize::from(byte)] = endings.low[place][low] & endings.high[place][high];
            }
        }
        endings
    }

    fn add(&mut self, place: usize, bytes: &[u8], set: u8) {
        for byte in bytes {
            self.low[place][usize::from(byte & 15)] |= set;
            self.high[place][usize::from(byte >> 4)] |= set;
        }
    }

    /// The first window at or behind `from` in which a name may end, or an escaped byte of a name begin.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor can do it.
            match unsafe { avx2::next(self, text, from) } {
                Ok(found) => return Some(found),
                Err(end) => at = end,
            }
        }
        let [first, second, third] = &*self.whole;
        let found = text.get(at..)?.windows(WINDOW).position(|window| {
            let byte = |place: usize| usize::from(window[place]);
            first[byte(0)] & second[byte(1)] & third[byte(2)] != 0
        });
        found.map(|found| at + found)
    }
}

const ASCII: [u8; 128] = {
    let mut all = [0; 128];
    let mut byte = 0;
    while byte < all.len() {
        all[byte] = byte as u8;
        byte += 1;
    }
    all
};

/// A byte of a name as it may be written.
fn spellings(byte: u8) -> [u8; 2] {
    match byte {
        b'-' => *b"-_",
        _ => [byte, byte.to_ascii_uppercase()],
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_cmpeq_epi8,
        _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_setzero_si256,
        _mm256_shuffle_epi8, _mm256_srli_epi16,
    };

    use super::{Endings, NIBBLES, WINDOW};

    const BLOCK: usize = 64;

    /// The window that was found; or up to where there is none.
    #[target_feature(enable = "avx2")]
    pub(super) fn next(endings: &Endings, text: &[u8], from: usize) -> Result<usize, usize> {
        let low = endings.low.each_ref().map(|table| twice(table));
        let high = endings.high.each_ref().map(|table| twice(table));
        let mut at = from;
        while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk) {
            let bits = look(block, &low, &high);
            if bits != 0 {
                return Ok(at + bits.trailing_zeros() as usize);
            }
            at += BLOCK;
        }
        Err(at)
    }

    /// The windows of a block that are in a set, the first one lowest.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn look(
        block: &[u8; BLOCK + WINDOW - 1],
        low: &[__m256i; WINDOW],
        high: &[__m256i; WINDOW],
    ) -> u64 {
        let half = |start: usize| {
            let mut sets = _mm256_set1_epi8(-1);
            for place in 0..WINDOW {
                let bytes = &block[start + place..][..BLOCK / 2];
                // SAFETY: there are 32 bytes.
                let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
                // A byte above 127 is in no set: a shuffle makes zero of it.
                let lower = _mm256_shuffle_epi8(low[place], bytes);
                let upper = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
                let upper = _mm256_shuffle_epi8(high[place], upper);
                sets = _mm256_and_si256(sets, _mm256_and_si256(lower, upper));
            }
            let none = _mm256_cmpeq_epi8(sets, _mm256_setzero_si256());
            !_mm256_movemask_epi8(none) as u32
        };
        u64::from(half(0)) | u64::from(half(BLOCK / 2)) << (BLOCK / 2)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn twice(table: &[u8; NIBBLES]) -> __m256i {
        // SAFETY: there are 16 bytes.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endings() -> Endings {
        Endings::of([&b"signature"[..], b"sig", b"user-id", b"oo-k", b"x-"])
    }

    #[test]
    fn no_ending_is_overlooked_and_few_others_are_found() {
        let found = |text: &str| endings().next(text.as_bytes(), 0);
        for (text, expected) in [
            ("x-amz-signature=", 13),
            ("\"SIGNATURE\" :", 8),
            ("?Sig%3d", 2),
            ("\\\"USER_ID\\\":", 7),
            ("oo_K\\u003d", 2),
            ("x_\"", 0),
            ("a%67=", 1),
            ("a%2D=", 1),
            ("%\\u0036", 0),
            ("\\\\\\u0041", 0),
        ] {
            assert_eq!(found(text), Some(expected), "{text}");
        }
        for text in [
            "\"code\":",
            "status=",
            "a%2F",
            "size\"",
            "\\n",
            "é=",
            "sig",
            "",
            "=\"",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(Endings::of([&b"k"[..]]).next(b"{\"k\":1", 0), Some(1));
    }

    proptest! {
        /// What looks at many bytes at once finds what a look at each finds.
        #[test]
        fn all_are_found_in_order(text in "([a-z=\"%\\\\é0-9_-]|re=|ig\"|%4){0,200}", from in 0..300_usize) {
            let (text, endings) = (text.as_bytes(), endings());
            let is_found = |at: &usize| {
                let places = text[*at..*at + WINDOW].iter().enumerate();
                places.fold(u8::MAX, |sets, (place, byte)| sets & endings.whole[place][usize::from(*byte)]) != 0
            };
            let expected = (from..(text.len() + 1).saturating_sub(WINDOW)).filter(is_found);
            let found = std::iter::successors(endings.next(text, from), |at| endings.next(text, at + 1));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}
