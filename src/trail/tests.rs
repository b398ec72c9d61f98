//! A trail compared with a naive model of its queue, through losses, kills and restarts: every number is an event that
//! was delivered, or a record accounts for it.

mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::verify::{Found, verify};
use super::*;
use crate::telemetry::{Report, ReportedSource};

/// A queue whose events become final one after the other.
#[derive(Default)]
struct Queue {
    lines: BTreeMap<Seq, String>,
    next: Seq,
    /// Those that are not final.
    open: BTreeSet<Seq>,
    pushed: u64,
}

impl Queue {
    fn add(&mut self, line: &str) -> Seq {
        self.lines.insert(self.next, line.to_owned());
        self.open.insert(self.next);
        self.next += 1;
        self.pushed += 1;
        self.next - 1
    }

    fn unfinished(&self) -> Ranges {
        self.open.iter().map(|seq| *seq..seq + 1).collect()
    }
}

impl Numbers for Queue {
    fn push(&mut self, line: &str) -> Option<Seq> {
        Some(self.add(line))
    }

    fn skip(&mut self, events: u64) -> Option<Range<Seq>> {
        let first = self.next;
        self.next += events;
        Some(first..self.next)
    }
}

/// An agent with a trail, and the archive that it delivers to.
struct World {
    queue: Queue,
    trail: Trail,
    kept: Value,
    losses: Gaps,
    report: Report,
    /// How many of the queue's events the report has as received.
    counted: u64,
    archive: Vec<(u64, String)>,
    /// What was not final at the ends of starts, by what becomes of it.
    unfinished: BTreeMap<&'static str, Ranges>,
    seconds: u64,
    is_forwarding: bool,
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn report() -> Report {
    let source = ReportedSource {
        name: "s".into(),
        resumes: true.into(),
    };
    Report::new(Duration::from_secs(60), vec![source])
}

fn view(queue: &Queue, report: &Report, seconds: u64, is_forwarding: bool) -> View {
    let first_open = queue.open.first().copied();
    View {
        time: at(seconds),
        elapsed: Duration::from_secs(seconds),
        balance: report.balance(),
        numbers: (queue.next, first_open.unwrap_or(queue.next)),
        is_forwarding,
        rules: String::new(),
    }
}

fn start(mut saved: Saved) -> Trail {
    let was = saved.begin();
    let view = view(&Queue::default(), &report(), 0, true);
    Trail::start((saved, was), "a".into(), Duration::from_secs(60), "", &view)
}

impl World {
    fn new() -> Self {
        let saved = Saved::of_new_stream();
        World {
            queue: Queue::default(),
            kept: saved.json(),
            trail: start(saved),
            losses: Gaps::new(),
            report: report(),
            counted: 0,
            archive: Vec::new(),
            unfinished: BTreeMap::new(),
            seconds: 0,
            is_forwarding: true,
        }
    }

    fn view(&mut self) -> View {
        let pushed = self.queue.pushed;
        let new = pushed - std::mem::replace(&mut self.counted, pushed);
        self.report.received(0, new as usize);
        view(&self.queue, &self.report, self.seconds, self.is_forwarding)
    }

    fn lose(
        &mut self,
        reason: &str,
        unnumbered: u64,
        numbers: impl IntoIterator<Item = Range<u64>>,
    ) {
        let key = (String::new(), reason.to_owned());
        let gap = self
            .losses
            .entry(key)
            .or_insert_with(|| Gap::at(at(self.seconds)));
        let before = gap.events();
        gap.add(unnumbered, numbers, at(self.seconds));
        let events = (gap.events() - before) as usize;
        self.report.received(0, unnumbered as usize);
        match reason {
            "rejected" => self.report.rejected(events, "no"),
            _ => self.report.dropped(Reason::Malformed, Some(0), events),
        }
    }

    fn finish(&mut self, seq: Seq, outcome: &str) {
        if self.queue.open.remove(&seq) {
            let line = &self.queue.lines[&seq];
            match outcome {
                "delivered" => {
                    self.report.delivered(1, 0);
                    self.archive.push((self.trail.base + seq, line.clone()));
                }
                _ => self.lose(outcome, 0, Some(seq..seq + 1)),
            }
        }
    }

    fn finish_all(&mut self, outcome: &str) {
        self.finish_where(outcome, |_| true);
    }

    fn finish_where(&mut self, outcome: &str, is_meant: impl Fn(&str) -> bool) {
        for seq in self.queue.unfinished().iter().flatten() {
            if is_meant(&self.queue.lines[&seq]) {
                self.finish(seq, outcome);
            }
        }
    }

    fn tick(&mut self) {
        self.seconds += 1;
        let view = self.view();
        let losses = std::mem::take(&mut self.losses);
        self.trail.tick(losses, &mut self.queue, &view);
        self.kept = self.trail.saved().json();
        self.trail.queue(&mut self.queue, &view);
    }

    fn restart(&mut self, in_order: bool) {
        if in_order {
            self.seconds += 1;
            let losses = std::mem::take(&mut self.losses);
            let now = self.view();
            self.trail.stop(losses, &mut self.queue, &now);
            self.trail.queue(&mut self.queue, &now);
            let now = self.view();
            let unfinished = self.queue.unfinished();
            let is_odd = |seq: &Seq| seq % 2 == 1;
            let resuming: Ranges = (unfinished.iter().flatten().filter(is_odd))
                .map(|seq| seq..seq + 1)
                .collect();
            for seq in unfinished.iter().flatten() {
                let reason = match self.queue.lines[&seq].contains(record::KIND) {
                    true => RESENT,
                    false if is_odd(&seq) => READ_AGAIN,
                    false => Reason::Shutdown.label(),
                };
                let number = self.trail.base + seq;
                self.unfinished
                    .entry(reason)
                    .or_default()
                    .add(number..number + 1);
            }
            self.trail.end(Gaps::new(), &unfinished, &resuming, &now);
            self.kept = self.trail.saved().json();
        }
        self.losses.clear();
        (self.queue, self.report, self.counted) = (Queue::default(), report(), 0);
        self.trail = start(Saved::parse(self.kept.to_string().as_bytes()).unwrap());
        self.seconds = 0;
        self.tick();
    }

    /// Each record that has counts accounts for all of them.
    fn check_totals(&self) {
        let mut lines = self.archive.iter().map(|(_, line)| line);
        let records = lines.by_ref().filter(|line| line.contains("\"buffered\""));
        for line in records {
            let record: Value = serde_json::from_str(line).unwrap();
            let sum = |names: &[&str]| -> u64 {
                names
                    .iter()
                    .map(|name| record[name].as_u64().unwrap())
                    .sum()
            };
            let ends = ["delivered", "dropped", "rejected", "filtered", "buffered"];
            assert_eq!(sum(&["received", "recovered"]), sum(&ends), "{line}");
        }
    }

    fn verify(&self, without: Option<usize>) -> Found {
        let lines = self.archive.iter().enumerate();
        let lines = lines.filter(|(place, _)| Some(*place) != without);
        let stream = &self.trail.saved.stream;
        let lines = lines.map(|(_, (number, line))| {
            let line = line.trim_end();
            format!(
                r#"{{"event":{line},"fields":{{"audit_stream":"{stream}","audit_seq":{number}}}}}"#
            )
        });
        verify(lines.map(String::into_bytes))
    }
}

#[derive(Debug, Clone)]
enum Step {
    Receive(u8),
    Recover(u8),
    Deliver(prop::sample::Index),
    Reject(prop::sample::Index),
    Drop(u8),
    Disable,
    Enable,
    Tick(u8),
    Restart,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (1..9_u8).prop_map(Step::Receive),
        1 => (1..9_u8).prop_map(Step::Recover),
        6 => index().prop_map(Step::Deliver),
        1 => index().prop_map(Step::Reject),
        2 => (1..9_u8).prop_map(Step::Drop),
        1 => Just(Step::Disable),
        1 => Just(Step::Enable),
        5 => (1..30_u8).prop_map(Step::Tick),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_archive_explains_itself(steps in vec(step(), 1..60), removed: prop::sample::Index) {
        let mut world = World::new();
        world.tick();
        let mut given = BTreeSet::new();
        for step in steps {
            match step {
                Step::Receive(events) | Step::Recover(events) => (0..events).for_each(|_| {
                    if matches!(step, Step::Recover(_)) {
                        world.report.recovered(1);
                        world.counted += 1;
                    }
                    let seq = world.queue.add("{}");
                    assert!(given.insert(world.trail.base + seq), "a number was given twice");
                }),
                Step::Deliver(index) | Step::Reject(index) => {
                    let open: Vec<_> = world.queue.unfinished().iter().flatten().collect();
                    let outcome = if matches!(step, Step::Deliver(_)) { "delivered" } else { "rejected" };
                    if !open.is_empty() && world.is_forwarding {
                        world.finish(open[index.index(open.len())], outcome);
                    }
                }
                Step::Drop(events) => world.lose("buffer_full", events.into(), []),
                Step::Disable => {
                    world.is_forwarding = false;
                    world.finish_where("disabled", |line| !line.contains(record::KIND));
                }
                Step::Enable => world.is_forwarding = true,
                Step::Tick(seconds) => (0..seconds).for_each(|_| world.tick()),
                Step::Restart => world.restart(true),
                Step::Kill => world.restart(false),
            }
        }
        // In the end, everything is delivered.
        world.is_forwarding = true;
        for _ in 0..200 {
            world.tick();
            world.finish_all("delivered");
        }
        world.check_totals();
        let found = world.verify(None);
        prop_assert!(found.is_explained(), "{:#?}", found);
        let stream = &found.streams[&world.trail.saved.stream];
        prop_assert_eq!(stream.seen.count(), world.archive.len() as u64);
        for (reason, numbers) in &world.unfinished {
            prop_assert!(numbers.without(&stream.gaps[*reason]).is_empty(), "{}: {}", reason, numbers);
        }
        for reason in [READ_AGAIN, Reason::Shutdown.label()] {
            prop_assert_eq!(stream.gaps.get(reason), world.unfinished.get(reason), "{}", reason);
        }
        // And whatever is removed is noticed, unless it was the last.
        let place = removed.index(world.archive.len());
        let (number, line) = &world.archive[place];
        let stream = world.verify(Some(place)).streams.remove(&world.trail.saved.stream);
        let stream = stream.unwrap_or_default();
        let is_own = line.contains(record::KIND);
        let is_doubtful = !stream.has_events() || stream.killed.contains(*number) || stream.end() <= *number;
        prop_assert!(
            stream.unexplained().contains(*number) || is_own || is_doubtful,
            "{} {:#?}", number, stream
        );
    }
}
