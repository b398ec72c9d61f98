//! Events that must be sent again, with what is known of their failures.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::ops::Range;
use std::time::Instant;

use super::batch::Batch;
use super::compression::Packed;
use super::doubt::Doubt;
use crate::buffer::acks::Seq;
use crate::sys::backoff::Backoff;
use crate::text::ranges::Ranges;

/// A suspect is retried this many times as soon as another request has passed; after that, only after its backoff.
const EAGER: u32 = 24;
/// Others than a suspect that pass between two of its tries: so many that a balancer can't be to blame for both failures.
const MANY: u64 = 16;
/// Of an event's failures between two requests that pass, only this many count: more may be an outage.
pub(super) const PER_GAP: u32 = 2;

/// Events that were tried.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) batch: Batch,
    /// How many failures in a row it was part of, [`PER_GAP`] at most between two requests that pass.
    pub(super) failures: u32,
    /// Between how many different pairs of passing requests they were.
    gaps: u32,
    /// How many failures there were since the last request passed, and how many requests had passed then.
    latest: (u32, u64),
    /// Halves of the same body have the same number.
    pub(super) family: u64,
    /// What may have arrived before. It may name others, too, that were part of it.
    pub(super) doubt: Option<Doubt>,
    /// The endpoints at which it has failed, maybe because of itself.
    pub(super) blamed: Vec<usize>,
    /// It took long to fail, or was asked to wait: until then others go first.
    pub(super) due: Option<Instant>,
    /// It failed again after many others had passed.
    pub(super) is_apart: bool,
}

/// A single event that fails while others pass.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) attempt: Attempt,
    pub(super) backoff: Backoff,
    /// It is not tried before this time.
    pub(super) due: Instant,
    /// How often it was tried by itself.
    pub(super) tries: u32,
    /// It failed right after another failure, with no passing request in between, or with many.
    pub(super) failed_twice: bool,
    /// The reason for its last failure.
    pub(super) message: String,
    /// It has been tried since the agent began to stop.
    pub(super) had_last_chance: bool,
}

/// A body in flight.
#[derive(Debug)]
pub struct Flight {
    pub(super) attempt: Attempt,
    /// Which of its events the spool has.
    pub(super) spooled: Ranges,
    pub(super) suspect: Option<Suspect>,
    pub(super) launch: Launch,
}

/// When and by whom a body was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Launch {
    /// Counts from 1.
    pub(super) number: u64,
    pub(super) sender: usize,
    /// That of the target.
    pub(super) generation: u64,
    /// It is sent to see whether the webhook is still down.
    pub(super) is_probe: bool,
    /// Where it goes.
    pub(super) endpoint: usize,
    /// It holds a suspect.
    pub(super) is_suspect: bool,
    /// It might have held a suspect: what becomes of it is what would become of one that is not to blame.
    pub(super) is_control: bool,
    /// It is sent to see whether this endpoint is still down, while others work.
    pub(super) is_trial: bool,
    /// It is larger than what has passed, so it may be too large.
    pub(super) is_larger: bool,
    /// How large it may be if it has several events.
    pub(super) max_bytes: usize,
    /// Its size, if it was compressed.
    pub(super) packed: Option<Packed>,
    /// The channel that it is posted over, if the webhook is asked what was indexed.
    pub(super) channel: Option<u64>,
}

/// What [`Delivery`](super::machine::Delivery) knows of a body that a sender has.
#[derive(Debug)]
pub(super) struct Airborne {
    pub(super) launch: Launch,
    pub(super) seqs: Vec<Range<Seq>>,
}

impl Flight {
    /// The events to be posted.
    pub fn batch(&self) -> &Batch {
        &self.attempt.batch
    }

    /// The channel to post it over, for indexer acknowledgement.
    pub fn channel(&self) -> Option<u64> {
        self.launch.channel
    }

    /// How large the compressed body may be. A larger one is not sent, but handed to
    /// [`Delivery::oversized`](super::machine::Delivery::oversized).
    pub fn max_bytes(&self) -> usize {
        match self.attempt.batch.extent().events {
            ..=1 => usize::MAX,
            _ => self.launch.max_bytes,
        }
    }

    /// The body was compressed.
    pub fn packed(&mut self, packed: Option<Packed>) {
        self.launch.packed = packed;
    }

    /// The spool has these of its events: they need not stay in memory until they are acknowledged.
    pub fn spooled(&mut self, seqs: Ranges) {
        self.spooled = seqs;
    }

    /// There is another target by now: what this one says of the events does not count for that.
    pub fn outdated(&mut self) {
        self.launch.generation = 0;
    }

    /// The endpoint to post it to, by its place.
    pub fn endpoint(&self) -> usize {
        self.launch.endpoint
    }
}

impl Attempt {
    /// The same history, for these of its events.
    pub(super) fn of(&self, batch: Batch) -> Attempt {
        Attempt {
            doubt: self.doubt_about(&batch),
            batch,
            failures: self.failures,
            gaps: self.gaps,
            latest: self.latest,
            family: self.family,
            blamed: self.blamed.clone(),
            due: self.due,
            is_apart: self.is_apart,
        }
    }

    /// Which of its events that are in this batch may have arrived before.
    pub(super) fn doubt_about(&self, batch: &Batch) -> Option<Doubt> {
        self.doubt.as_ref()?.about(batch.seqs())
    }

    /// Adds other events. Of its history and of theirs, only that stays which of them may have arrived.
    pub(super) fn join(&mut self, other: Attempt) {
        let doubt = other.doubt_about(&other.batch);
        match (&mut self.doubt, doubt) {
            (Some(all), Some(doubt)) => all.join(&doubt),
            (none, doubt) => *none = none.take().or(doubt),
        }
        self.batch.merge(other.batch);
    }

    /// The same events; all that is known of them is whether they may have arrived.
    pub(super) fn without_history(self) -> Attempt {
        Attempt {
            batch: self.batch,
            doubt: self.doubt,
            ..Attempt::default()
        }
    }

    /// The same history, for one half.
    pub(super) fn half(&self, batch: Batch, family: u64) -> Attempt {
        Attempt {
            family,
            ..self.of(batch)
        }
    }

    /// Whether nothing is known of it.
    pub(super) fn is_new(&self) -> bool {
        self.failures == 0 && self.family == 0 && self.doubt.is_none() && self.blamed.is_empty()
    }

    /// Whether it need not wait for others.
    pub(super) fn is_rested(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// One more failure, after this many requests have passed.
    pub(super) fn failed(&mut self, passes: u64) {
        self.is_apart |= self.failures > 0 && self.latest.1 + MANY <= passes;
        if self.failures == 0 || self.latest.1 != passes {
            self.latest = (0, passes);
            self.gaps += 1;
        }
        if self.latest.0 < PER_GAP {
            self.latest.0 += 1;
            self.failures += 1;
        }
    }

    /// The same in memory of its own, since it may stay for long.
    pub(super) fn alone(self) -> Attempt {
        Attempt {
            batch: self.batch.alone(),
            ..self
        }
    }

    /// Whether others passed between its failures.
    pub(super) fn is_suspicious(&self) -> bool {
        self.gaps > 1
    }
}

impl Suspect {
    /// The event's number.
    pub(super) fn seq(&self) -> Seq {
        let mut seqs = self.attempt.batch.seqs();
        seqs.next().map_or(Seq::MAX, |seqs| seqs.start)
    }

    /// Whether it need not wait for its backoff.
    pub(super) fn is_eager(&self) -> bool {
        self.tries < EAGER
    }

    /// Whether its next try tells more, since another request has passed after its last one.
    ///
    /// Once, and now and then as if by chance, it is tried twice in between: behind a balancer that takes turns between
    /// a good and a broken server, an event that is always tried right after a pass would always meet the broken one.
    pub(super) fn is_awaited(&self, passes: u64, now: Instant) -> bool {
        let is_twice = draw((self.seq(), self.tries), 2) == 0;
        let (times, at) = self.attempt.latest;
        let is_more = at != passes || (times == 1 && (is_twice || !self.failed_twice));
        is_more && self.is_eager() && self.attempt.is_rested(now)
    }
}

/// One of this many numbers from 0, as if by chance, and always the same for the same.
pub(super) fn draw(of: impl Hash, from: u64) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(of) % from
}

impl From<Batch> for Attempt {
    fn from(batch: Batch) -> Self {
        Attempt {
            batch,
            ..Attempt::default()
        }
    }
}

impl From<Attempt> for Flight {
    fn from(attempt: Attempt) -> Self {
        Flight {
            attempt,
            spooled: Ranges::default(),
            suspect: None,
            launch: Launch::default(),
        }
    }
}

impl From<Suspect> for Flight {
    fn from(mut suspect: Suspect) -> Self {
        Flight {
            attempt: std::mem::take(&mut suspect.attempt),
            spooled: Ranges::default(),
            suspect: Some(suspect),
            launch: Launch::default(),
        }
    }
}
