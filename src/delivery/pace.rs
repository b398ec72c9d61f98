//! How fast bodies are sent at most. No clock: time is an argument.

use std::time::{Duration, Instant};

/// A rate that is not exceeded in the long run.
#[derive(Debug)]
pub struct Pace {
    /// Bytes per second; no limit if 0.
    rate: usize,
    /// From this time on, what was sent is within the rate.
    free_at: Option<Instant>,
}

impl Pace {
    /// Bytes per second; 0 for no limit.
    pub fn new(rate: usize) -> Self {
        Pace {
            rate,
            free_at: None,
        }
    }

    /// Accounts for a body of this many bytes; it may be sent after this time.
    pub fn book(&mut self, bytes: usize, now: Instant) -> Option<Duration> {
        if self.rate == 0 {
            return None;
        }
        let from = self.free_at.map_or(now, |free_at| free_at.max(now));
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        self.free_at = from.checked_add(takes);
        let wait = from.duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_not_made_up_for() {
        let second = Duration::from_secs(1);
        let (mut pace, begin) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.book(500, begin), None);
        assert_eq!(pace.book(1000, begin), Some(second / 2));
        assert_eq!(pace.book(1000, begin + second), Some(second / 2));
        // The rate that was not used in between is lost.
        assert_eq!(pace.book(2000, begin + 10 * second), None);
        assert_eq!(pace.book(1, begin + 11 * second), Some(second));
        assert_eq!(Pace::new(0).book(usize::MAX, begin), None);
    }
}
