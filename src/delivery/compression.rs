//! How much fits into a body that is compressed: learned from the last ones. No clock, I/O or threads.

/// What the next bodies compress to follows from about this many bytes of the last ones.
const WINDOW: usize = 4 << 20;

/// A body that was compressed, or the beginning of one that became too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Its bytes before compression.
    pub plain: usize,
    /// Its bytes after compression.
    pub bytes: usize,
}

/// The share of a body's bytes that is left after compression.
#[derive(Debug, Default)]
pub struct Compression {
    /// How large a body may be before compression; none if bodies are not compressed.
    max_plain: Option<usize>,
    /// The last bodies together.
    seen: Option<Packed>,
}

impl Compression {
    /// For bodies of at most this many bytes before compression; none if they are not compressed.
    pub fn new(max_plain: Option<usize>) -> Self {
        Compression {
            max_plain,
            seen: None,
        }
    }

    /// Whether it is known at all how well bodies compress.
    pub fn is_known(&self) -> bool {
        self.seen.is_some()
    }

    /// A body was compressed.
    pub fn learn(&mut self, packed: Packed) {
        let seen = self.seen.get_or_insert(Packed { plain: 0, bytes: 0 });
        seen.plain += packed.plain;
        seen.bytes += packed.bytes;
        let share = WINDOW as f64 / seen.plain.max(1) as f64;
        if share < 1.0 {
            seen.plain = WINDOW;
            seen.bytes = (seen.bytes as f64 * share) as usize;
        }
    }

    /// A body turned out larger than allowed: the next one is estimated from this one alone.
    pub fn was_wrong(&mut self, packed: Packed) {
        self.seen = Some(packed);
    }

    /// How many bytes before compression come to about this many afterwards.
    pub fn plain(&self, bytes: usize) -> usize {
        let Some(max) = self.max_plain else {
            return bytes;
        };
        let plain = self.seen.map_or(bytes, |seen| {
            // A little less, since bodies differ.
            let share = seen.plain as f64 / seen.bytes.max(1) as f64 * 15.0 / 16.0;
            (bytes as f64 * share) as usize
        });
        plain.clamp(1, max)
    }

    /// How many bytes this many come to after compression.
    pub fn packed(&self, plain: usize) -> usize {
        self.seen.map_or(plain, |seen| {
            (plain as f64 * seen.bytes as f64 / seen.plain.max(1) as f64) as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn the_next_body_takes_what_the_last_ones_leave_room_for() {
        let mut compression = Compression::new(Some(8 * LIMIT));
        assert_eq!(compression.plain(LIMIT), LIMIT, "nothing is known");
        for (plain, bytes, least, most) in [
            (LIMIT, LIMIT / 5, 46, 47),
            // One small body says little.
            (600, 500, 46, 47),
            // Better, but not more than is allowed before compression.
            (64 * LIMIT, LIMIT, 80, 80),
        ] {
            compression.learn(Packed { plain, bytes });
            let tenths = compression.plain(LIMIT) * 10 / LIMIT;
            assert!((least..=most).contains(&tenths), "{plain}: {tenths}");
        }
        compression.was_wrong(Packed {
            plain: 2 * LIMIT,
            bytes: LIMIT,
        });
        assert_eq!(compression.plain(LIMIT), LIMIT * 15 / 8);
        assert_eq!(compression.packed(LIMIT), LIMIT / 2);
    }

    #[test]
    fn what_is_not_compressed_has_the_size_that_it_has() {
        let compression = Compression::new(None);
        assert_eq!(compression.plain(usize::MAX), usize::MAX);
        assert_eq!(compression.packed(LIMIT), LIMIT);
    }

    proptest! {
        /// Whatever came before, bodies of one kind soon fill most of the limit, and hardly any is larger.
        #[test]
        fn bodies_come_close_to_the_limit(
            before in proptest::collection::vec((1usize..4 * LIMIT, 1usize..2 * LIMIT), 0..9),
            limit in 10_000usize..4 * LIMIT,
            percent in 4usize..110,
        ) {
            let mut compression = Compression::new(Some(1 << 30));
            before.into_iter().for_each(|(plain, bytes)| compression.learn(Packed { plain, bytes }));
            let (mut wrong, mut last) = (0, 0);
            for _ in 0..60 * (1 + WINDOW / limit) {
                let plain = compression.plain(limit);
                let packed = Packed { plain, bytes: plain * percent / 100 };
                last = packed.bytes;
                match last > limit {
                    true => compression.was_wrong(packed),
                    false => compression.learn(packed),
                }
                wrong += usize::from(last > limit);
            }
            prop_assert!(wrong <= 1, "{wrong} too large");
            prop_assert!(last * 10 > limit * 9 && last <= limit, "{last} of {limit}");
        }
    }
}
