//! Whether a clock agrees with this host's. It reads no clock itself: time is an argument.

use std::time::{Duration, Instant};

use crate::telemetry::message::Message;
use crate::text::quantity::HumanDuration;

/// What is known of a clock, or of the times of events.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// Seconds by which it may be wrong.
    limit: u64,
    /// How long it has to be wrong until that is reported.
    patience: Duration,
    /// By how many seconds it was ahead when it was last seen, and when that was; negative if it was behind.
    skew: Option<(i64, Instant)>,
    /// Since when it has been wrong, or right.
    since: Option<(bool, Instant)>,
    is_reported: bool,
}

/// How long it has to be right until that is reported: behind a balancer there may be several, one of them wrong.
const CALM: Duration = Duration::from_secs(60);
/// How long it is known of the time of an event: not as long as an alert waits.
const KEPT: Duration = Duration::from_secs(5 * 60);

impl Clock {
    pub(super) fn new(limit: u64, patience: Duration) -> Self {
        Clock {
            limit,
            patience,
            skew: None,
            since: None,
            is_reported: false,
        }
    }

    /// The clock was seen. `what` names it, in words that `agrees with` can follow.
    pub(super) fn seen(&mut self, skew: i64, what: &str, now: Instant) -> Option<Message> {
        self.skew = Some((skew, now));
        let is_wrong = skew.unsigned_abs() > self.limit;
        let since = match self.since {
            Some((was_wrong, since)) if was_wrong == is_wrong => since,
            _ => now,
        };
        self.since = Some((is_wrong, since));
        let patience = if is_wrong { self.patience } else { CALM };
        if is_wrong == self.is_reported || now - since < patience {
            return None;
        }
        self.is_reported = is_wrong;
        if !is_wrong {
            return Some(Message::ClockAgrees { what: what.into() });
        }
        Some(Message::ClockSkew {
            what: what.into(),
            skew: HumanDuration(Duration::from_secs(skew.unsigned_abs())),
            direction: if skew.is_negative() {
                "behind"
            } else {
                "ahead of"
            },
        })
    }

    /// What was seen long ago says nothing any more.
    pub(super) fn forget(&mut self, now: Instant) {
        self.skew.take_if(|(_, at)| now - *at >= KEPT);
    }

    /// Seconds between both clocks.
    pub(super) fn skew(&self) -> Option<u64> {
        // An event or answer that arrives a moment later is not late.
        let skew = self.skew?.0.unsigned_abs();
        Some(if skew < 2 { 0 } else { skew })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_reported_once_when_it_was_wrong_for_long_enough() {
        let begin = Instant::now();
        let mut clock = Clock::new(60, Duration::from_secs(60));
        let mut seen = |skew: i64, seconds: u64| {
            let now = begin + Duration::from_secs(seconds);
            clock.seen(skew, "x", now).map(|message| message.text())
        };
        for (skew, seconds, is_told) in [
            (0, 0, false),
            (61, 10, false),
            (90, 69, false),
            // In between it was right once.
            (60, 70, false),
            (-61, 80, false),
            (-61, 139, false),
            (-3600, 140, true),
            (-3600, 200, false),
        ] {
            assert_eq!(seen(skew, seconds).is_some(), is_told, "{seconds}");
        }
        assert_eq!(seen(1, 300), None);
        assert_eq!(
            seen(1, 360).unwrap(),
            "x agrees with this host's clock again"
        );
        assert_eq!(seen(1, 370), None);
        assert_eq!(clock.skew(), Some(0));
        let mut at_once = Clock::new(5, Duration::ZERO);
        assert_eq!(at_once.skew(), None);
        assert_eq!(at_once.seen(5, "x", begin), None);
        let told = at_once.seen(-7, "x", begin).unwrap().text();
        assert_eq!(
            told,
            "x is 7s behind this host's clock; fix: synchronise the clocks, as by NTP"
        );
        assert_eq!(at_once.skew(), Some(7));
        at_once.seen(2, "x", begin);
        assert_eq!(at_once.skew(), Some(2));
    }
}
