//! What several endpoints of one webhook have taken, refused and, with indexer acknowledgement, indexed.
//!
//! Unlike [`books`](crate::chaos::books) this expects no order: several senders have none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chaos::books::{Id, Meaning, POISON, SECRET};
use crate::support::{Agent, Answer, Ended, Request};

use super::draw::Draw;

/// What all endpoints share.
pub(super) struct Archive(Mutex<State>);

struct State {
    /// How long a body waits to be indexed; none if that is not asked for.
    indexing: Option<Duration>,
    endpoints: Vec<Endpoint>,
    content: Content,
}

/// What has arrived.
#[derive(Default)]
pub(super) struct Content {
    /// How often each event was taken, by source and number.
    pub(super) taken: [Vec<u16>; 3],
    /// The events that were refused, each alone.
    pub(super) refused: BTreeSet<Id>,
    /// How often a record of a trail was refused alone. It is sent again.
    pub(super) refused_records: u64,
    /// How often each record of a trail was taken, by its number.
    pub(super) records: BTreeMap<u64, usize>,
    /// `verify`, which reads everything as it comes.
    verify: Option<Agent>,
    /// Whether an event contained something that a rule masks.
    pub(super) had_secrets: bool,
}

struct Endpoint {
    answer: Answer,
    meaning: Meaning,
    is_picky: bool,
    /// When a body was first taken after all faults had ended.
    delivery: Option<Instant>,
    /// The next id of each channel.
    next: HashMap<String, u64>,
    /// What is not indexed yet.
    pending: HashMap<(String, u64), (Vec<u8>, Instant)>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Endpoint {
            answer: Answer::ok(),
            meaning: Meaning::Taken,
            is_picky: false,
            delivery: None,
            next: HashMap::new(),
            pending: HashMap::new(),
        }
    }
}

impl Archive {
    /// For an agent with these settings.
    pub(super) fn new(draw: &Draw) -> Self {
        let verify = || Agent::command().args(["verify", "-"]).spawn();
        Archive(Mutex::new(State {
            indexing: draw.indexing,
            endpoints: (0..draw.endpoints).map(|_| Endpoint::default()).collect(),
            content: Content {
                verify: draw.trail.then(verify),
                ..Content::default()
            },
        }))
    }

    /// From now on an endpoint gives this answer.
    pub(super) fn give(&self, endpoint: usize, answer: Answer, meaning: Meaning) {
        let endpoint = &mut self.state().endpoints[endpoint];
        (endpoint.answer, endpoint.meaning) = (answer, meaning);
    }

    /// From now on an endpoint refuses some events, and all that come with them.
    pub(super) fn pick(&self, endpoint: usize) {
        self.state().endpoints[endpoint].is_picky = true;
    }

    /// An indexer forgets what it has not indexed, and counts anew.
    pub(super) fn forget(&self, endpoint: usize) {
        let endpoint = &mut self.state().endpoints[endpoint];
        endpoint.next.clear();
        endpoint.pending.clear();
    }

    /// All endpoints work.
    pub(super) fn calm(&self) {
        for endpoint in &mut self.state().endpoints {
            (endpoint.answer, endpoint.meaning) = (Answer::ok(), Meaning::Taken);
            (endpoint.is_picky, endpoint.delivery) = (false, None);
        }
    }

    /// When a body was first taken after [`Archive::calm`].
    pub(super) fn delivery(&self) -> Option<Instant> {
        let state = self.state();
        let deliveries = state.endpoints.iter();
        deliveries.filter_map(|endpoint| endpoint.delivery).min()
    }

    /// Looks at what has arrived.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Content) -> T) -> T {
        look(&self.state().content)
    }

    /// Ends `verify`.
    pub(super) fn verified(&self) -> Option<Ended> {
        let mut verify = self.state().content.verify.take()?;
        verify.close_stdin();
        Some(verify.wait())
    }

    /// Takes a request in, and answers it.
    pub(super) fn enter(&self, number: usize, request: &Request) -> Answer {
        let mut state = self.state();
        let State {
            indexing,
            endpoints,
            content,
        } = &mut *state;
        let endpoint = &mut endpoints[number];
        let channel = request.header("X-Splunk-Request-Channel");
        if request.path.ends_with("/ack") {
            return match endpoint.meaning {
                Meaning::Taken => {
                    endpoint.indexed(channel.expect("a channel"), &request.body, content)
                }
                _ => endpoint.answer.clone(),
            };
        }
        let body = request.text().into_bytes();
        let events: Vec<_> = lines(&body).map(|line| id(&line)).collect();
        let mut numbers = events.iter().flatten().map(|(_, number)| number);
        if endpoint.is_picky && numbers.any(|number| number % POISON == 0) {
            content.refuse(&events);
            return Answer::status(400);
        }
        match endpoint.meaning {
            Meaning::Again | Meaning::Unclear => return endpoint.answer.clone(),
            Meaning::Refused => {
                content.refuse(&events);
                return endpoint.answer.clone();
            }
            Meaning::Taken => {}
        }
        endpoint.delivery.get_or_insert_with(Instant::now);
        let Some(delay) = *indexing else {
            content.take(&body);
            return endpoint.answer.clone();
        };
        let channel = channel.expect("a channel").to_owned();
        let next = endpoint.next.entry(channel.clone()).or_default();
        let answer = json!({"text": "Success", "code": 0, "ackId": *next});
        let due = Instant::now() + delay;
        let pending = (body, due);
        endpoint.pending.insert((channel, *next), pending);
        *next += 1;
        endpoint.answer.clone().body(answer.to_string())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Endpoint {
    fn indexed(&mut self, channel: &str, query: &[u8], content: &mut Content) -> Answer {
        let query: Value = serde_json::from_slice(query).unwrap();
        let mut acks = serde_json::Map::new();
        for id in query["acks"].as_array().unwrap() {
            let key = (channel.to_owned(), id.as_u64().unwrap());
            let pending = self.pending.get(&key);
            let is_due = pending.is_some_and(|(_, due)| Instant::now() >= *due);
            if is_due {
                // Reported once, as Splunk does.
                content.take(&self.pending.remove(&key).unwrap().0);
            }
            acks.insert(id.to_string(), is_due.into());
        }
        self.answer
            .clone()
            .body(json!({ "acks": acks }).to_string())
    }
}

impl Content {
    fn take(&mut self, body: &[u8]) {
        for line in lines(body) {
            match (id(&line), line["record"].as_u64()) {
                (Some((source, number)), _) => {
                    let taken = &mut self.taken[source];
                    taken.resize(taken.len().max(number + 1), 0);
                    taken[number] += 1;
                }
                (None, Some(record)) => *self.records.entry(record).or_default() += 1,
                (None, None) => panic!("neither an event nor a record: {line}"),
            }
        }
        self.had_secrets |= body
            .windows(SECRET.len())
            .any(|part| part == SECRET.as_bytes());
        if let Some(verify) = &mut self.verify {
            verify.stdin().write_all(body).unwrap();
        }
    }

    fn refuse(&mut self, events: &[Option<Id>]) {
        match events {
            [Some(only)] => _ = self.refused.insert(*only),
            [None] => self.refused_records += 1,
            _ => {}
        }
    }

    pub(super) fn has(&self, (source, number): Id) -> bool {
        self.taken[source]
            .get(number)
            .is_some_and(|times| *times > 0)
    }

    /// How many events have arrived, and how many arrivals were repetitions.
    pub(super) fn counts(&self) -> (u64, u64) {
        let times = || self.taken.iter().flatten().map(|times| u64::from(*times));
        let taken = times().filter(|times| *times > 0).count() as u64;
        (taken, times().sum::<u64>() - taken)
    }
}

/// The objects of a body or a file, without envelopes.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = Value> {
    let lines = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    lines.map(|line| {
        let mut line = line.unwrap();
        line.get_mut("event").map(Value::take).unwrap_or(line)
    })
}

pub(super) fn id(event: &Value) -> Option<Id> {
    let number = |name: &str| Some(event.get(name)?.as_u64()? as usize);
    Some((number("s")?, number("n")?))
}
