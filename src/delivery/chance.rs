//! Whether an event's failures can be chance, given how often requests without it fail.
//!
//! Those that are compared with it lately are controls: chance decided that they were sent, and not the event. So it does
//! not matter which requests fail, as long as events that are not to blame would have failed as often.

use std::collections::VecDeque;
use std::ops::Range;

use crate::buffer::acks::Seq;
use crate::text::ranges::Ranges;

/// What is less likely than this is not chance. Every event is tested, and an agent carries millions of them.
const UNLIKELY: f64 = 1e-9;
/// Requests that count as recent.
const RECENT: f64 = 128.0;
/// Failures between two requests that pass; further ones say nothing new: the webhook is down.
const OUTAGE: u32 = 32;
/// How many failed requests are remembered until it is known whether they failed by chance.
const REMEMBERED: usize = 64;
/// The latest requests are judged by themselves, too, in case it has become worse.
const LATEST: usize = 32;

/// How the latest requests ended.
#[derive(Debug, Default)]
pub struct Chance {
    /// Passed.
    passed: f64,
    /// Failed by chance: all of their events passed later.
    failed: f64,
    /// The numbers of the events of failed requests, of which some are not final.
    open: Vec<Vec<Range<Seq>>>,
    /// Requests that failed since the last one passed.
    in_a_row: u32,
    /// The last [`LATEST`] controls: `None` for one that passed, and the numbers of the events of one that failed.
    latest: VecDeque<Option<Vec<Range<Seq>>>>,
}

impl Chance {
    /// A request with events of these numbers failed. A control is one that held no suspect, but might have held one.
    pub fn failed(&mut self, is_control: bool, seqs: impl Iterator<Item = Range<Seq>>) {
        self.in_a_row += 1;
        if self.in_a_row <= OUTAGE {
            if self.open.len() == REMEMBERED {
                self.open.remove(0);
            }
            let seqs: Vec<_> = seqs.collect();
            if is_control {
                self.remember(Some(seqs.clone()));
            }
            self.open.push(seqs);
        }
    }

    fn remember(&mut self, request: Option<Vec<Range<Seq>>>) {
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(request);
    }

    /// A request passed. `is_open` says whether some events of a range are not final.
    pub fn passed(&mut self, is_control: bool, is_open: impl Fn(&Range<Seq>) -> bool) {
        self.in_a_row = 0;
        self.passed += 1.0;
        if is_control {
            self.remember(None);
        }
        let before = self.open.len();
        self.open.retain(|seqs| seqs.iter().any(&is_open));
        self.failed += (before - self.open.len()) as f64;
        if self.passed + self.failed > RECENT {
            self.passed /= 2.0;
            self.failed /= 2.0;
        }
    }

    /// The event of this number was rejected: it caused all failures that it was part of.
    pub fn explained(&mut self, seq: Seq) {
        self.open.retain(|seqs| !hold(seqs, seq));
        self.latest
            .retain(|request| request.as_ref().is_none_or(|seqs| !hold(seqs, seq)));
    }

    /// Whether `failures` in a row of the event with this number, with others passing in between, can't be chance.
    pub fn rules_out(&self, failures: u32, seq: Seq) -> bool {
        let is_unlikely = |rate: f64| rate.powf(f64::from(failures)) < UNLIKELY;
        // Mostly what has failed by chance is enough, and the rest need not be looked at.
        is_unlikely(highest_rate(self.passed, self.failed)) && is_unlikely(self.rate_without(seq))
    }

    /// Whether at most one event is to blame for all that failed lately.
    pub fn is_clear(&self) -> bool {
        distinct(self.latest.iter().flatten(), Seq::MAX) <= 1.0
    }

    /// How often requests without this event fail at most: in the long run, or just now, whichever is worse.
    fn rate_without(&self, seq: Seq) -> f64 {
        let open = distinct(self.open.iter(), seq);
        let in_the_long_run = highest_rate(self.passed, self.failed + open);
        let passed = self.latest.iter().filter(|request| request.is_none());
        let failed = distinct(self.latest.iter().flatten(), seq);
        let just_now = highest_rate(passed.count() as f64, failed);
        in_the_long_run.max(just_now)
    }
}

/// How many of these failures share no event with each other, nor with this one: another event that fails again and
/// again counts once.
fn distinct<'a>(failures: impl DoubleEndedIterator<Item = &'a Vec<Range<Seq>>>, seq: Seq) -> f64 {
    let (mut known, mut count) = (Ranges::default(), 0);
    for seqs in failures.rev() {
        let is_known = seqs.iter().any(|range| known.meets(range));
        if !is_known && !hold(seqs, seq) {
            for range in seqs {
                known.add(range.clone());
            }
            count += 1;
        }
    }
    f64::from(count)
}

/// The highest rate that this few requests allow: the upper end of Wilson's interval, one standard deviation wide.
fn highest_rate(passed: f64, failed: f64) -> f64 {
    let requests = passed + failed;
    if requests == 0.0 {
        return 1.0;
    }
    let rate = failed / requests;
    let spread = (rate * (1.0 - rate) / requests + 0.25 / (requests * requests)).sqrt();
    (rate + 0.5 / requests + spread) / (1.0 + 1.0 / requests)
}

fn hold(seqs: &[Range<Seq>], seq: Seq) -> bool {
    seqs.iter().any(|range| range.contains(&seq))
}

#[cfg(test)]
mod tests {
    use std::iter::once;
    use std::slice;

    use super::*;

    /// The state after this many requests that passed, and this many that failed by chance.
    fn seen(passed: usize, failed: usize) -> Chance {
        let mut chance = Chance::default();
        for number in 0..passed.max(failed) {
            if number < failed {
                chance.failed(true, once(0..1));
            }
            if number < passed {
                chance.passed(true, |_| false);
            }
        }
        chance
    }

    fn needed(chance: &Chance) -> u32 {
        (0..1000)
            .find(|failures| chance.rules_out(*failures, Seq::MAX))
            .unwrap_or(1000)
    }

    #[test]
    fn the_fewer_others_pass_the_more_failures_it_takes() {
        assert_eq!(needed(&Chance::default()), 1000, "nothing else was seen");
        assert_eq!(needed(&seen(2, 0)), 19);
        assert_eq!(needed(&seen(10, 0)), 9);
        assert_eq!(needed(&seen(100, 0)), 6);
    }

    #[test]
    fn the_more_others_fail_the_more_failures_it_takes() {
        assert!(needed(&seen(60, 6)) > needed(&seen(60, 0)));
        assert!(
            (30..50).contains(&needed(&seen(60, 60))),
            "{}",
            needed(&seen(60, 60))
        );
        assert!(needed(&seen(0, 30)) > 500, "nothing passes");
    }

    #[test]
    fn a_failure_counts_as_chance_only_when_its_events_have_passed() {
        let mut chance = Chance::default();
        chance.failed(true, [0..10, 900..1000].into_iter());
        chance.failed(true, once(500..1000));
        chance.passed(true, |range| range.end > 600);
        assert_eq!((chance.failed, chance.open.len()), (0.0, 2));
        chance.explained(950);
        assert_eq!(chance.open.len(), 0);
        chance.failed(true, once(0..10));
        chance.passed(true, |_| false);
        assert_eq!(chance.failed, 1.0);
    }

    #[test]
    fn an_outage_is_remembered_within_bounds() {
        let mut chance = seen(100, 0);
        for seq in 0..10_000 {
            chance.failed(true, once(seq..seq + 1));
        }
        assert_eq!(chance.open.len(), OUTAGE as usize);
        for _ in 0..400 {
            chance.passed(true, |_| false);
        }
        assert!(needed(&chance) < 8, "{}", needed(&chance));
    }

    #[test]
    fn what_is_long_ago_counts_half() {
        for (passed, failed, expected) in [
            (128, 0, (128.0, 0.0)),
            (129, 0, (64.5, 0.0)),
            (124, 4, (124.0, 4.0)),
            (125, 4, (62.5, 2.0)),
        ] {
            let chance = seen(passed, failed);
            assert_eq!((chance.passed, chance.failed), expected);
        }
    }

    #[test]
    fn what_a_rejected_event_was_part_of_is_forgotten() {
        let mut chance = Chance::default();
        chance.failed(true, once(5..6));
        chance.failed(true, once(7..8));
        chance.explained(5);
        let left: Vec<_> = once(7..8).collect();
        assert_eq!(chance.open, slice::from_ref(&left));
        assert_eq!(chance.latest, [Some(left)]);
    }

    #[test]
    fn failures_count_that_share_no_event_with_each_other_nor_with_this_one() {
        let failures = [[0..2, 3..4], [1..3, 8..9], [5..6, 10..11]].map(Vec::from);
        for (seq, count) in [(9, 2.0), (5, 1.0), (8, 2.0), (0, 2.0)] {
            assert_eq!(distinct(failures.iter(), seq), count, "{seq}");
        }
        let chance = Chance {
            passed: 10.0,
            failed: 30.0,
            open: vec![once(0..1).collect()],
            latest: vec![None; LATEST].into(),
            ..Chance::default()
        };
        assert_eq!(chance.rate_without(9), highest_rate(10.0, 31.0));
        assert_eq!(chance.rate_without(0), highest_rate(10.0, 30.0));
    }

    #[test]
    fn the_highest_rate_is_the_end_of_an_interval() {
        for (passed, failed, rate) in [
            (0.0, 0.0, 1.0),
            (1.0, 0.0, 0.5),
            (10.0, 0.0, 0.0909),
            (5.0, 5.0, 0.6508),
            (90.0, 10.0, 0.1341),
        ] {
            let found = highest_rate(passed, failed);
            assert!((found - rate).abs() < 1e-4, "{passed} {failed}: {found}");
        }
    }
}
