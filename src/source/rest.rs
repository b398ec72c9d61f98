//! How long a source rests when there is nothing more to read for now, so that what comes meanwhile needs no wake-up of
//! its own: at a thousand events a second wake-ups cost more than everything else. No clock, no I/O.

use std::time::{Duration, Instant};

/// If events wait less than this for others, a rest would be noticed.
const MIN_AGE: Duration = Duration::from_millis(100);
/// The longest rest.
const MAX: Duration = Duration::from_millis(10);
/// A shorter one is not worth it.
const MIN: Duration = Duration::from_micros(500);
/// Max bytes that may come in a rest: no writer should wait because a socket's buffer, of some 200 KiB, is full. Small
/// events take more than twice their length there.
const EXPECTED: u32 = 40 << 10;

/// What came since the last rest.
#[derive(Debug)]
pub(super) struct Rest {
    is_allowed: bool,
    since: Option<Instant>,
    bytes: usize,
}

impl Rest {
    /// For a source whose events may wait this long for others.
    pub(super) fn new(batch_age: Duration) -> Self {
        Rest {
            is_allowed: batch_age >= MIN_AGE,
            since: None,
            bytes: 0,
        }
    }

    /// This much was read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// How long to rest now that all was read; `None` if nothing is likely to come that soon, or too much.
    pub(super) fn due(&mut self, now: Instant) -> Option<Duration> {
        let bytes = u32::try_from(std::mem::take(&mut self.bytes)).unwrap_or(u32::MAX);
        let took = now.duration_since(self.since.replace(now)?);
        if !self.is_allowed || bytes == 0 || took > 2 * MAX {
            return None;
        }
        let rest = took.mul_f64(f64::from(EXPECTED) / f64::from(bytes));
        (rest >= MIN).then_some(rest.min(MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// The rest after this many bytes in this time.
    fn after(age: Duration, took: Duration, bytes: usize) -> Option<Duration> {
        let (mut rest, begin) = (Rest::new(age), Instant::now());
        assert_eq!(rest.due(begin), None, "nothing is known yet");
        rest.read(bytes);
        rest.due(begin + took)
    }

    #[test]
    fn a_rest_is_as_long_as_little_comes_in_it() {
        let age = Duration::from_secs(1);
        assert_eq!(after(age, MS, 1000), Some(MAX));
        assert_eq!(after(age, MAX, 5000), Some(MAX));
        // 20,000 events of 1 KiB a second.
        assert_eq!(after(age, 5 * MS, 100 << 10), Some(2 * MS));
        // As fast as it can be read.
        assert_eq!(after(age, MS, 200 << 10), None);
        // A few a second.
        assert_eq!(after(age, 21 * MS, 1000), None);
        assert_eq!(after(age, MS, 0), None);
        // Nobody should notice.
        assert_eq!(after(50 * MS, MS, 1000), None);
        assert_eq!(after(Duration::ZERO, MS, 1000), None);
    }
}
