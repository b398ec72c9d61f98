//! The delay before a retry.

use std::time::Duration;

/// Exponential backoff with full jitter: each delay is drawn evenly between the minimum and a bound that doubles
/// with every attempt, so that many agents don't come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
    /// The state of the random numbers: splitmix64.
    state: u64,
}

impl Backoff {
    /// Delays between `min` and `max`. The same seed gives the same delays.
    pub fn new(min: Duration, max: Duration, seed: u64) -> Self {
        Backoff {
            min,
            max: max.max(min),
            bound: min,
            state: seed,
        }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.bound = self.bound.saturating_mul(2).min(self.max);
        self.between(self.min, self.bound)
    }

    /// The delay if the server asked for one: up to half as long again as `asked`, within the bounds. If `asked` is the
    /// maximum or more, between three quarters of the maximum and the maximum.
    pub fn clamp(&mut self, asked: Duration) -> Duration {
        if asked >= self.max {
            let shortest = self.max - self.max / 4;
            return self.between(shortest.max(self.min), self.max);
        }
        let shortest = asked.max(self.min);
        self.between(
            shortest,
            shortest.saturating_add(shortest / 2).min(self.max),
        )
    }

    /// A new backoff with the same bounds, at its start.
    pub fn anew(&self) -> Self {
        Backoff {
            bound: self.min,
            ..self.clone()
        }
    }

    /// An attempt succeeded: the next delay is short again.
    pub fn reset(&mut self) {
        self.bound = self.min;
    }

    fn between(&mut self, shortest: Duration, longest: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = self.state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
        shortest.saturating_add(longest.saturating_sub(shortest).mul_f64(fraction))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    fn longest_of(delays: impl Fn(&mut Backoff) -> Duration) -> Duration {
        let delays = (0..1000).map(|seed| delays(&mut Backoff::new(MIN, MAX, seed)));
        delays.max().unwrap_or_default()
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum_and_starts_anew_after_a_success() {
        for (attempt, bound) in [(1, 200), (2, 400), (3, 800), (8, 25_600), (9, 30_000)] {
            let longest = longest_of(|backoff| {
                let delays = (0..attempt).map(|_| backoff.next_delay());
                delays.last().unwrap_or_default()
            });
            let bound = Duration::from_millis(bound);
            assert!(longest <= bound, "{attempt}: {longest:?}");
            assert!(longest > bound.mul_f64(0.95), "{attempt}: {longest:?}");
        }
        let longest = longest_of(|backoff| {
            for _ in 0..9 {
                backoff.next_delay();
            }
            backoff.reset();
            backoff.next_delay()
        });
        assert!(longest <= 2 * MIN, "{longest:?}");
    }

    proptest! {
        #[test]
        fn delays_stay_within_the_bounds_and_follow_from_the_seed(
            seed: u64, attempts in 1_usize..80, min in 0_u64..1000, range in 0_u64..100_000,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + range));
            let mut backoff = Backoff::new(min, max, seed);
            let mut twin = backoff.clone();
            for _ in 0..attempts {
                let delay = backoff.next_delay();
                prop_assert!((min..=max).contains(&delay), "{delay:?}");
                prop_assert_eq!(delay, twin.next_delay());
            }
        }

        #[test]
        fn a_delay_that_was_asked_for_is_obeyed_within_the_bounds(
            seed: u64, asked in 0_u64..200_000, min in 0_u64..1000, range in 0_u64..100_000,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + range));
            let asked = Duration::from_millis(asked);
            let delay = Backoff::new(min, max, seed).clamp(asked);
            prop_assert!((min..=max).contains(&delay), "{delay:?}");
            if asked < max {
                prop_assert!(delay >= asked, "{delay:?}");
                prop_assert!(delay <= asked.max(min) * 3 / 2, "{delay:?}");
            } else {
                prop_assert!(delay >= max * 3 / 4, "{delay:?}");
            }
        }

        #[test]
        fn agents_come_back_at_different_moments(seed: u64, asked in 1_u64..100) {
            let asked = Duration::from_secs(asked);
            let delays = [seed, !seed].map(|seed| Backoff::new(MIN, MAX, seed).clamp(asked));
            prop_assert_ne!(delays[0], delays[1]);
        }

        #[test]
        fn many_agents_come_back_over_a_good_part_of_the_time(seed: u64, asked in 1_u64..20) {
            let asked = Duration::from_secs(asked);
            let delays = (0..50).map(|agent| Backoff::new(MIN, MAX, seed ^ agent).clamp(asked));
            let delays: Vec<_> = delays.collect();
            let spread = *delays.iter().max().unwrap() - *delays.iter().min().unwrap();
            prop_assert!(spread >= asked / 4, "{spread:?}");
        }

        #[test]
        fn no_duration_panics(seed: u64, min: Duration, max: Duration, asked: Duration) {
            let mut backoff = Backoff::new(min, max, seed);
            let _ = (backoff.next_delay(), backoff.next_delay(), backoff.clamp(asked));
        }
    }
}
