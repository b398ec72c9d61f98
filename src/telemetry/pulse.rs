//! Whether the sender is stuck: it says by when what it does must be over, and the main thread looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// By when that is; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    by: Arc<Mutex<Option<Instant>>>,
}

impl Pulse {
    /// Does this, which must be over within that time.
    pub fn during<T>(&self, limit: Duration, work: impl FnOnce() -> T) -> T {
        self.set(Instant::now().checked_add(limit));
        let done = work();
        self.set(None);
        done
    }

    /// Whether what began is not over, though it should be.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.is_some_and(|by| now > by)
    }

    fn set(&self, by: Option<Instant>) {
        *self.by.lock().unwrap_or_else(PoisonError::into_inner) = by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_stuck_only_while_something_takes_too_long() {
        let (pulse, limit) = (Pulse::default(), Duration::from_secs(60));
        let soon = || Instant::now() + limit / 2;
        let late = || Instant::now() + limit * 2;
        assert!(!pulse.is_stuck(late()));
        let seen = pulse.clone();
        pulse.during(limit, || {
            assert!(!seen.is_stuck(soon()) && seen.is_stuck(late()))
        });
        assert!(!pulse.is_stuck(late()));
        pulse.during(Duration::MAX, || assert!(!seen.is_stuck(late())));
    }
}
