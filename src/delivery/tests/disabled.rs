//! Forwarding is disabled and enabled again.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::delivery::attempt::{Airborne, Launch};

impl Simulation {
    /// What a sender should do.
    pub(super) fn step(&mut self, sender: usize) -> Step {
        if !self.is_disabled {
            return self.delivery.next(sender, self.now);
        }
        let (dropped, step) = self.delivery.disabled(&self.waiting, self.now);
        for seq in dropped.seqs().flatten() {
            assert!(!self.waiting.contains(seq) && !self.delivered.contains_key(&seq));
            assert!(self.dropped.insert(seq), "{seq} is dropped twice");
        }
        step
    }

    fn switch(&mut self, is_disabled: bool) {
        self.is_disabled = is_disabled;
        let terms = match is_disabled {
            true => Terms::default(),
            false => terms(),
        };
        let generation = self.delivery.generation + 1;
        self.delivery.retarget(generation, terms);
        self.wake(|doing| matches!(doing, Doing::Waiting(_)));
    }
}

#[test]
fn what_waits_is_sent_once_and_soon_and_all_else_is_dropped() {
    let mut simulation = Simulation::new(10);
    simulation.arrivals[9] = Duration::from_secs(60);
    simulation.waiting = [2..4, 8..10].into_iter().collect();
    // The first body is in flight when forwarding is disabled, and fails later.
    let mut outcomes = vec![(failed(Cause::Disconnected), Duration::from_secs(5))].into_iter();
    let mut webhook = |_: &Request| {
        let later = (Outcome::Delivered, Duration::from_secs(1));
        outcomes.next().unwrap_or(later)
    };
    simulation.run_until(Duration::from_secs(2), &mut webhook);
    assert_eq!(simulation.delivery.in_flight.len(), 1);
    simulation.switch(true);
    simulation.run_until(Duration::from_secs(20), &mut webhook);
    assert_eq!(simulation.dropped, [0, 1, 4, 5, 6, 7].into());
    assert_eq!(simulation.delivery.buffered(), 3);
    simulation.switch(false);
    simulation.run_until(Duration::from_secs(30), &mut webhook);
    assert_eq!(
        simulation.delivered.keys().copied().collect::<Vec<_>>(),
        [2, 3, 8]
    );
    assert!(simulation.delivered[&2] < Duration::from_secs(23));
    assert_eq!(simulation.redelivered, 3, "they may have arrived before");
    simulation.run_until(Duration::from_secs(90), &mut webhook);
    assert_eq!(simulation.delivered.len(), 4);
    simulation.assert_nothing_forgotten();
}

#[test]
fn a_sender_takes_from_the_queue_until_it_has_ended_and_nothing_flies() {
    for (has_ended, is_collecting, flies, expected) in [
        (false, false, false, "collect"),
        (false, false, true, "collect"),
        (false, true, false, "wait"),
        (true, false, true, "wait"),
        (true, true, true, "wait"),
        (true, false, false, "end"),
    ] {
        let mut delivery = Simulation::new(0).delivery;
        (delivery.has_ended, delivery.is_collecting) = (has_ended, is_collecting);
        if flies {
            delivery.in_flight.push(Airborne {
                launch: Launch::default(),
                seqs: Vec::new(),
            });
        }
        let (_, step) = delivery.disabled(&Ranges::default(), Instant::now());
        let step = match step {
            Step::Collect { until: None, .. } => "collect",
            Step::Wait(None) => "wait",
            Step::Finished => "end",
            step => panic!("{step:?}"),
        };
        assert_eq!(step, expected, "{has_ended} {is_collecting} {flies}");
    }
}

proptest! {
    #[test]
    fn no_event_that_waits_is_lost_or_comes_twice(
        events in vec((0..400_u64, any::<bool>(), any::<bool>()), 1..80),
        connections in 1..4_usize,
        (disabled, enabled) in (1..30_u64, 30..60_u64),
        took in 1..3000_u64,
        answers in vec(any::<bool>(), 1..9),
    ) {
        let mut simulation = Simulation::with(Settings { connections, ..settings() }, events.len());
        let mut at = 0;
        for (seq, (pause, waits, _)) in events.iter().enumerate() {
            at += pause * 5;
            simulation.arrivals[seq] = Duration::from_millis(at);
            if *waits {
                simulation.waiting.add(seq as Seq..seq as Seq + 1);
            }
        }
        // Something comes after forwarding is enabled, so the sources have not ended before that.
        simulation.arrivals.push(Duration::from_secs(300));
        let mut answers = answers.into_iter().cycle();
        let mut webhook = |_: &Request| {
            let outcome = if answers.next() == Some(true) { Outcome::Delivered } else { failed(Cause::Unreachable) };
            (outcome, Duration::from_millis(took))
        };
        simulation.run_until(Duration::from_secs(disabled), &mut webhook);
        let sent = simulation.requests.len();
        simulation.switch(true);
        simulation.run_until(Duration::from_secs(enabled), &mut webhook);
        prop_assert_eq!(simulation.requests.len(), sent);
        simulation.assert_nothing_forgotten();
        simulation.switch(false);
        simulation.run_until(Duration::from_secs(900), |_: &Request| (Outcome::Delivered, QUICK));
        simulation.assert_nothing_forgotten();
        prop_assert_eq!(simulation.delivery.buffered(), 0);
        prop_assert!(simulation.dropped.iter().all(|seq| !simulation.delivered.contains_key(seq)));
        let lost: Vec<_> = simulation.dropped.iter().copied().collect();
        prop_assert!(simulation.delivered_all_but(&lost));
    }
}
