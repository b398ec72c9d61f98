//! When a line about something that repeats is due: at the first occurrence, then once per interval. Time is an
//! argument.

use std::time::{Duration, Instant};

use crate::telemetry::message::{Message, MoreOutages, Within};
use crate::telemetry::snapshot::OutageState;

/// What was logged about occurrences that are counted.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    /// Occurrences so far.
    total: u64,
    /// Those that a line has reported.
    logged: u64,
    /// Some occurred in this interval or the last: more of them wait for the next line.
    lasts: bool,
}

impl Burst {
    /// Occurrences so far.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Counts occurrences without a line, until the next summary.
    pub(crate) fn count(&mut self, occurrences: u64) {
        self.total += occurrences;
    }

    /// Counts occurrences. True if they should be logged at once, because they are the first after a quiet interval.
    pub(crate) fn add(&mut self, occurrences: u64) -> bool {
        self.total += occurrences;
        let is_first = !std::mem::replace(&mut self.lasts, true);
        if is_first {
            self.logged = self.total;
        }
        is_first
    }

    /// How many occurrences no line has reported. From now on they count as reported.
    pub(crate) fn summarize(&mut self) -> u64 {
        let unreported = self.total - self.logged;
        self.logged = self.total;
        self.lasts = unreported > 0;
        unreported
    }
}

/// What was logged about something that fails and recovers.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// The current outage, if there is one.
    now: Option<Outage>,
    /// When a line about it was last written. Failing and recovering faster than the interval is logged once.
    logged: Option<Instant>,
    /// When such a line last had something to fix.
    logged_fix: Option<Instant>,
    /// How many have ended without a line, and why the last one of them began.
    unlogged: (u64, String),
}

#[derive(Debug)]
pub(crate) struct Outage {
    /// When it began.
    pub(crate) since: Instant,
    /// Attempts that have failed.
    pub(crate) attempts: u64,
    /// Why the last one failed.
    pub(crate) error: String,
    /// What an operator must do, if the last attempt's failure does not pass by itself.
    pub(crate) fix: Option<&'static str>,
    is_logged: bool,
}

impl Outages {
    /// Another attempt has failed. True if it should be logged at once: because it is the first, or the first that an
    /// operator must do something about.
    pub(crate) fn failed(
        &mut self,
        error: &str,
        fix: Option<&'static str>,
        now: Instant,
        interval: Duration,
    ) -> bool {
        let is_quiet = |logged: Option<Instant>| {
            logged.is_none_or(|logged| now.duration_since(logged) >= interval)
        };
        let outage = self.now.get_or_insert_with(|| Outage {
            since: now,
            attempts: 0,
            error: String::new(),
            fix: None,
            is_logged: false,
        });
        let is_first = !outage.is_logged && is_quiet(self.logged);
        let needs_fix = fix.is_some() && outage.fix.is_none() && is_quiet(self.logged_fix);
        outage.attempts += 1;
        error.clone_into(&mut outage.error);
        outage.fix = fix;
        let is_due = is_first || needs_fix;
        if is_due {
            outage.is_logged = true;
            self.logged = Some(now);
            self.logged_fix = fix.map(|_| now).or(self.logged_fix);
        }
        is_due
    }

    /// It works again. Returns the outage, if there was one that had been logged.
    pub(crate) fn ended(&mut self, now: Instant) -> Option<Outage> {
        let outage = self.now.take()?;
        if !outage.is_logged {
            self.unlogged = (self.unlogged.0 + 1, outage.error);
            return None;
        }
        self.logged = Some(now);
        Some(outage)
    }

    /// Something else is used from now on, whose first failure is logged at once. Returns the outage that this ends, if
    /// there was one that had been logged.
    pub(crate) fn replaced(&mut self, now: Instant) -> Option<Outage> {
        let outage = self.ended(now);
        (self.logged, self.logged_fix) = (None, None);
        outage
    }

    /// How many outages no line has reported, and the reason for the last one. From now on they count as reported.
    pub(crate) fn summarize(&mut self) -> Option<(u64, String)> {
        let (mut outages, mut error) = std::mem::take(&mut self.unlogged);
        if let Some(outage) = self.now.as_mut().filter(|outage| !outage.is_logged) {
            outage.is_logged = true;
            (outages, error) = (outages + 1, outage.error.clone());
        }
        (outages > 0).then_some((outages, error))
    }

    /// The same as a line about `what`.
    pub(crate) fn sum_up(&mut self, what: &str, within: Option<Duration>) -> Option<Message> {
        let (outages, error) = self.summarize()?;
        Some(Message::Unstable {
            what: what.to_owned(),
            outages: MoreOutages(outages),
            within: Within(within),
            error,
        })
    }

    /// Nothing has failed yet, or it failed for another reason.
    pub(crate) fn is_new(&self, error: &str) -> bool {
        self.now.as_ref().is_none_or(|outage| outage.error != error)
    }

    /// The outage, if there is one, in the form for a snapshot.
    pub(crate) fn state(&self) -> Option<OutageState> {
        let outage = self.now.as_ref()?;
        Some(OutageState {
            since: outage.since,
            error: with_fix(&outage.error, outage.fix),
        })
    }

    /// The outage, if a line about it is due: after an interval if there was none, then every `intervals` intervals.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        interval: Duration,
        intervals: u32,
    ) -> Option<&Outage> {
        let outage = self.now.as_mut()?;
        // The reporting thread ticks with the interval: half of it tells a line of this
        // tick from a line of the last.
        let intervals = if outage.is_logged { intervals } else { 1 };
        let pause = (interval * intervals).saturating_sub(interval / 2);
        if self
            .logged
            .is_some_and(|logged| now.duration_since(logged) < pause)
        {
            return None;
        }
        outage.is_logged = true;
        self.logged = Some(now);
        self.logged_fix = outage.fix.map(|_| now).or(self.logged_fix);
        Some(outage)
    }
}

/// An error with how to fix it.
pub(crate) fn with_fix(error: &str, fix: Option<&str>) -> String {
    match fix {
        None => error.to_owned(),
        Some(fix) => format!("{error}; fix: {fix}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn an_outage_is_logged_at_once_then_once_an_interval_then_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outages = Outages::default();
        assert!(outages.is_new("refused"));
        assert!(outages.failed("refused", None, at(0), INTERVAL));
        assert!(!outages.is_new("refused") && outages.is_new("timeout"));
        assert!(!outages.failed("refused", None, at(1), INTERVAL));
        assert!(outages.due(at(4), INTERVAL, 1).is_none(), "logged 4 s ago");
        assert!(!outages.failed("timeout", None, at(9), INTERVAL));
        let outage = outages.due(at(14), INTERVAL, 1).unwrap();
        assert_eq!((outage.attempts, outage.error.as_str()), (3, "timeout"));
        assert_eq!(
            outages.ended(at(15)).map(|outage| outage.since),
            Some(at(0))
        );
        assert!(outages.ended(at(16)).is_none());
        assert!(outages.due(at(24), INTERVAL, 1).is_none());
        assert!(outages.failed("refused", None, at(30), INTERVAL));
        assert!(outages.due(at(35), INTERVAL, 1).is_some(), "this tick's");
    }

    #[test]
    fn failing_and_recovering_is_logged_once_an_interval() {
        let start = Instant::now();
        let mut outages = Outages::default();
        let mut lines = 0;
        for milliseconds in (0..60_000).step_by(100) {
            let now = start + Duration::from_millis(milliseconds);
            lines += usize::from(outages.failed("reset", None, now, INTERVAL));
            lines += usize::from(outages.ended(now).is_some());
        }
        assert!((2..=14).contains(&lines), "{lines} lines in a minute");
    }

    proptest! {
        #[test]
        fn each_outage_has_a_line_or_is_in_a_summary(steps in vec((0u8..3, 0u64..8), 1..100)) {
            let (mut now, mut outages) = (Instant::now(), Outages::default());
            let (mut is_down, mut begun, mut reported) = (false, 0, 0);
            for (step, seconds) in steps {
                now += Duration::from_secs(seconds);
                match step {
                    0 => {
                        begun += u64::from(!std::mem::replace(&mut is_down, true));
                        reported += u64::from(outages.failed("refused", None, now, INTERVAL));
                    }
                    1 => {
                        is_down = false;
                        outages.ended(now);
                    }
                    _ => reported += outages.summarize().map_or(0, |(outages, _)| outages),
                }
            }
            reported += outages.summarize().map_or(0, |(outages, _)| outages);
            prop_assert_eq!(reported, begun);
            prop_assert_eq!(outages.summarize(), None);
        }
    }

    #[test]
    fn what_an_operator_must_fix_is_logged_at_once_but_not_at_each_change() {
        let start = Instant::now();
        let mut outages = Outages::default();
        let lines: Vec<_> = (0..25_u64)
            .filter(|second| {
                let fix = (second % 2 == 1).then_some("give another token");
                let now = start + Duration::from_secs(*second);
                outages.failed("no", fix, now, INTERVAL)
            })
            .collect();
        assert_eq!(lines, [0, 1, 11, 21]);
    }

    #[test]
    fn every_occurrence_is_reported_once() {
        let mut burst = Burst::default();
        let first: Vec<_> = (0..3).map(|_| burst.add(2)).collect();
        assert_eq!(first, [true, false, false]);
        assert_eq!((burst.summarize(), burst.total()), (4, 6));
        assert!(!burst.add(1), "the last interval was not quiet");
        assert_eq!(burst.summarize(), 1);
        assert_eq!(burst.summarize(), 0);
        assert!(burst.add(1));
        assert_eq!(burst.summarize(), 0);
    }
}
