//! How many buffered events the next start reads again: at the agent's end these are no loss.

use std::collections::VecDeque;
use std::ops::Range;

use super::acks::Seq;

/// Events of sources that resume, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Resuming {
    /// Oldest first; those below the watermark are left out.
    ranges: VecDeque<Range<Seq>>,
    /// Those that are not final.
    events: u64,
}

impl Resuming {
    /// These were enqueued, after all others.
    pub(super) fn add(&mut self, range: Range<Seq>) {
        self.events += range.end - range.start;
        match self.ranges.back_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push_back(range),
        }
    }

    /// These, of whatever source, are final. Below the watermark all are.
    pub(super) fn finish(&mut self, range: &Range<Seq>, watermark: Seq) {
        let first = self
            .ranges
            .partition_point(|other| other.end <= range.start);
        for other in self.ranges.range(first..) {
            if other.start >= range.end {
                break;
            }
            self.events -= other.end.min(range.end) - other.start.max(range.start);
        }
        while self
            .ranges
            .front()
            .is_some_and(|other| other.end <= watermark)
        {
            self.ranges.pop_front();
        }
    }

    /// Those that are not final.
    pub(super) fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_final_in_any_order_is_counted_once() {
        let mut resuming = Resuming::default();
        resuming.add(0..3);
        resuming.add(3..5);
        resuming.add(10..20);
        assert_eq!(resuming.events(), 15);
        // Final events, the watermark after that, and what is left.
        for (range, watermark, left) in [
            (4..12, 0, 12),
            (0..2, 2, 10),
            (2..4, 12, 8),
            (25..30, 12, 8),
            (12..25, 30, 0),
        ] {
            resuming.finish(&range, watermark);
            assert_eq!(resuming.events(), left, "{range:?}");
        }
        assert!(resuming.ranges.is_empty());
    }
}
