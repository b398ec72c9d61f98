//! Bodies that Splunk has taken and not yet acknowledged as indexed (`--hec-ack`): one more place for events, beside
//! those of [`Delivery`](super::machine::Delivery). No clock, I/O or threads. Of events that the spool has, only the
//! numbers stay here.
//!
//! Splunk counts the bodies of a channel from 0, each indexer by itself, and says once of each that it is indexed. So
//! an acknowledgement can be trusted only while all bodies of a channel are known to be at one indexer. Whatever casts
//! doubt on that starts a new channel: what was posted over the old one is posted again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Launch};
use super::batch::Batch;
use super::doubt::Doubt;
use super::step::Query;
use crate::text::quantity::HumanDuration;
use crate::text::ranges::Ranges;

/// The time between two queries, at least and at most; after one that took longer, as long as that: if it hung, nothing
/// is final until the next one.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// The interval is the oldest body's age divided by this: indexing takes time.
const PART_OF_AGE: u32 = 4;
/// After a slow query the pause is this many times as long as it took.
const RESTS: u32 = 10;
const REPEATED: &str = "the indexer counts anew, or is another one";
pub(super) const CHANGED: &str = "the settings have changed";
pub(super) const MOVED: &str = "the balancer's cookie changed, so that another indexer answers";

/// The bodies, by sender and endpoint.
#[derive(Debug, Default)]
pub(super) struct Posted {
    /// How long a body may take to be indexed; none if that is not asked.
    timeout: Option<Duration>,
    channels: BTreeMap<(usize, usize), Channel>,
    /// Endpoints that take bodies and acknowledge none: only an acknowledgement shows that they work again.
    distrusted: BTreeSet<usize>,
    /// How many channels there were.
    count: u64,
    /// Events in all bodies.
    events: usize,
    /// The agent stops, and waits for answers.
    hurries: bool,
}

/// A body that was posted.
#[derive(Debug)]
pub(super) struct Body {
    /// Its events that are in memory.
    pub(super) attempt: Attempt,
    /// Those that are only in the spool.
    pub(super) spooled: Ranges,
    /// How many bytes these have, once they are released.
    bytes: usize,
    at: Instant,
}

#[derive(Debug)]
struct Channel {
    number: u64,
    /// The id of the last body.
    last: Option<u64>,
    bodies: BTreeMap<u64, Body>,
    /// No query before this time.
    due: Instant,
    /// When one of its bodies was last acknowledged.
    indexed: Option<Instant>,
    /// How many bodies may wait: fewer after a doubt, since it may come again.
    max_bodies: usize,
}

impl Posted {
    /// Bodies go to another target from now on. Returns what must be posted again.
    pub(super) fn retarget(&mut self, timeout: Option<Duration>) -> Vec<Body> {
        self.timeout = timeout;
        self.distrusted.clear();
        let channels = std::mem::take(&mut self.channels).into_values();
        let bodies = channels.flat_map(|channel| channel.bodies.into_values());
        self.doubted(bodies.collect(), CHANGED)
    }

    /// The agent stops: what is pending is asked about now, and then every second, or after as long as an
    /// answer takes: others have to be posted, too.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.hurries = true;
        self.channels.values_mut().for_each(|it| it.due = now);
    }

    /// The channel for the sender's next body to an endpoint.
    pub(super) fn channel(&mut self, sender: usize, endpoint: usize, now: Instant) -> Option<u64> {
        self.timeout?;
        let count = &mut self.count;
        let channel = self.channels.entry((sender, endpoint)).or_insert_with(|| {
            *count += 1;
            Channel {
                number: *count,
                last: None,
                bodies: BTreeMap::new(),
                due: now,
                indexed: None,
                max_bodies: usize::MAX,
            }
        });
        Some(channel.number)
    }

    /// A body was taken under this id. Takes what the spool has out of it, and returns what must be posted again: with
    /// this body, if anything.
    pub(super) fn accepted(
        &mut self,
        launch: Launch,
        id: u64,
        mut body: Body,
    ) -> (Batch, Vec<Body>) {
        let place = (launch.sender, launch.endpoint);
        let channel = self.channels.get_mut(&place);
        let Some(channel) = channel.filter(|channel| Some(channel.number) == launch.channel) else {
            body.spooled = Ranges::default();
            body.doubt(MOVED);
            return (Batch::default(), vec![body]);
        };
        if channel.last.is_some_and(|last| id <= last) {
            let mut again = self.lose(launch.sender, launch.endpoint, REPEATED);
            let released = body.release();
            body.doubt(REPEATED);
            again.push(body);
            return (released, again);
        }
        if channel.bodies.is_empty() {
            channel.due = body.at + INTERVAL.0.min(self.timeout.unwrap_or(Duration::MAX));
        }
        let released = body.release();
        self.events += body.events();
        channel.bodies.insert(id, body);
        channel.last = Some(id);
        (released, Vec::new())
    }

    /// Nothing more will be known of what was posted over this channel. Returns what must be posted again.
    pub(super) fn lose(&mut self, sender: usize, endpoint: usize, why: &str) -> Vec<Body> {
        let Some(channel) = self.channels.get_mut(&(sender, endpoint)) else {
            return Vec::new();
        };
        self.count += 1;
        channel.number = self.count;
        channel.last = None;
        let bodies = std::mem::take(&mut channel.bodies);
        if !bodies.is_empty() {
            channel.max_bodies = bodies.len().div_ceil(2);
        }
        self.doubted(bodies.into_values().collect(), why)
    }

    /// These are to be posted again, though they may be indexed.
    fn doubted(&mut self, mut bodies: Vec<Body>, why: &str) -> Vec<Body> {
        for body in &mut bodies {
            body.doubt(why);
            self.events -= body.events();
        }
        bodies
    }

    /// Takes out what was not acknowledged in time, right after it was asked about. Returns why as well if the endpoint
    /// has acknowledged nothing else in that time.
    pub(super) fn expire(&mut self, query: &Query, now: Instant) -> (Vec<Body>, Option<String>) {
        let place = (query.sender, query.endpoint);
        let (Some(timeout), Some(channel)) = (self.timeout, self.channels.get_mut(&place)) else {
            return (Vec::new(), None);
        };
        let mut old = Vec::new();
        // The first is the oldest.
        while let Some(first) = channel.bodies.first_entry()
            && now.saturating_duration_since(first.get().at) >= timeout
        {
            old.push(first.remove());
        }
        let indexed = self.at(query.endpoint).filter_map(|it| it.indexed).max();
        let is_silent = old.iter().any(|body| indexed.is_none_or(|at| at < body.at));
        let why = format!("not indexed within {}", HumanDuration(timeout));
        (self.doubted(old, &why), is_silent.then_some(why))
    }

    /// From now on only an acknowledgement shows that this endpoint works.
    pub(super) fn distrust(&mut self, endpoint: usize) {
        self.distrusted.insert(endpoint);
    }

    /// It has acknowledged a body. Returns whether that was needed.
    pub(super) fn trust(&mut self, endpoint: usize) -> bool {
        self.distrusted.remove(&endpoint)
    }

    pub(super) fn distrusts(&self, endpoint: usize) -> bool {
        self.distrusted.contains(&endpoint)
    }

    /// Whether all of so many endpoints are distrusted.
    pub(super) fn distrusts_all(&self, endpoints: usize) -> bool {
        self.distrusted.len() >= endpoints.max(1)
    }

    /// What the sender should ask now.
    pub(super) fn due(&self, sender: usize, now: Instant) -> Option<Query> {
        let mut waiting = self.of(sender);
        let (place, channel) = waiting.find(|(_, channel)| channel.due <= now)?;
        Some(Query {
            sender,
            endpoint: place.1,
            channel: channel.number,
            ids: channel.bodies.keys().copied().collect(),
        })
    }

    /// When the sender will have something to ask.
    pub(super) fn next_due(&self, sender: usize) -> Option<Instant> {
        self.of(sender).map(|(_, channel)| channel.due).min()
    }

    /// Whether the sender may post one more body to this endpoint: if that is distrusted, only while none waits there.
    pub(super) fn may_post(&self, sender: usize, endpoint: usize) -> bool {
        if self.distrusts(endpoint) {
            return self.at(endpoint).all(|channel| channel.bodies.is_empty());
        }
        let channel = self.channels.get(&(sender, endpoint));
        channel.is_none_or(|channel| channel.bodies.len() < channel.max_bodies)
    }

    /// The channels of an endpoint.
    fn at(&self, endpoint: usize) -> impl Iterator<Item = &Channel> {
        let channels = self.channels.iter();
        channels.filter_map(move |(place, channel)| (place.1 == endpoint).then_some(channel))
    }

    /// The sender's channels with posted bodies that wait.
    fn of(&self, sender: usize) -> impl Iterator<Item = (&(usize, usize), &Channel)> {
        let channels = self.channels.range((sender, 0)..(sender + 1, 0));
        channels.filter(|(_, channel)| !channel.bodies.is_empty())
    }

    /// A query has ended, after the time `took`, with what is indexed: events in memory, and in the spool. None if its
    /// channel has been given up.
    pub(super) fn answered(
        &mut self,
        query: &Query,
        ids: &[u64],
        took: Duration,
        now: Instant,
    ) -> Option<(Batch, Ranges, usize)> {
        let (mut indexed, mut spooled, mut bytes) = (Batch::default(), Ranges::default(), 0);
        let channel = self.channels.get_mut(&(query.sender, query.endpoint))?;
        if channel.number != query.channel {
            return None;
        }
        for body in ids.iter().filter_map(|id| channel.bodies.remove(id)) {
            self.events -= body.events();
            indexed.merge(body.attempt.batch);
            body.spooled.iter().for_each(|seqs| _ = spooled.add(seqs));
            bytes += body.bytes;
        }
        if !indexed.is_empty() || !spooled.is_empty() {
            channel.max_bodies = channel.max_bodies.saturating_mul(2);
            channel.indexed = Some(now);
        }
        let oldest = channel.bodies.values().map(|body| body.at).min();
        let age = oldest.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let longest = match self.hurries {
            true => INTERVAL.0,
            false => INTERVAL.1,
        };
        let pause = (age / PART_OF_AGE).max(took * RESTS);
        let pause = pause.clamp(INTERVAL.0, longest.max(took));
        // Each body is asked about before its time is over.
        channel.due = now + pause.min(self.timeout.unwrap_or(Duration::MAX));
        Some((indexed, spooled, bytes))
    }

    /// How many events wait.
    pub(super) fn events(&self) -> usize {
        self.events
    }
}

impl Body {
    /// A body that was posted at this time, and which of its events the spool has.
    pub(super) fn new(attempt: Attempt, spooled: Ranges, at: Instant) -> Self {
        Body {
            attempt: attempt.without_history(),
            spooled,
            bytes: 0,
            at,
        }
    }

    fn events(&self) -> usize {
        self.attempt.batch.extent().events + self.spooled.events()
    }

    /// It may be indexed.
    fn doubt(&mut self, why: &str) {
        let seqs = self.attempt.batch.seqs().chain(self.spooled.iter());
        self.attempt.doubt = Doubt::of(seqs, why);
    }

    /// Takes out what the spool has.
    fn release(&mut self) -> Batch {
        if self.spooled.is_empty() {
            return Batch::default();
        }
        let batch = &mut self.attempt.batch;
        // In memory of their own, so that the chunks around them are freed.
        let others = batch.take_without(&self.spooled).alone();
        let released = std::mem::replace(batch, others);
        self.bytes = released.extent().bytes;
        released
    }
}

#[cfg(test)]
mod tests;
