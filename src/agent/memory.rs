//! When memory that the buffer has used is returned to the system. No clock, no allocator.
//!
//! The C library keeps what was freed. After an outage that would be the whole buffer, forever.

use std::time::{Duration, Instant};

/// The time between two checks.
const LOOK: Duration = Duration::from_secs(5);
/// Less than this many bytes is not worth it.
const LITTLE: usize = 4 << 20;

/// Decides when to return memory, by how much was in the buffer.
#[derive(Debug)]
pub(super) struct Memory {
    /// How many bytes make it full.
    bound: usize,
    due: Instant,
    /// How much was in it when memory was last returned.
    kept: usize,
}

impl Memory {
    /// For an empty buffer of `bound` bytes.
    pub(super) fn new(bound: usize, now: Instant) -> Self {
        Memory {
            bound,
            due: now + LOOK,
            kept: 0,
        }
    }

    /// When to [check](Self::look) again.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether memory should be returned now, with `buffered` bytes in the buffer and at most `peak` since the last
    /// check: when it holds far less than it did, and while it is full, since events of other sizes replace those that
    /// have gone.
    pub(super) fn look(&mut self, buffered: usize, peak: usize, now: Instant) -> bool {
        self.due = now + LOOK;
        let most = self.kept.max(peak);
        let has_drained = most > LITTLE && buffered < most / 2;
        let is_full = buffered > LITTLE && buffered >= self.bound / 8 * 7;
        self.kept = match has_drained {
            true => buffered,
            false => most,
        };
        has_drained || is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn memory_is_given_back_when_the_buffer_has_drained_and_while_it_is_full() {
        let begin = Instant::now();
        let mut memory = Memory::new(64 * MIB, begin);
        for (place, (buffered, peak, expected)) in [
            (MIB, MIB, false),
            (30 * MIB, 30 * MIB, false),
            (60 * MIB, 60 * MIB, true),
            (64 * MIB, 64 * MIB, true),
            (40 * MIB, 64 * MIB, false),
            (20 * MIB, 40 * MIB, true),
            (20 * MIB, 20 * MIB, false),
            (2 * MIB, 20 * MIB, true),
            (0, 2 * MIB, false),
            // It filled and drained between two checks.
            (0, 50 * MIB, true),
            (0, 0, false),
        ]
        .into_iter()
        .enumerate()
        {
            let now = memory.due();
            assert_eq!(memory.look(buffered, peak, now), expected, "{place}");
            assert_eq!(memory.due(), now + LOOK);
        }
    }
}
