//! How long to wait before files are looked at again: short while something comes, longer and longer while nothing
//! does. No clock, no I/O.

use std::time::Duration;

/// The shortest time between two looks at the files, and so the most that looking adds to an event's delay: a part of
/// the time that it may wait for others, within these bounds.
const MIN: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
const PART: u32 = 10;
/// The longest time between two looks.
pub(super) const MAX: Duration = Duration::from_millis(500);

/// The time to the next look.
#[derive(Debug)]
pub(super) struct Pace {
    min: Duration,
    next: Duration,
}

impl Pace {
    /// For events that may wait this long for others.
    pub(super) fn new(batch_age: Duration) -> Self {
        let min = (batch_age / PART).clamp(MIN.0, MIN.1);
        Pace { min, next: min }
    }

    /// How long to wait after a step that brought events, or did not; not at all if there may be more to do at once.
    pub(super) fn after(&mut self, brought: bool, has_more: bool) -> Option<Duration> {
        if brought || has_more {
            self.next = self.min;
        }
        let wait = self.next;
        if has_more {
            return None;
        }
        self.next = (wait * 2).min(MAX);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_is_short_as_long_as_something_comes_and_grows_while_nothing_does() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let mut pace = Pace::new(Duration::from_secs(1));
        let idle = [100, 200, 400, 500, 500];
        assert_eq!(idle.map(|_| pace.after(false, false)), idle.map(ms));
        // Each time a little is there, and all of it is read at once.
        assert_eq!([(); 4].map(|()| pace.after(true, false)), [ms(100); 4]);
        assert_eq!(pace.after(false, false), ms(200));
        assert_eq!(pace.after(true, true), None);
        assert_eq!(pace.after(false, false), ms(100));
        let mut hurried = Pace::new(Duration::ZERO);
        assert_eq!(hurried.after(true, false), ms(2));
        assert_eq!(hurried.after(false, false), ms(4));
    }
}
