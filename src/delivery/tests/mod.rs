//! Delivery against simulated webhooks, in simulated time: each rule in a table, and all of them against a model.

mod answers;
mod changes;
mod disabled;
mod distrust;
mod doubts;
mod failures;
mod launches;
mod model;
mod next_body;
mod packed;
mod parts;
mod poison;
mod posted;
mod route;
mod rules;
mod senders;
mod several;
mod size;
mod splunk;
mod streams;
mod suspects;
mod turns;
mod vanish;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::attempt::Flight;
use super::batch::Batch;
use super::machine::Delivery;
use super::outcome::{Cause, DeliveryError, Outcome, Overhead};
use super::route::Policy;
use super::step::{Effect, Query, Settings, Step, Terms};
use crate::buffer::acks::Seq;
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::run::Run;
use crate::sys::backoff::Backoff;
use crate::text::ranges::Ranges;
use splunk::Splunk;

const MIN: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const QUICK: Duration = Duration::from_millis(5);

impl Delivery {
    /// How many events are not final.
    fn buffered(&self) -> usize {
        let waiting = self.waiting().map(|batch| batch.extent().events);
        let in_flight = self.in_flight.iter().flat_map(|flight| &flight.seqs);
        let in_flight = in_flight.map(|seqs| (seqs.end - seqs.start) as usize);
        waiting.chain(in_flight).sum::<usize>() + self.posted()
    }
}

/// The options' defaults.
fn settings() -> Settings {
    Settings {
        body: Extent {
            events: 10_000,
            bytes: 1 << 20,
        },
        raw_bytes: 8 << 20,
        age: Duration::from_secs(1),
        reject_after: 5,
        connections: 1,
        rate: 0,
    }
}

fn terms() -> Terms {
    Terms {
        max_events: usize::MAX,
        overhead: Overhead::default(),
        is_compressed: false,
        timeout: TIMEOUT,
        policy: Policy::default(),
        ack_timeout: None,
    }
}

/// What is to be sent.
fn sent(step: Step) -> Box<Flight> {
    match step {
        Step::Send(flight) => flight,
        step => panic!("{step:?}"),
    }
}

/// So many events, numbered from 0.
fn events(count: usize) -> Batch {
    Batch::of(&b"{}\n".repeat(count))
}

fn failed(cause: Cause) -> Outcome {
    Outcome::Failed(DeliveryError {
        may_have_arrived: matches!(cause, Cause::Timeout | Cause::Disconnected),
        ..DeliveryError::transient(cause, format!("{cause:?}"))
    })
}

fn rejected() -> Outcome {
    Outcome::Rejected(DeliveryError::transient(Cause::Answer, "HTTP 400"))
}

/// What the only endpoint takes is not acknowledged.
fn distrust(delivery: &mut Delivery, is_distrusted: bool) {
    if is_distrusted {
        delivery.posted.distrust(0);
    }
}

/// One request.
#[derive(Debug, Clone)]
struct Request {
    at: Duration,
    sender: usize,
    endpoint: usize,
    seqs: Vec<Seq>,
    bytes: usize,
}

/// What a sender does.
#[derive(Debug)]
enum Doing {
    Nothing,
    Collecting {
        wanted: Extent,
        until: Option<Instant>,
    },
    Waiting(Option<Instant>),
    Posting {
        flight: Box<Flight>,
        outcome: Outcome,
        took: Duration,
        has_moved: bool,
        until: Instant,
    },
    Asking {
        query: Query,
        answer: Result<Vec<u64>, DeliveryError>,
        took: Duration,
        has_moved: bool,
        until: Instant,
    },
    Ended,
}

/// Senders without threads: a queue whose events come at given times, and a clock.
struct Simulation {
    delivery: Delivery,
    senders: Vec<Doing>,
    start: Instant,
    now: Instant,
    /// When each event comes.
    arrivals: Vec<Duration>,
    /// Bytes of each event's line.
    size: usize,
    /// How many events were collected.
    taken: usize,
    /// When the agent is told to stop.
    stop_at: Option<Duration>,
    requests: Vec<Request>,
    /// The events that are final, and when they became so.
    delivered: BTreeMap<Seq, Duration>,
    rejected: BTreeMap<Seq, String>,
    /// Counts of effects.
    set_aside: usize,
    redelivered: usize,
    /// Events that may have arrived, as long as they are not sent again, and how many were.
    doubtful: BTreeSet<Seq>,
    expected_redelivered: usize,
    sizes_learned: Vec<usize>,
    queries_failed: usize,
    /// How long it waited after each failure.
    delays: Vec<Duration>,
    /// The spool has an event unless its number is divisible by this; with 1 there is no spool.
    unspooled: Seq,
    /// Events that the spool has lost.
    damaged: Ranges,
    /// The events that are in memory, and the most of them.
    in_memory: usize,
    most_in_memory: usize,
    /// Takes bodies instead of the given webhook, if events are to be indexed.
    splunk: Option<Splunk>,
    /// Endpoints that went down, or came back, and when.
    turns: Vec<(usize, bool, Duration)>,
    /// What bodies are compressed to, if they are compressed.
    packs: Option<fn(&Request) -> usize>,
    /// How many bodies were too large when they were compressed.
    oversized: usize,
    /// The body that is made ahead, how many there were, and how many of them were then sent.
    ahead: Option<Vec<Seq>>,
    ahead_made: usize,
    ahead_used: usize,
    /// No sender may post before this time: its last post gained nothing.
    rests: Vec<Instant>,
    /// While forwarding is disabled these events wait, and those were dropped.
    is_disabled: bool,
    waiting: Ranges,
    dropped: BTreeSet<Seq>,
}

impl Simulation {
    /// All events are there from the start.
    fn new(events: usize) -> Self {
        Self::with(settings(), events)
    }

    fn with(settings: Settings, events: usize) -> Self {
        Self::seeded(settings, events, 7)
    }

    fn seeded(settings: Settings, events: usize, seed: u64) -> Self {
        let start = Instant::now();
        let senders = (0..settings.connections).map(|_| Doing::Nothing).collect();
        let rests = vec![start; settings.connections];
        let mut delivery = Delivery::new(settings, Backoff::new(MIN, MAX, seed));
        delivery.retarget(1, terms());
        Simulation {
            delivery,
            senders,
            start,
            now: start,
            arrivals: vec![Duration::ZERO; events],
            size: 1000,
            taken: 0,
            stop_at: None,
            requests: Vec::new(),
            delivered: BTreeMap::new(),
            rejected: BTreeMap::new(),
            set_aside: 0,
            redelivered: 0,
            doubtful: BTreeSet::new(),
            expected_redelivered: 0,
            sizes_learned: Vec::new(),
            queries_failed: 0,
            delays: Vec::new(),
            unspooled: 1,
            damaged: Ranges::default(),
            in_memory: 0,
            most_in_memory: 0,
            splunk: None,
            turns: Vec::new(),
            packs: None,
            oversized: 0,
            ahead: None,
            ahead_made: 0,
            ahead_used: 0,
            rests,
            is_disabled: false,
            waiting: Ranges::default(),
            dropped: BTreeSet::new(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The next events that have come, as a chunk of the queue.
    fn run(&mut self, events: usize) -> Run {
        let first = self.taken;
        self.taken += events;
        self.comes(events);
        self.lines(first, events)
    }

    /// So many more events are in memory.
    fn comes(&mut self, events: usize) {
        self.in_memory += events;
        self.most_in_memory = self.most_in_memory.max(self.in_memory);
    }

    /// These events.
    fn lines(&self, first: usize, events: usize) -> Run {
        // A number, and blanks: cheap to write and to read.
        let mut bytes = vec![b' '; events * self.size];
        for (line, seq) in bytes.chunks_exact_mut(self.size).zip(first..) {
            let number = seq.to_string();
            line[..number.len()].copy_from_slice(number.as_bytes());
            line[self.size - 1] = b'\n';
        }
        Run::new(Chunk { bytes, events }, first as Seq)
    }

    /// What has come for the sender at the queue. Returns whether there was anything, or no need to wait for more.
    fn collect(&mut self, wanted: Extent, until: Option<Instant>) -> bool {
        let elapsed = self.elapsed();
        let come = self.arrivals.partition_point(|at| *at <= elapsed) - self.taken;
        if come > 0 {
            let run = self.run(come.min(wanted.events.max(1)).min(64));
            self.delivery.collected(Some(run), self.now);
        } else if self.taken == self.arrivals.len() {
            // All have come, and the sources have ended.
            self.delivery.ended();
        } else if until.is_some_and(|until| until <= self.now) {
            self.delivery.collected(None, self.now);
        } else {
            return false;
        }
        true
    }

    /// Runs until everything is final or `limit` is over. The webhook answers each request, after some time.
    fn run_until(
        &mut self,
        limit: Duration,
        mut webhook: impl FnMut(&Request) -> (Outcome, Duration),
    ) {
        let mut steps = 0;
        while self.elapsed() < limit && self.advance(&mut webhook) {
            steps += 1;
            assert!(steps < 3_000_000, "it goes round in circles");
        }
    }

    /// Lets each idle sender ask for its next step, or lets time pass until something happens. False if everything is
    /// final, or nothing more will happen.
    fn advance(&mut self, webhook: &mut impl FnMut(&Request) -> (Outcome, Duration)) -> bool {
        let stop = self.stop_at.map(|at| self.start + at);
        let is_stopped = stop.is_some_and(|at| at <= self.now);
        if is_stopped {
            self.stop_at = None;
            self.arrivals.truncate(self.taken);
            self.delivery.stop(self.now);
            self.wake(|doing| matches!(doing, Doing::Waiting(_)));
        }
        for sender in 0..self.senders.len() {
            let doing = std::mem::replace(&mut self.senders[sender], Doing::Nothing);
            self.senders[sender] = self.act(sender, doing, webhook);
            self.assert_only_trials_in_flight_are_tried();
            if self.delivery.wakes_others() {
                self.wake(|doing| matches!(doing, Doing::Waiting(_)));
            }
        }
        if self
            .senders
            .iter()
            .any(|doing| matches!(doing, Doing::Nothing))
        {
            return true;
        }
        let next_arrival = self.arrivals.get(self.taken).map(|at| self.start + *at);
        let times = self.senders.iter().filter_map(|doing| match doing {
            Doing::Posting { until, .. } | Doing::Asking { until, .. } => Some(*until),
            Doing::Waiting(until) => *until,
            Doing::Collecting { until, .. } => until.iter().copied().chain(next_arrival).min(),
            Doing::Nothing | Doing::Ended => None,
        });
        let stop = self.stop_at.map(|at| self.start + at);
        let Some(next) = times.chain(stop).min() else {
            let is_over = |doing: &Doing| matches!(doing, Doing::Ended);
            assert!(self.senders.iter().all(is_over), "all wait for ever");
            return false;
        };
        self.now = self.now.max(next);
        true
    }

    fn wake(&mut self, is_to_wake: impl Fn(&Doing) -> bool) {
        let senders = self.senders.iter_mut();
        senders
            .filter(|doing| is_to_wake(doing))
            .for_each(|doing| *doing = Doing::Nothing);
    }

    /// Everything that was collected is final or buffered.
    fn assert_nothing_forgotten(&self) {
        let is_final = self.delivered.len() + self.rejected.len() + self.dropped.len();
        assert_eq!(is_final + self.delivery.buffered(), self.taken);
    }

    /// How long the slowest of the delivered events took.
    fn latest(&self) -> Duration {
        let took = self.delivered.iter();
        let took = took.map(|(seq, at)| *at - self.arrivals[*seq as usize]);
        took.max().unwrap()
    }

    fn delivered_all_but(&self, lost: &[Seq]) -> bool {
        let expected: BTreeSet<Seq> = (0..self.arrivals.len() as Seq)
            .filter(|seq| !lost.contains(seq))
            .collect();
        self.delivered.keys().copied().collect::<BTreeSet<_>>() == expected
    }
}
