//! Single events that fail while others pass: tried separately, and rejected when it can't be chance.

use std::time::{Duration, Instant};

use super::attempt::{Attempt, Flight, PER_GAP, Suspect, draw};
use super::batch::Batch;
use super::machine::Delivery;
use super::outcome::DeliveryError;

/// So many suspects are tried as soon as others pass: if there were more, their failures would look like chance.
const PLACES: usize = 3;
/// At so many suspects a request that passes has a look, whether their failures can still be chance.
const LOOKS: usize = 32;
/// A limit on requests, one a second at least, takes those that are as far apart.
const APART: Duration = Duration::from_secs(1);

impl Delivery {
    /// A suspect that may be tried: when its time has come, or as a last chance before the end.
    pub(super) fn take_due_suspect(&mut self, now: Instant) -> Option<Flight> {
        let is_empty = self.fresh.is_empty() && self.retry.is_empty();
        let is_last = self.stopping && self.has_ended && is_empty;
        let is_turn = self.is_suspects_turn();
        let is_due = |(place, suspect): (usize, &Suspect)| match is_last {
            true => !suspect.had_last_chance,
            false => {
                let is_awaited = place < PLACES
                    && suspect.is_awaited(self.passes, now)
                    && self.favours_suspects();
                !self.stopping && is_turn && (suspect.due <= now || is_awaited)
            }
        };
        let place = self.suspects.iter().enumerate().position(is_due)?;
        let mut suspect = self.suspects.remove(place)?;
        suspect.had_last_chance |= is_last;
        Some(suspect.into())
    }

    /// When the next suspect may be tried; none at the end if all had their last chance.
    pub(super) fn next_suspect(&self) -> Option<Instant> {
        let is_turn = !self.stopping && self.is_suspects_turn();
        let suspects = self.suspects.iter().filter(|_| is_turn);
        suspects.map(|suspect| suspect.due).min()
    }

    /// Two may fail between others that are waiting: more of them would look like an outage.
    fn is_suspects_turn(&self) -> bool {
        match self.fresh.is_empty() && self.retry.is_empty() {
            true => self.suspects_in_flight() == 0,
            false => self.may_be_suspects_turn() && self.favours_suspects(),
        }
    }

    fn may_be_suspects_turn(&self) -> bool {
        self.suspects_failed as usize + self.suspects_in_flight() < PER_GAP as usize
    }

    fn suspects_in_flight(&self) -> usize {
        let in_flight = self.in_flight.iter();
        in_flight.filter(|flight| flight.launch.is_suspect).count()
    }

    /// Whether a suspect or another event is next, if both may be. Of a balancer's servers every second may be broken,
    /// or all but one: only if chance decides, suspects that are not to blame fail no more often than others do. While
    /// one event may be to blame for all failures, suspects are first: that takes fewer requests.
    fn favours_suspects(&self) -> bool {
        self.chance.is_clear() || draw(self.launches, 2) == 0
    }

    /// Whether what is sent now and holds no suspect shows how often a suspect would fail that is not to blame.
    pub(super) fn is_controls_turn(&self) -> bool {
        let is_drawn = self.chance.is_clear() || !self.favours_suspects();
        !self.is_down() && self.may_be_suspects_turn() && is_drawn
    }

    /// One more failure of an attempt, unless that only says that it came too soon after another request that passed.
    pub(super) fn note_failure(
        &self,
        attempt: &mut Attempt,
        error: &DeliveryError,
        took: Duration,
        now: Instant,
    ) {
        let is_apart = self.passed_at.is_none_or(|at| now >= at + APART + took);
        if is_apart || !error.is_overload {
            attempt.failed(self.passes);
        }
    }

    /// Sets a single event aside from the others.
    pub(super) fn set_aside(
        &mut self,
        suspect: Option<Suspect>,
        attempt: Attempt,
        message: &str,
        now: Instant,
    ) {
        let place = match suspect.as_ref().is_some_and(Suspect::is_eager) {
            true => self.suspects.len().min(PLACES - 1),
            false => self.suspects.len(),
        };
        let mut suspect = suspect.unwrap_or_else(|| Suspect {
            attempt: Attempt::default(),
            backoff: self.backoff.anew(),
            due: now,
            tries: 0,
            failed_twice: false,
            message: String::new(),
            had_last_chance: false,
        });
        suspect.attempt = attempt.alone();
        suspect.tries += 1;
        suspect.failed_twice |= self.failed_in_a_row > 1 || suspect.attempt.is_apart;
        suspect.due = now + suspect.backoff.next_delay();
        if let Some(due) = &mut suspect.attempt.due {
            *due = suspect.due.max(*due);
            suspect.due = *due;
        }
        suspect.message = message.to_owned();
        self.suspects.insert(place, suspect);
    }

    /// Lets all of them be sent together with others again.
    pub(super) fn release_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.suspects).into_iter();
        self.retry.extend(suspects.map(|suspect| suspect.attempt));
    }

    /// Takes out a suspect whose failures can't be chance.
    pub(super) fn take_convict(&mut self) -> Option<(Batch, String)> {
        let least = self.settings.reject_after;
        // Of thousands, each pass has a look at some.
        let turns = self.suspects.len() / LOOKS + 1;
        let is_turn =
            |place: usize| place < PLACES || (place + self.passes as usize).is_multiple_of(turns);
        let mut suspects = self.suspects.iter().enumerate();
        let place = suspects.position(|(place, suspect)| {
            let failures = suspect.attempt.failures;
            least > 0
                && is_turn(place)
                && failures >= least
                && suspect.failed_twice
                && self.chance.rules_out(failures, suspect.seq())
        })?;
        let suspect = self.suspects.remove(place)?;
        Some((suspect.attempt.batch, suspect.message))
    }
}
