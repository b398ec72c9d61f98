//! How fast bodies are sent at most. No clock: time is an argument.

use std::time::{Duration, Instant};

/// A rate that is not exceeded in the long run.
#[derive(Debug)]
pub struct Pace {
    /// Bytes per second; no limit if 0.
    rate: usize,
    /// What was sent is within the rate from here on.
    free_at: Option<Instant>,
}

impl Pace {
    /// So many bytes per second; 0 for no limit.
    pub fn new(rate: usize) -> Self {
        Pace {
            rate,
            free_at: None,
        }
    }

    /// When the next body may be sent, if that is later than now.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.free_at?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// A body of so many bytes is sent now.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        if self.rate > 0 {
            let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            let from = self.free_at.map_or(now, |free_at| free_at.max(now));
            self.free_at = from.checked_add(takes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_not_made_up_for() {
        let second = Duration::from_secs(1);
        let (mut pace, begin) = (Pace::new(1000), Instant::now());
        assert_eq!(pace.wait(begin), None);
        pace.sent(500, begin);
        assert_eq!(pace.wait(begin), Some(second / 2));
        assert_eq!(pace.wait(begin + second / 2), None);
        // What was not used in between is over.
        pace.sent(2000, begin + 10 * second);
        assert_eq!(pace.wait(begin + 11 * second), Some(second));
        let mut free = Pace::new(0);
        free.sent(usize::MAX, begin);
        assert_eq!(free.wait(begin), None);
    }
}
