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

    /// Accounts for a body of this many bytes, which is sent now.
    pub fn book(&mut self, bytes: usize, now: Instant) {
        if self.rate > 0 {
            let from = self.free_at.map_or(now, |free_at| free_at.max(now));
            let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            self.free_at = from.checked_add(takes);
        }
    }

    /// Until when nothing may be sent, if that is not over.
    pub fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.free_at.filter(|free_at| *free_at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_and_not_made_up_for() {
        let (begin, milliseconds) = (Instant::now(), Duration::from_millis);
        let mut pace = Pace::new(1000);
        for (bytes, at, rests_until) in [
            (500, 0, 500),
            (1000, 0, 1500),
            (0, 1000, 1500),
            (1000, 1500, 2500),
            // The rate that was not used in between is lost.
            (2000, 10_000, 12_000),
            (1, 12_000, 12_001),
        ] {
            let now = begin + milliseconds(at);
            pace.book(bytes, now);
            assert_eq!(
                pace.rests_until(now),
                Some(begin + milliseconds(rests_until))
            );
        }
        assert_eq!(pace.rests_until(begin + milliseconds(12_001)), None);
        let mut unlimited = Pace::new(0);
        unlimited.book(usize::MAX, begin);
        assert_eq!(unlimited.rests_until(begin), None);
    }
}
