//! Searches as many bytes at once as the processor can: its shuffle instructions look half bytes up in tables.

/// How many bytes are looked at together.
pub(super) const WINDOW: usize = 3;
const NIBBLES: usize = 16;

/// Up to eight sets of windows, a bit each: a byte at a place in a window is in the sets that both its halves are in.
#[derive(Debug, Clone, Default)]
pub(super) struct Tables {
    pub(super) low: [[u8; NIBBLES]; WINDOW],
    pub(super) high: [[u8; NIBBLES]; WINDOW],
}

impl Tables {
    /// The first window that is in a set; otherwise, up to where there is none, near the end of the text.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Result<usize, usize> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor supports it.
            return unsafe { avx2::next(self, text, from) };
        } else if is_x86_feature_detected!("ssse3") {
            // SAFETY: as above.
            return unsafe { ssse3::next(self, text, from) };
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: every processor of this kind supports it.
        return unsafe { neon::next(self, text, from) };
        #[cfg(not(target_arch = "aarch64"))]
        Err(from)
    }
}

/// The search, made of what a module has of the processor: `table` from memory, `sets` of bytes, `and`, and `first`,
/// the first that is not zero.
macro_rules! search {
    ($feature:literal) => {
        #[target_feature(enable = $feature)]
        pub(super) fn next(tables: &Tables, text: &[u8], from: usize) -> Result<usize, usize> {
            let low = tables.low.each_ref().map(|low| table(low));
            let high = tables.high.each_ref().map(|high| table(high));
            let mut at = from;
            while let Some(bytes) = text
                .get(at..)
                .and_then(<[u8]>::first_chunk::<{ LANES + 2 }>)
            {
                let sets = |place: usize| {
                    let (low, high) = (low[place], high[place]);
                    sets(
                        low,
                        high,
                        bytes[place..].first_chunk().unwrap_or(&[0; LANES]),
                    )
                };
                match first(and(and(sets(0), sets(1)), sets(2))) {
                    LANES => at += LANES,
                    place => return Ok(at + place),
                }
            }
            Err(at)
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{NIBBLES, Tables};

    const LANES: usize = 32;

    search!("avx2");

    #[target_feature(enable = "avx2")]
    #[inline]
    fn table(table: &[u8; NIBBLES]) -> __m256i {
        // SAFETY: the array has as many bytes as are read.
        _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) })
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn sets(low: __m256i, high: __m256i, bytes: &[u8; LANES]) -> __m256i {
        // SAFETY: the array has as many bytes as are read.
        let bytes = unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) };
        let upper = and(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi8(15));
        // A byte above 127 is in no set: the first shuffle makes it zero.
        and(
            _mm256_shuffle_epi8(low, bytes),
            _mm256_shuffle_epi8(high, upper),
        )
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn and(a: __m256i, b: __m256i) -> __m256i {
        _mm256_and_si256(a, b)
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn first(sets: __m256i) -> usize {
        let none = _mm256_movemask_epi8(_mm256_cmpeq_epi8(sets, _mm256_setzero_si256()));
        none.trailing_ones() as usize
    }
}

#[cfg(target_arch = "x86_64")]
mod ssse3 {
    use std::arch::x86_64::*;

    use super::{NIBBLES, Tables};

    const LANES: usize = 16;

    search!("ssse3");

    #[target_feature(enable = "ssse3")]
    #[inline]
    fn table(table: &[u8; NIBBLES]) -> __m128i {
        // SAFETY: the array has as many bytes as are read.
        unsafe { _mm_loadu_si128(table.as_ptr().cast()) }
    }

    #[target_feature(enable = "ssse3")]
    #[inline]
    fn sets(low: __m128i, high: __m128i, bytes: &[u8; LANES]) -> __m128i {
        let bytes = table(bytes);
        let upper = and(_mm_srli_epi16(bytes, 4), _mm_set1_epi8(15));
        and(_mm_shuffle_epi8(low, bytes), _mm_shuffle_epi8(high, upper))
    }

    #[target_feature(enable = "ssse3")]
    #[inline]
    fn and(a: __m128i, b: __m128i) -> __m128i {
        _mm_and_si128(a, b)
    }

    #[target_feature(enable = "ssse3")]
    #[inline]
    fn first(sets: __m128i) -> usize {
        let none = _mm_movemask_epi8(_mm_cmpeq_epi8(sets, _mm_setzero_si128()));
        none.trailing_ones() as usize
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;

    use super::{NIBBLES, Tables};

    const LANES: usize = 16;

    search!("neon");

    #[target_feature(enable = "neon")]
    #[inline]
    fn table(table: &[u8; NIBBLES]) -> uint8x16_t {
        // SAFETY: the array has as many bytes as are read.
        unsafe { vld1q_u8(table.as_ptr()) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn sets(low: uint8x16_t, high: uint8x16_t, bytes: &[u8; LANES]) -> uint8x16_t {
        let bytes = table(bytes);
        // A byte above 127 keeps its highest bit, which makes the result zero.
        let lower = vqtbl1q_u8(low, vandq_u8(bytes, vdupq_n_u8(0x8F)));
        and(lower, vqtbl1q_u8(high, vshrq_n_u8(bytes, 4)))
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn and(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
        vandq_u8(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    fn first(sets: uint8x16_t) -> usize {
        // Four bits for each.
        let none = vreinterpretq_u16_u8(vceqzq_u8(sets));
        let none = vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(none, 4)), 0);
        none.trailing_ones() as usize / 4
    }
}
