//! Delivery against simulated webhooks, in simulated time: every rule by a table, and all of them by a model.

mod model;
mod poison;
mod rules;
mod size;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::time::{Duration, Instant};

use super::machine::Delivery;
use super::outcome::{Cause, DeliveryError, Outcome, Overhead};
use super::step::{Effect, Settings, Step, Terms};
use crate::buffer::acks::Seq;
use crate::buffer::chunk::{Chunk, Extent};
use crate::buffer::run::Run;
use crate::sys::backoff::Backoff;

const MIN: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const QUICK: Duration = Duration::from_millis(5);

/// As the options are by default.
fn settings() -> Settings {
    Settings {
        body: Extent {
            events: 10_000,
            bytes: 1 << 20,
        },
        age: Duration::from_secs(1),
        reject_after: 5,
    }
}

fn terms() -> Terms {
    Terms {
        max_events: usize::MAX,
        overhead: Overhead::default(),
        timeout: TIMEOUT,
    }
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

/// One request.
#[derive(Debug, Clone)]
struct Request {
    at: Duration,
    seqs: Vec<Seq>,
    bytes: usize,
}

/// A sender without threads: a queue whose events come at their times, and a clock.
struct Simulation {
    delivery: Delivery,
    start: Instant,
    now: Instant,
    /// When each event comes.
    arrivals: Vec<Duration>,
    /// Bytes of each event's line.
    size: usize,
    /// Events that were collected.
    taken: usize,
    /// When the agent is told to stop.
    stop_at: Option<Duration>,
    requests: Vec<Request>,
    /// Those that are final, and when they became so.
    delivered: BTreeMap<Seq, Duration>,
    rejected: BTreeMap<Seq, String>,
    /// Counts of effects.
    set_aside: usize,
    redelivered: usize,
    sizes_learned: Vec<usize>,
    /// How long it waited after each failure.
    delays: Vec<Duration>,
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
        Simulation {
            delivery: Delivery::new(settings, terms(), Backoff::new(MIN, MAX, seed)),
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
            sizes_learned: Vec::new(),
            delays: Vec::new(),
        }
    }

    fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// The next events that have come, as a chunk of the queue.
    fn run(&mut self, events: usize) -> Run {
        let first = self.taken;
        self.taken += events;
        let line = |seq: usize| format!("{seq:<width$}\n", width = self.size - 1).into_bytes();
        let bytes = (first..self.taken).flat_map(line).collect();
        Run::new(Chunk { bytes, events }, first as Seq)
    }

    fn collect(&mut self, wanted: Extent, until: Option<Instant>) {
        let elapsed = self.elapsed();
        let come = self.arrivals.partition_point(|at| *at <= elapsed) - self.taken;
        if come > 0 {
            let run = self.run(come.min(wanted.events.max(1)).min(64));
            return self.delivery.collected(run, self.now);
        }
        let next = self.arrivals.get(self.taken).map(|at| self.start + *at);
        let stop = self
            .stop_at
            .map(|at| self.start + at)
            .filter(|at| *at > self.now);
        match [next, until, stop].into_iter().flatten().min() {
            // All have come, and the sources have ended.
            _ if next.is_none() => self.delivery.ended(),
            Some(at) => self.now = self.now.max(at),
            None => self.delivery.ended(),
        }
    }

    /// Runs until everything is final or `limit` is over. The webhook answers each request, after some time.
    fn run_until(
        &mut self,
        limit: Duration,
        mut webhook: impl FnMut(&Request) -> (Outcome, Duration),
    ) {
        let mut steps = 0;
        let mut stopped = false;
        while self.elapsed() < limit {
            steps += 1;
            assert!(steps < 3_000_000, "it goes round in circles");
            if !stopped && self.stop_at.is_some_and(|at| at <= self.elapsed()) {
                stopped = true;
                self.arrivals.truncate(self.taken);
                self.delivery.stop();
            }
            match self.delivery.next(self.now) {
                Step::Collect { wanted, until } => self.collect(wanted, until),
                Step::Wait(until) => {
                    let stop = self.stop_at.filter(|_| !stopped).map(|at| self.start + at);
                    self.now = stop.map_or(until, |stop| stop.min(until)).max(self.now);
                }
                Step::Finished => return,
                Step::Send => self.send(&mut webhook),
            }
        }
    }

    fn send(&mut self, webhook: &mut impl FnMut(&Request) -> (Outcome, Duration)) {
        let body = self.delivery.body().unwrap();
        let mut text = String::new();
        body.reader().read_to_string(&mut text).unwrap();
        let request = Request {
            at: self.now - self.start,
            seqs: text
                .lines()
                .map(|line| line.trim().parse().unwrap())
                .collect(),
            bytes: text.len(),
        };
        assert_eq!(body.extent().events, request.seqs.len());
        let (outcome, took) = webhook(&request);
        self.requests.push(request);
        self.now += took;
        for effect in self.delivery.on(outcome, took, self.now) {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect) {
        let elapsed = self.elapsed();
        match effect {
            Effect::Delivered(batch) => {
                for seq in batch.seqs().flatten() {
                    assert!(self.delivered.insert(seq, elapsed).is_none(), "{seq} twice");
                    assert!(!self.rejected.contains_key(&seq), "{seq} twice");
                }
            }
            Effect::Rejected(batch, message) => {
                for seq in batch.seqs().flatten() {
                    assert!(
                        self.rejected.insert(seq, message.clone()).is_none(),
                        "{seq} twice"
                    );
                    assert!(!self.delivered.contains_key(&seq), "{seq} twice");
                }
            }
            Effect::Failed(_, delay) => self.delays.push(delay),
            Effect::Divided => {}
            Effect::Redelivered(events, _) => self.redelivered += events,
            Effect::BodySizeLearned(bytes) => self.sizes_learned.push(bytes),
            Effect::SetAside(_) => self.set_aside += 1,
        }
    }

    /// All that was collected is final or buffered.
    fn assert_nothing_forgotten(&self) {
        let is_final = self.delivered.len() + self.rejected.len();
        assert_eq!(is_final + self.delivery.buffered().events, self.taken);
    }

    fn delivered_all_but(&self, lost: &[Seq]) -> bool {
        let expected: BTreeSet<Seq> = (0..self.arrivals.len() as Seq)
            .filter(|seq| !lost.contains(seq))
            .collect();
        self.delivered.keys().copied().collect::<BTreeSet<_>>() == expected
    }
}
