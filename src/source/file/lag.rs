//! How far a source is behind its files: in bytes, in time, and how long it will take. Pure arithmetic.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::text::quantity::HumanDuration;

/// At most this many observations are kept; beyond that, every second one of the older is dropped.
const MAX_SAMPLES: usize = 512;
/// Fewer bytes than this are not a backlog.
const BACKLOG: u64 = 1 << 20;
/// How often it is measured how fast a backlog is worked off,
const PERIOD: Duration = Duration::from_secs(10);
/// and how often that is logged.
const AGAIN: Duration = Duration::from_secs(60);

/// What is known of a source at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Observation {
    /// Bytes that became final since the start.
    pub(super) done: u64,
    /// Bytes that are not final.
    pub(super) behind: u64,
    /// Events that were read since the start.
    pub(super) events: u64,
}

/// How far a source has got with a backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CatchUp {
    /// Bytes of the backlog that are done, and all of it.
    pub(super) done: u64,
    pub(super) total: u64,
    /// Events a second.
    pub(super) rate: u64,
    /// How long the rest takes; not known while nothing is delivered.
    pub(super) left: Option<Duration>,
}

/// Observes a source.
#[derive(Debug, Default)]
pub(super) struct LagMeter {
    /// When this many bytes had been seen, final or not; the oldest first.
    samples: VecDeque<(Instant, u64)>,
    backlog: Option<Backlog>,
}

#[derive(Debug)]
struct Backlog {
    from: u64,
    measured: Instant,
    then: Observation,
    last: Option<CatchUp>,
    logged: Option<Instant>,
}

impl LagMeter {
    /// How long the oldest byte that is not final has been seen.
    pub(super) fn observe(&mut self, now: Instant, seen: Observation) -> Duration {
        let all = seen.done + seen.behind;
        let mut since = now;
        // What was cut off, or is no whole event, does not count any more.
        while let Some(&(before, last)) = self.samples.back()
            && last > all
        {
            since = before;
            self.samples.pop_back();
        }
        if self.samples.back().is_none_or(|(_, last)| all > *last) {
            self.samples.push_back((since, all));
        }
        while self
            .samples
            .front()
            .is_some_and(|(_, all)| *all <= seen.done)
        {
            self.samples.pop_front();
        }
        if self.samples.len() > MAX_SAMPLES {
            let mut place = 0;
            // The first one stays: it is the oldest byte's.
            self.samples.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        let oldest = self.samples.front().filter(|_| seen.behind > 0);
        oldest.map_or(Duration::ZERO, |(since, _)| {
            now.saturating_duration_since(*since)
        })
    }

    /// How much of a backlog has been worked off, when it is time to log that.
    pub(super) fn catch_up(&mut self, now: Instant, seen: Observation) -> Option<CatchUp> {
        if seen.behind < BACKLOG {
            self.backlog = None;
            return None;
        }
        let backlog = self.backlog.get_or_insert(Backlog {
            from: seen.done,
            measured: now,
            then: seen,
            last: None,
            logged: None,
        });
        let period = now.saturating_duration_since(backlog.measured);
        if period < PERIOD {
            return None;
        }
        let seconds = period.as_secs().max(1);
        let done = seen.done.saturating_sub(backlog.then.done);
        let events = seen.events.saturating_sub(backlog.then.events);
        let left = seen.behind.saturating_mul(seconds).checked_div(done);
        backlog.last = Some(CatchUp {
            done: seen.done - backlog.from,
            total: seen.done - backlog.from + seen.behind,
            rate: events / seconds,
            left: left.map(Duration::from_secs),
        });
        (backlog.measured, backlog.then) = (now, seen);
        let is_due = |logged| now.saturating_duration_since(logged) >= AGAIN;
        if !backlog.logged.is_none_or(is_due) {
            return None;
        }
        backlog.logged = Some(now);
        backlog.last
    }

    /// The same, as it was last measured.
    pub(super) fn last(&self) -> Option<CatchUp> {
        self.backlog.as_ref()?.last
    }
}

impl CatchUp {
    /// In percent.
    pub(super) fn percent(&self) -> u64 {
        self.done.saturating_mul(100) / self.total.max(1)
    }

    /// How long the rest takes, in words.
    pub(super) fn left(&self) -> String {
        match self.left {
            Some(left) => format!("about {} left", HumanDuration(left)),
            None => "no progress".into(),
        }
    }
}

impl fmt::Display for CatchUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, total) = (self.done >> 20, self.total >> 20);
        let (percent, rate, left) = (self.percent(), self.rate, self.left());
        write!(
            f,
            "{done} of {total} MiB ({percent} %), {rate} events/s, {left}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MIB: u64 = 1 << 20;

    fn seen(done: u64, behind: u64) -> Observation {
        Observation {
            done,
            behind,
            events: done / 100,
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_byte_that_is_not_final() {
        let start = Instant::now();
        let mut meter = LagMeter::default();
        let mut age = |second: u32, done, behind| {
            meter
                .observe(start + SECOND * second, seen(done, behind))
                .as_secs()
        };
        assert_eq!(age(0, 0, 0), 0);
        assert_eq!(age(1, 0, 100), 0);
        assert_eq!(age(2, 0, 200), 1);
        assert_eq!(age(3, 50, 150), 2);
        assert_eq!(age(4, 100, 100), 2, "what came in second 2");
        assert_eq!(age(5, 200, 0), 0);
        assert_eq!(age(9, 200, 10), 0);
        assert_eq!(age(12, 205, 0), 0, "the rest was cut off");
        assert_eq!(age(13, 205, 10), 0, "what came then is new");
        assert_eq!(age(14, 205, 20), 1);
        assert_eq!(age(15, 205, 5), 2, "some of it is still there");
    }

    #[test]
    fn a_long_outage_needs_no_more_memory() {
        let start = Instant::now();
        let mut meter = LagMeter::default();
        for second in 0..10_000 {
            let age = meter.observe(start + SECOND * second, seen(0, u64::from(second) + 1));
            assert_eq!(age.as_secs(), u64::from(second));
        }
        assert!(meter.samples.len() <= MAX_SAMPLES);
    }

    #[test]
    fn a_backlog_is_logged_soon_and_then_once_a_minute() {
        let start = Instant::now();
        let mut meter = LagMeter::default();
        let mut lines = Vec::new();
        assert_eq!(meter.last(), None);
        for second in 0..140 {
            // The backlog is 300 MiB, and 7 MiB were done before.
            let done = u64::from(second) * 2 * MIB;
            let seen = seen(7 * MIB + done, 300 * MIB - done);
            let line = meter.catch_up(start + SECOND * second, seen);
            lines.extend(line.map(|line| (second, line)));
        }
        let seconds: Vec<_> = lines.iter().map(|(second, _)| *second).collect();
        assert_eq!(seconds, [10, 70, 130]);
        let expected = CatchUp {
            done: 140 * MIB,
            total: 300 * MIB,
            rate: 2 * MIB / 100,
            left: Some(SECOND * 80),
        };
        assert_eq!(lines[1].1, expected);
        assert_eq!(
            expected.to_string(),
            "140 of 300 MiB (46 %), 20971 events/s, about 1m20s left"
        );
        assert_eq!(
            meter.last().map(|last| last.done),
            Some(260 * MIB),
            "as it was measured every ten seconds"
        );
        assert_eq!(
            meter.catch_up(start + SECOND * 200, seen(307 * MIB, 0)),
            None
        );
        assert_eq!(meter.last(), None);
    }

    #[test]
    fn without_progress_nobody_knows_how_long_it_takes() {
        let start = Instant::now();
        let mut meter = LagMeter::default();
        meter.catch_up(start, seen(0, 9 * MIB));
        let line = meter
            .catch_up(start + SECOND * 10, seen(0, 9 * MIB))
            .unwrap();
        assert_eq!((line.left, line.rate, line.done), (None, 0, 0));
    }

    #[test]
    fn less_than_a_mib_is_no_backlog() {
        for (behind, is_one) in [(BACKLOG - 1, false), (BACKLOG, true)] {
            let (start, mut meter) = (Instant::now(), LagMeter::default());
            meter.catch_up(start, seen(0, behind));
            let line = meter.catch_up(start + PERIOD, seen(0, behind));
            assert_eq!(line.is_some(), is_one, "{behind}");
        }
    }
}
