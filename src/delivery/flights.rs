//! The beginning and the end of each body's flight: one more part of [`Delivery`].

use std::time::Instant;

use super::attempt::{Airborne, Flight, Launch};
use super::machine::Delivery;
use super::route::Ways;
use super::step::Step;

impl Delivery {
    /// Has the sender post this body.
    pub(super) fn send(
        &mut self,
        mut flight: Flight,
        sender: usize,
        (usual, trial): Ways,
        now: Instant,
    ) -> Step {
        // What has failed before may itself be to blame.
        let is_new = flight.suspect.is_none() && flight.attempt.failures == 0;
        let trial = trial.filter(|_| is_new || usual.is_none());
        trial.into_iter().for_each(|place| self.route.tries(place));
        // Another sender should go to the queue.
        self.wakes |= !self.is_collecting;
        let is_control = flight.suspect.is_none() && self.is_controls_turn();
        self.launches += 1;
        self.ahead.forget();
        let endpoint = trial.or(usual).unwrap_or_default();
        let plain = self.size_of(&flight.attempt.batch).bytes;
        let size = self.compression.packed(plain);
        self.pace.book(plain, now);
        flight.launch = Launch {
            number: self.launches,
            sender,
            generation: self.generation,
            is_probe: self.is_down(),
            endpoint,
            is_suspect: flight.suspect.is_some(),
            is_control,
            is_trial: trial.is_some(),
            is_larger: size > self.size.proven(),
            max_bytes: self.size.learned_limit(),
            packed: None,
            channel: self.posted.channel(sender, endpoint, now),
        };
        self.in_flight.push(Airborne {
            launch: flight.launch,
            seqs: flight.attempt.batch.seqs().collect(),
        });
        Step::Send(Box::new(flight))
    }

    /// The body is back, whatever has become of it.
    pub(super) fn landed(&mut self, launch: Launch) {
        self.in_flight
            .retain(|flight| flight.launch.number != launch.number);
        if launch.generation == self.generation {
            self.route.landed(launch);
        }
    }
}
