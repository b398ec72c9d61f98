//! How many of the events that are sent again may have arrived before: exactly those whose last answer was lost.

use super::*;
use crate::delivery::attempt::Attempt;
use crate::delivery::doubt::Doubt;
use crate::delivery::outcome::EventOutcome;

impl Simulation {
    /// What a naive model expects to be reported once these events were in a request with this outcome.
    pub(super) fn expect_redelivered(&mut self, seqs: &[Seq], outcome: &Outcome) {
        let is_unsent =
            matches!(outcome, Outcome::Failed(error) if error.cause == Cause::Unreachable);
        if !is_unsent {
            let again = seqs.iter().filter(|seq| self.doubtful.remove(seq));
            self.expected_redelivered += again.count();
        }
        let may_have_arrived = |place: usize| match outcome {
            Outcome::Failed(error) if error.may_have_arrived => true,
            // Else it is indexed, and not sent again.
            Outcome::Accepted(_) => true,
            Outcome::Partial(partial) => partial.events[place] == EventOutcome::Unknown,
            Outcome::Rejected(error) | Outcome::Failed(error) => {
                error.wrong.is_some_and(|at| place < at && at < seqs.len())
            }
            Outcome::Delivered | Outcome::TooLarge(_) => false,
        };
        let doubtful = (0..seqs.len()).filter(|place| may_have_arrived(*place));
        self.doubtful.extend(doubtful.map(|place| seqs[place]));
    }
}

/// Twelve events, of which some may have arrived.
fn attempt(doubtful: &str) -> Attempt {
    let seqs: Ranges = doubtful.parse().unwrap();
    let mut attempt = Attempt::from(events(12));
    attempt.doubt = Doubt::of(seqs.iter(), doubtful);
    attempt
}

fn text(attempt: &Attempt) -> String {
    let doubt = attempt.doubt.as_ref();
    doubt.map_or(String::new(), |doubt| {
        format!("{} of {}", doubt.seqs, doubt.why)
    })
}

#[test]
fn a_part_has_its_share_of_the_doubts_and_all_together_have_all() {
    for (doubtful, expected) in [
        ("", ["", "", ""]),
        ("0-11", ["0-3 of 0-11", "4-7 of 0-11", "8-11 of 0-11"]),
        ("3-4,6", ["3 of 3-4,6", "4,6 of 3-4,6", ""]),
        ("9", ["", "", "9 of 9"]),
    ] {
        let mut whole = attempt(doubtful);
        let mut rest = std::mem::take(&mut whole.batch);
        let mut parts = Vec::new();
        for _ in 0..3 {
            let (part, others) = rest.split(4);
            parts.push(whole.of(part));
            rest = others;
        }
        assert_eq!(parts.iter().map(text).collect::<Vec<_>>(), expected);
        let mut all = Attempt::default();
        parts.into_iter().for_each(|part| all.join(part));
        assert_eq!(text(&all), text(&attempt(doubtful)));
        assert_eq!(all.batch.extent().events, 12);
    }
    // What was part of it is no longer, and the older reason stays.
    let mut all = Attempt::default();
    for (doubtful, place) in [("1-3", 5), ("5-7", 6), ("0-2", 1)] {
        let mut attempt = attempt(doubtful);
        attempt.batch = attempt.batch.take_one(place);
        all.join(attempt);
    }
    assert_eq!(text(&all), "1,6 of 5-7");
}

/// Events that come during an outage are queued behind those in doubt, and were never sent.
#[test]
fn of_many_events_that_wait_only_those_whose_answer_was_lost_may_have_arrived() {
    for outages in 1..4 {
        let mut simulation = Simulation::new(100 * outages);
        let begin = |outage: usize| MAX * 4 * outage as u32;
        for (at, arrival) in simulation.arrivals.iter_mut().enumerate() {
            let (outage, other) = (at / 100, at % 100);
            let later = MIN * 4 + MIN * other as u32;
            *arrival = begin(outage) + if other == 0 { Duration::ZERO } else { later };
        }
        for outage in 0..outages {
            // One event is on its way.
            let mut lost = Some(failed(Cause::Disconnected));
            simulation.run_until(begin(outage + 1), |request| {
                assert_eq!(request.seqs.len(), 1);
                let refused = failed(Cause::Unreachable);
                (lost.take().unwrap_or(refused), QUICK)
            });
        }
        simulation.run_until(MAX * 100, |_| (Outcome::Delivered, QUICK));
        assert!(simulation.delivered_all_but(&[]));
        assert_eq!(simulation.redelivered, outages);
    }
}
