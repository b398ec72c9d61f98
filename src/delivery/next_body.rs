//! What the next body holds: as much as it has room for, or one event for a webhook that is down.

use std::time::Instant;

use super::attempt::{Attempt, Flight, Launch, PER_GAP};
use super::batch::Batch;
use super::compression::Packed;
use super::machine::Delivery;
use super::outcome::Overhead;
use crate::buffer::chunk::{CHUNK_BYTES, Extent};

/// One in this many successive probes is not the oldest event.
const ROTATION: usize = 3;
/// With fewer buffered events than this, newer ones are looked for before a webhook that is down is probed again.
const PROBES: usize = 8;

impl Delivery {
    /// Events and bytes of the next body at most, before compression. A body larger than all that have passed is tried
    /// by one sender at a time.
    pub(super) fn limit(&self) -> Extent {
        let bytes = match self.in_flight.iter().any(|flight| flight.launch.is_larger) {
            true => self.size.proven(),
            false => self.size.limit(),
        };
        self.limit_with(bytes)
    }

    /// The same for a body that may have this many bytes when it is sent.
    pub(super) fn limit_with(&self, bytes: usize) -> Extent {
        Extent {
            events: self.settings.body.events.min(self.terms.max_events),
            bytes: self.compression.plain(bytes),
        }
    }

    /// The size of a body as it was sent, or the most that it can be.
    pub(super) fn sent_size(&self, launch: Launch, batch: &Batch) -> usize {
        let packed = launch.packed.map(|packed| packed.bytes);
        packed.unwrap_or_else(|| self.size_of(batch).bytes)
    }

    /// There was nowhere to send this body.
    pub fn unsent(&mut self, flight: Box<Flight>) {
        self.landed(flight.launch);
        self.retry.push_front(flight.attempt);
        self.wakes = true;
    }

    /// This body turned out too large when it was compressed, and was not sent: the next ones are smaller.
    pub fn oversized(&mut self, flight: Box<Flight>, packed: Packed, now: Instant) {
        let Flight {
            mut attempt,
            launch,
            ..
        } = *flight;
        self.landed(launch);
        match launch.generation == self.generation {
            true => self.compression.was_wrong(packed),
            // The endpoints that it failed at are other ones by now.
            false => attempt = attempt.without_history(),
        }
        match attempt.is_new() {
            true => self.refresh(attempt.batch, now),
            false => self.retry.push_front(attempt),
        }
        self.wakes = true;
    }

    /// The size of these events in a body, before compression.
    pub(super) fn size_of(&self, batch: &Batch) -> Extent {
        let Overhead {
            per_event,
            per_body,
        } = self.terms.overhead;
        let extent = batch.extent();
        Extent {
            events: extent.events,
            bytes: extent.bytes + extent.events * per_event + per_body,
        }
    }

    /// Whether the fresh events fill a body, or must not wait for more.
    pub(super) fn is_ready(&self, limit: Extent, now: Instant) -> bool {
        let is_full = self.ahead.events().is_some() || self.is_full(limit);
        let is_old = self
            .fresh_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.settings.age);
        !self.fresh.is_empty() && (is_full || is_old || self.has_ended)
    }

    /// Whether there are enough fresh events for a body.
    pub(super) fn is_full(&self, limit: Extent) -> bool {
        let room = limit.minus(self.size_of(&self.fresh));
        room.events == 0 || room.bytes == 0
    }

    /// The next of the attempts, or as much of it as a body has room for. One that rests only if nothing else is ready.
    pub(super) fn take_retry(&mut self, limit: Extent, now: Instant) -> Option<Flight> {
        let place = self.retry.iter().position(|attempt| attempt.is_rested(now));
        let place = place.or_else(|| (!self.is_ready(limit, now)).then_some(0))?;
        let mut attempt = self.retry.remove(place)?;
        let first = attempt.batch.take(limit, self.terms.overhead);
        let rest = std::mem::replace(&mut attempt.batch, first);
        if !rest.is_empty() {
            self.retry.insert(place, attempt.of(rest));
        }
        Some(attempt.into())
    }

    /// The body that was made ahead, or as many fresh events as it has room for.
    pub(super) fn take_next(&mut self, limit: Extent, now: Instant) -> Batch {
        let made = self.ahead.events().map(|events| Extent {
            events,
            ..Extent::MAX
        });
        let batch = self.take_fresh(made.unwrap_or(limit));
        // What is left came last, and waits for more events.
        self.fresh_since = self.fresh_since.map(|_| now);
        batch
    }

    pub(super) fn take_fresh(&mut self, limit: Extent) -> Batch {
        let batch = self.fresh.take(limit, self.terms.overhead);
        if self.fresh.is_empty() {
            self.fresh_since = None;
        }
        batch
    }

    /// While a body is posted: the next one, and how large it may be. None if there is not enough for a full one, so
    /// that bodies don't get smaller because of this, or if the next one is likely to be another one in the end.
    pub fn ahead(&mut self) -> Option<(Batch, usize)> {
        // It is not sent at the same time as the one that is posted now, so it may be larger than what has passed, too.
        let limit = self.limit_with(self.size.limit());
        if !self.makes_ahead() || !self.is_full(limit) {
            return None;
        }
        let batch = self.fresh.first(limit, self.terms.overhead);
        let Extent { events, bytes } = batch.extent();
        // Less is not worth it.
        (bytes >= CHUNK_BYTES).then(|| {
            self.ahead.begin(events);
            (batch, self.size.learned_limit())
        })
    }

    /// Whether to look at the queue before this body is sent: there may be enough for another one.
    pub(super) fn looks_ahead(&self, limit: Extent) -> bool {
        let both = Extent {
            events: limit.events.saturating_mul(2),
            bytes: limit.bytes.saturating_mul(2),
        };
        let is_possible = self.makes_ahead() && !self.is_collecting && !self.has_ended;
        is_possible
            && self.ahead.may_find_more()
            && self.is_full(limit)
            && self.size_of(&self.fresh).fits(both)
    }

    fn makes_ahead(&self) -> bool {
        let is_steady = self.is_calm() && self.retry.is_empty() && !self.size.is_growing();
        self.settings.connections == 1 && self.compression.is_known() && is_steady
    }

    /// Whether newer events should share the next request, or its outcome.
    pub(super) fn has_room(&self, limit: Extent) -> bool {
        let retries = self
            .retry
            .iter()
            .map(|attempt| attempt.batch.extent().events);
        let fresh = self.fresh.extent().events;
        let is_few = match self.is_down() {
            true => self.others_pass() || fresh + retries.sum::<usize>() < PROBES,
            false if self.wants_other => true,
            false => {
                let all_rest = self.retry.iter().all(|attempt| attempt.due.is_some());
                all_rest && !self.is_full(limit)
            }
        };
        is_few && !self.has_ended
    }

    /// One event for a webhook that is down: mostly the oldest, to keep the order, and now and then another one, since
    /// the oldest may be what makes it fail.
    pub(super) fn take_probe(&mut self) -> Option<Flight> {
        if !self.fresh.is_empty() {
            let batch = self.take_fresh(Extent::MAX);
            self.retry.push_back(Attempt::from(batch));
            self.join_retries();
        }
        if let Some(flight) = self.take_same_probe() {
            return Some(flight);
        }
        let waiting = self
            .retry
            .front()
            .map_or(0, |attempt| attempt.batch.extent().events);
        self.probes += 1;
        let other = spread(self.probes / ROTATION, waiting + self.suspects.len())?;
        let place = match self.probes % ROTATION {
            _ if waiting == 0 => other,
            2 if self.is_content_suspicious => other,
            // What came after many that fail.
            1 if self.is_content_suspicious && self.others_pass() => waiting - 1,
            _ => 0,
        };
        if place >= waiting {
            let suspect = self.suspects.remove(place - waiting)?;
            return Some(suspect.into());
        }
        if place > 0
            && self.others_pass()
            && let Some(mut attempt) = self.retry.pop_front()
        {
            // If it passes, those behind it are the next: before it may be many that fail.
            let (before, behind) = std::mem::take(&mut attempt.batch).split(place);
            self.retry.push_front(attempt.of(before));
            self.retry.push_front(attempt.of(behind));
            return self.take_one_retry(0, 0);
        }
        self.take_one_retry(0, place)
    }

    /// The event of a probe that has failed at one of several endpoints, for the next one.
    fn take_same_probe(&mut self) -> Option<Flight> {
        let is_blamed = |attempt: &Attempt| !attempt.blamed.is_empty();
        let suspect = self.suspects.front();
        if suspect.is_some_and(|suspect| is_blamed(&suspect.attempt)) {
            return self.suspects.pop_front().map(Flight::from);
        }
        let is_same = self.retry.front().is_some_and(is_blamed);
        is_same.then(|| self.take_one_retry(0, 0)).flatten()
    }

    /// What is far behind those that failed in a row, as it may well pass: all the fewer events the more have failed.
    /// One event far from those that were rejected in a row: does the webhook reject that one, too? The oldest may be
    /// before the first of them, and the newest behind the last.
    pub(super) fn take_other(&mut self, most: Extent) -> Option<Flight> {
        self.others += 1;
        let limit = Extent {
            events: most.events,
            ..self.limit_with(self.size.learned_limit())
        };
        let failed = 1 + self.failed_in_a_row.saturating_sub(PER_GAP);
        let is_one = self.rejected_in_a_row > 0;
        let (number, overhead) = (self.others, self.terms.overhead);
        if self.rejects_all() && number.is_multiple_of(ROTATION) && !self.retry.is_empty() {
            return self.take_one_retry(0, 0);
        }
        let take = |batch: &mut Batch| {
            let events = batch.extent().events;
            let place = match is_one && number % ROTATION == 1 {
                true => events.checked_sub(1)?,
                false => spread(number, events)?,
            };
            let few = match is_one {
                true => 1,
                false => (events >> (2 * failed).min(30)).max(1),
            };
            let limit = Extent {
                events: limit.events.min(few),
                ..limit
            };
            Some(batch.take_at(place, limit, overhead))
        };
        if let Some(batch) = take(&mut self.fresh) {
            if self.fresh.is_empty() {
                self.fresh_since = None;
            }
            return Some(Attempt::from(batch).into());
        }
        let attempt = self.retry.back_mut()?;
        let batch = take(&mut attempt.batch)?;
        let other = attempt.of(batch);
        if attempt.batch.is_empty() {
            self.retry.pop_back();
        }
        Some(other.into())
    }

    /// One event of an attempt.
    fn take_one_retry(&mut self, index: usize, place: usize) -> Option<Flight> {
        let attempt = self.retry.get_mut(index)?;
        let one = attempt.batch.take_one(place);
        let one = attempt.of(one);
        if attempt.batch.is_empty() {
            self.retry.remove(index);
        }
        Some(one.into())
    }
}

/// One of this many places, another one for each number, and far from those for the numbers before: events that fail
/// are often neighbours.
fn spread(number: usize, places: usize) -> Option<usize> {
    // The bits of 1, 2, 3… reversed, as a fraction: a half, a quarter, three quarters, an eighth…
    let fraction = u64::from((number as u32).wrapping_add(1).reverse_bits());
    (places > 0).then(|| ((fraction * places as u64) >> u32::BITS) as usize)
}
