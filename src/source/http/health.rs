//! Whether a balancer should send events elsewhere.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The buffer counts as full from here on, or when a body finds no room.
const FULL_PERCENT: usize = 95;
/// A full buffer counts as full until it is below this, so that a balancer does not change its mind with each batch.
const ROOM_PERCENT: usize = 80;

/// Whether the buffer was full at the last look, or a body has found no room since.
#[derive(Debug, Default)]
pub struct Health {
    is_full: AtomicBool,
}

impl Health {
    /// A body has found no room.
    pub fn no_room(&self) {
        self.is_full.store(true, Relaxed);
    }

    /// Whether the buffer is full, with this much of it in use.
    pub fn is_full(&self, percent_used: usize) -> bool {
        let was_full = self.is_full.load(Relaxed);
        let limit = if was_full { ROOM_PERCENT } else { FULL_PERCENT };
        let is_full = percent_used >= limit;
        self.is_full.store(is_full, Relaxed);
        is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_is_full_until_there_is_some_room() {
        let health = Health::default();
        for (used, is_full) in [
            (94, false),
            (95, true),
            (80, true),
            (79, false),
            (94, false),
        ] {
            assert_eq!(health.is_full(used), is_full, "{used}");
        }
        health.no_room();
        assert!(health.is_full(90));
        health.no_room();
        assert!(!health.is_full(0));
    }
}
