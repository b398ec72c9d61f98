//! Which events are final: ranges of sequence numbers, final in any order, and the watermark below which all are.

use std::ops::Range;

use crate::text::ranges::Ranges;

/// An event's number in the queue: contiguous, from 0, in the order in which events were enqueued.
pub type Seq = u64;

/// Whether two ranges have a number in common.
pub fn overlap(one: &Range<Seq>, other: &Range<Seq>) -> bool {
    one.start < other.end && other.start < one.end
}

/// The numbers that are final.
#[derive(Debug, Default)]
pub struct Acks {
    /// All numbers below it are final.
    watermark: Seq,
    /// The final numbers above it.
    done: Ranges,
}

impl Acks {
    /// These events are final. Each becomes final once.
    pub fn finish(&mut self, range: Range<Seq>) {
        if range.is_empty() {
            return;
        }
        debug_assert!(range.start >= self.watermark, "final twice: {range:?}");
        self.done.add(range);
        let lowest = self.done.iter().next();
        if let Some(lowest) = lowest.filter(|lowest| lowest.start == self.watermark) {
            self.watermark = lowest.end;
            self.done.remove(lowest);
        }
    }

    /// The numbers below this one that are not final.
    pub fn unfinished(&self, end: Seq) -> Ranges {
        Ranges::from(self.watermark..end).without(&self.done)
    }

    /// All events with lower numbers are final. Never falls.
    pub fn watermark(&self) -> Seq {
        self.watermark
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_that_only_touch_have_no_number_in_common() {
        for (one, other, expected) in [
            (0..3, 3..5, false),
            (0..4, 3..5, true),
            (0..9, 3..5, true),
            (0..2, 3..5, false),
            (3..5, 3..5, true),
        ] {
            assert_eq!(overlap(&one, &other), expected);
            assert_eq!(overlap(&other, &one), expected);
        }
    }

    #[test]
    fn the_watermark_waits_for_the_oldest() {
        let mut acks = Acks::default();
        acks.finish(3..5);
        acks.finish(7..8);
        assert_eq!(acks.watermark(), 0);
        acks.finish(0..2);
        assert_eq!(acks.watermark(), 2);
        acks.finish(2..3);
        assert_eq!(acks.watermark(), 5);
        acks.finish(5..7);
        assert_eq!((acks.watermark(), acks.done.iter().count()), (8, 0));
        acks.finish(9..9);
        assert_eq!(acks.watermark(), 8);
    }

    proptest! {
        /// Compared with a set of numbers, with ranges of random lengths that end in a random order.
        #[test]
        fn is_what_a_set_of_numbers_says(lengths in vec(1u64..20, 1..40), order in any::<u64>()) {
            let mut ranges = Vec::new();
            let mut next = 0;
            for length in lengths {
                ranges.push(next..next + length);
                next += length;
            }
            let mut random = order;
            for place in (1..ranges.len()).rev() {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ranges.swap(place, (random >> 33) as usize % (place + 1));
            }
            let (mut acks, mut model) = (Acks::default(), BTreeSet::new());
            let mut before = 0;
            for range in ranges {
                model.extend(range.clone());
                acks.finish(range);
                let expected = (0..).find(|seq| !model.contains(seq)).unwrap();
                prop_assert_eq!(acks.watermark(), expected);
                prop_assert!(acks.watermark() >= before);
                before = acks.watermark();
                // No more is stored than the gaps need.
                let gaps = (expected..next).filter(|seq| !model.contains(seq)).count();
                prop_assert_eq!(acks.unfinished(next).count(), gaps as u64);
                prop_assert!(acks.done.iter().count() <= gaps);
            }
            prop_assert_eq!(acks.watermark(), next);
        }
    }
}
