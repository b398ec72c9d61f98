//! The next delay before something is tried again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Exponential backoff with full jitter: each delay is drawn evenly between the least one and a
/// bound that doubles with every attempt, so that many hosts don't come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// Delays between `min` and `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Backoff {
            min,
            max,
            bound: min,
        }
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        // A fresh hasher's keys are random; that is all the randomness that jitter needs.
        self.next_delay_with(RandomState::new().hash_one(0u8))
    }

    fn next_delay_with(&mut self, random: u64) -> Duration {
        self.bound = (self.bound * 2).min(self.max);
        let range = self.bound.saturating_sub(self.min);
        self.min + range.mul_f64(random as f64 / u64::MAX as f64)
    }

    /// What the far side asked for, within the bounds.
    pub fn clamp(&self, delay: Duration) -> Duration {
        delay.clamp(self.min, self.max)
    }

    /// It worked: start anew.
    pub fn reset(&mut self) {
        self.bound = self.min;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    #[test]
    fn the_bound_doubles_up_to_the_greatest_delay_and_starts_anew() {
        let mut backoff = Backoff::new(MIN, MAX);
        let longest: Vec<_> = (0..10)
            .map(|_| backoff.next_delay_with(u64::MAX).as_millis())
            .collect();
        assert_eq!(
            longest,
            [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]
        );
        backoff.reset();
        assert_eq!(backoff.next_delay_with(u64::MAX).as_millis(), 200);
    }

    #[test]
    fn delays_differ() {
        let mut backoff = Backoff::new(MIN, MAX);
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(delays.windows(2).any(|pair| pair[0] != pair[1]));
    }

    proptest! {
        #[test]
        fn every_delay_is_within_the_bounds(random: u64, attempts in 1usize..80) {
            let mut backoff = Backoff::new(MIN, MAX);
            for _ in 0..attempts {
                let delay = backoff.next_delay_with(random);
                prop_assert!((MIN..=MAX).contains(&delay));
            }
        }
    }
}
