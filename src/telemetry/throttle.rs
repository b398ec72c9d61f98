//! When a line is due of what goes on: the first occurrence at once, then one an interval. Time is an
//! argument.

use std::time::{Duration, Instant};

use crate::telemetry::snapshot::OutageState;

/// What was told of one reason's drops.
#[derive(Debug, Default)]
pub(crate) struct Drops {
    told: u64,
    /// Some were dropped in this interval or the last: more of them wait for the next line.
    lasting: bool,
}

impl Drops {
    /// Tells of the first drop after a quiet interval. `total` counts all drops so far.
    pub(crate) fn first(&mut self, total: u64, tell: impl FnOnce()) {
        if !self.lasting {
            self.lasting = true;
            self.told = total;
            tell();
        }
    }

    /// How many of all drops so far no line has told of. From now on they count as told.
    pub(crate) fn sum_up(&mut self, total: u64) -> u64 {
        let untold = total - self.told;
        self.told = total;
        self.lasting = untold > 0;
        untold
    }
}

/// What was told of something that comes and goes.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// While it lasts.
    pub(crate) now: Option<Outage>,
    /// When a line was last written of it. Coming and going faster than the interval is told once.
    told: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Outage {
    /// When it began.
    pub(crate) since: Instant,
    /// That have failed.
    pub(crate) attempts: u64,
    /// What the last one failed for.
    pub(crate) why: String,
    /// What an operator must do, if the last attempt's failure will not pass by itself.
    pub(crate) remedy: Option<&'static str>,
    told: bool,
}

impl Outages {
    /// One more attempt has failed. True if it is to be told at once.
    pub(crate) fn failed(
        &mut self,
        why: &str,
        remedy: Option<&'static str>,
        now: Instant,
        interval: Duration,
    ) -> bool {
        let quiet = self
            .told
            .is_none_or(|told| now.duration_since(told) >= interval);
        let outage = self.now.get_or_insert_with(|| Outage {
            since: now,
            attempts: 0,
            why: String::new(),
            remedy: None,
            told: false,
        });
        outage.attempts += 1;
        outage.why = why.to_owned();
        outage.remedy = remedy;
        let first = !outage.told && quiet;
        if first {
            outage.told = true;
            self.told = Some(now);
        }
        first
    }

    /// It works again. The outage, if there was one that had been told.
    pub(crate) fn ended(&mut self, now: Instant) -> Option<Outage> {
        let outage = self.now.take().filter(|outage| outage.told)?;
        self.told = Some(now);
        Some(outage)
    }

    /// It is not away yet, or for another reason.
    pub(crate) fn is_new(&self, why: &str) -> bool {
        self.now.as_ref().is_none_or(|outage| outage.why != why)
    }

    /// The outage, if there is one, as others may know it.
    pub(crate) fn away(&self) -> Option<OutageState> {
        let outage = self.now.as_ref()?;
        Some(OutageState {
            since: outage.since,
            why: in_full(&outage.why, outage.remedy),
        })
    }

    /// The outage, if it is time for a line of it.
    pub(crate) fn due(&mut self, now: Instant, interval: Duration) -> Option<&Outage> {
        let outage = self.now.as_mut()?;
        // The reporting thread's clock ticks with the interval: half of it tells a line of this
        // tick from one of the last.
        if self
            .told
            .is_some_and(|told| now.duration_since(told) < interval / 2)
        {
            return None;
        }
        outage.told = true;
        self.told = Some(now);
        Some(outage)
    }
}

/// As the log has it.
pub(crate) fn in_full(why: &str, remedy: Option<&str>) -> String {
    match remedy {
        None => why.to_owned(),
        Some(remedy) => format!("{why}: {remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[test]
    fn an_outage_is_told_at_once_then_once_an_interval_then_at_its_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut outages = Outages::default();
        assert!(outages.failed("refused", None, at(0), INTERVAL));
        assert!(!outages.failed("refused", None, at(1), INTERVAL));
        assert!(outages.due(at(4), INTERVAL).is_none(), "told 4 s ago");
        assert!(!outages.failed("timeout", None, at(9), INTERVAL));
        let outage = outages.due(at(14), INTERVAL).unwrap();
        assert_eq!((outage.attempts, outage.why.as_str()), (3, "timeout"));
        assert_eq!(
            outages.ended(at(15)).map(|outage| outage.since),
            Some(at(0))
        );
        assert!(outages.ended(at(16)).is_none());
        assert!(outages.due(at(24), INTERVAL).is_none());
    }

    #[test]
    fn coming_and_going_is_told_once_an_interval() {
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

    #[test]
    fn every_drop_is_told_once() {
        let mut drops = Drops::default();
        let mut told = Vec::new();
        for total in 1..=3 {
            drops.first(total, || told.push(total));
        }
        assert_eq!(
            (told, drops.told),
            (vec![1], 1),
            "the other two wait for the summary"
        );
    }
}
