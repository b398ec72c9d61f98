//! The trail (`--trail`): the agent's own records among the events, from which the archive alone shows whether
//! something is missing. Every event has a number: the queue's own, continued from start to start. What is dropped
//! before it is queued gets a number too, so that every loss is a hole, and a record accounts for it.
//!
//! [`Trail`] has no clock, threads or I/O. A record is first saved, then queued, and kept until it is delivered: so it
//! survives a kill, and a webhook that rejects it for a while.

pub mod record;
pub mod running;
mod saved;
pub mod store;
#[cfg(test)]
mod tests;
pub mod verify;

use std::ops::Range;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

pub use self::saved::{Entry, Saved, Was};

use crate::buffer::acks::Seq;
use crate::telemetry::counters::{Balance, Reason};
use crate::telemetry::gaps::{Gap, Gaps};
use crate::text::ranges::Ranges;

/// After the first loss of a kind was recorded, further ones are added up for this long.
const GATHER: Duration = Duration::from_secs(10);

/// A record has at most this many ranges of numbers: servers reject or cut off long events, Splunk beyond 10,000 bytes.
const MAX_RANGES: usize = 400;

/// The reason for gaps that are no losses: what was lost are records, which are sent again.
pub const RESENT: &str = "resent";
/// The same for events: the next start reads them again, with other numbers.
pub const READ_AGAIN: &str = "read_again";
/// The reason of what the webhook rejects.
const REJECTED: &str = "rejected";

/// Assigns numbers.
pub trait Numbers {
    /// Queues a record. Returns its number; `None` if that can't be done now.
    fn push(&mut self, line: &str) -> Option<Seq>;
    /// Assigns numbers to events that were dropped without one. `None` if that can't be done now.
    fn skip(&mut self, events: u64) -> Option<Range<Seq>>;
}

/// What is known about the agent at one moment.
#[derive(Debug, Clone)]
pub struct View {
    /// The time of day.
    pub time: SystemTime,
    /// The time since the start.
    pub elapsed: Duration,
    /// The counts.
    pub balance: Balance,
    /// The number of the next event, and the number below which all are final.
    pub numbers: (Seq, Seq),
    /// There is a webhook.
    pub is_forwarding: bool,
    /// The rules in effect.
    pub rules: String,
}

/// What the trail of a running agent knows.
#[derive(Debug)]
pub struct Trail {
    host: String,
    saved: Saved,
    /// The number of the first event that this start queues.
    base: u64,
    interval: Duration,
    next_checkpoint: Duration,
    next_gaps: Duration,
    /// When the webhook gets records again that it has rejected.
    next_trial: Duration,
    /// The counts of earlier starts.
    before: record::Totals,
    /// How many records were rejected, as far as the counts have it for sure; and the others.
    resent: u64,
    newly_resent: u64,
}

impl Trail {
    /// Continues from what was saved. `settings` is a digest of the settings, which shows a change of them.
    pub fn start(
        (saved, was): (Saved, Was),
        host: String,
        interval: Duration,
        settings: &str,
        view: &View,
    ) -> Self {
        let base = saved.next;
        let mut trail = Trail {
            host,
            base,
            interval,
            next_checkpoint: interval,
            next_gaps: Duration::ZERO,
            next_trial: interval,
            before: saved.totals.clone(),
            resent: 0,
            newly_resent: 0,
            saved,
        };
        let mut start = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "settings": settings,
            "rules": view.rules,
            "first": base,
            "after": was.name(),
        });
        if let Was::Killed { lost_from } = was {
            start["lost_from"] = lost_from.into();
        }
        trail.add("start", "start".into(), start, view);
        trail
    }

    /// What must be saved.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Takes in what has happened, and creates the records that are due. They must be saved before they are
    /// [queued](Self::queue).
    pub fn tick(&mut self, losses: Gaps, queue: &mut impl Numbers, view: &View) {
        self.note(losses, view);
        if view.elapsed >= self.next_trial {
            self.next_trial = view.elapsed + self.interval;
            self.try_again();
        }
        let is_due = view.elapsed >= self.next_checkpoint;
        let are_many = |gap: &Gap| gap.numbers.len() >= MAX_RANGES;
        let are_many = self.saved.gaps.values().any(are_many);
        if view.is_forwarding && (is_due || are_many || view.elapsed >= self.next_gaps) {
            self.next_gaps = view.elapsed + GATHER;
            self.record_gaps(queue, view);
            // It says up to where all is delivered or accounted for. If none can be delivered, one is enough.
            if is_due && self.saved.gaps.is_empty() && !self.is_pending("checkpoint") {
                self.next_checkpoint = view.elapsed + self.interval;
                self.add("checkpoint", "checkpoint".into(), self.balance(view), view);
            }
        }
    }

    /// The agent stops, and all sources have ended.
    pub fn stop(&mut self, losses: Gaps, queue: &mut impl Numbers, view: &View) {
        self.note(losses, view);
        self.try_again();
        self.record_gaps(queue, view);
        self.add("stop", "stop".into(), self.balance(view), view);
    }

    /// The agent ends. What is not final now never will be: it is lost, unless the next start sends it again, as it does
    /// with records, or reads it again, as those that are `resuming`.
    pub fn end(&mut self, losses: Gaps, unfinished: &Ranges, resuming: &Ranges, view: &View) {
        self.note(losses, view);
        let records = self.saved.outbox.iter().filter_map(|entry| entry.seq);
        let records: Ranges = records.map(|seq| seq..seq + 1).collect();
        let events = unfinished.without(&records);
        let lost = events.without(resuming);
        for (reason, numbers) in [
            (RESENT, unfinished.without(&events)),
            (READ_AGAIN, events.without(&lost)),
            (Reason::Shutdown.label(), lost),
        ] {
            let mut gap = Gap::at(view.time);
            gap.add(0, numbers.iter(), view.time);
            if gap.events() > 0 {
                let key = (String::new(), reason.to_owned());
                self.saved.add_gap(key, gap.above(self.base));
            }
        }
        self.saved.is_clean = true;
        self.saved.last_final = self.saved.next;
    }

    /// Queues the records that are not queued yet.
    pub fn queue(&mut self, queue: &mut impl Numbers, view: &View) {
        if !view.is_forwarding {
            return;
        }
        for entry in &mut self.saved.outbox {
            if entry.seq.is_none() && !entry.is_rejected {
                entry.seq = queue.push(&entry.line);
            }
        }
    }

    fn keep_numbers(&mut self, view: &View) {
        let (next, last_final) = view.numbers;
        self.saved.next = self.base + next;
        self.saved.last_final = self.base + last_final;
        // The counts may be a moment older than what is known of rejected records.
        self.resent += std::mem::take(&mut self.newly_resent);
        let left = view.balance.buffered();
        self.saved.totals = self.before.plus(&view.balance, self.resent, left);
    }

    fn try_again(&mut self) {
        let entries = self.saved.outbox.iter_mut();
        entries.for_each(|entry| entry.is_rejected = false);
    }

    /// Notes losses, and which records are final.
    fn note(&mut self, losses: Gaps, view: &View) {
        self.keep_numbers(view);
        let base = self.base;
        for ((source, reason), mut gap) in losses {
            // A record that is lost has explained nothing: it is sent again, with another number.
            let mut resent = Gap {
                last: gap.last,
                ..Gap::at(gap.first)
            };
            for entry in &mut self.saved.outbox {
                let Some(seq) = entry.seq.filter(|seq| gap.may_contain(*seq)) else {
                    continue;
                };
                (entry.seq, entry.is_rejected) = (None, true);
                if reason == REJECTED && gap.numbers.contains(seq) {
                    gap.numbers.remove(seq..seq + 1);
                    resent.numbers.add(seq..seq + 1);
                }
            }
            self.newly_resent += resent.events();
            let resent_key = (String::new(), RESENT.to_owned());
            for (key, gap) in [((source, reason), gap), (resent_key, resent)] {
                if gap.events() > 0 {
                    self.saved.add_gap(key, gap.above(base));
                }
            }
        }
        let last_final = view.numbers.1;
        let is_open = |entry: &Entry| entry.seq.is_none_or(|seq| seq >= last_final);
        self.saved.outbox.retain(is_open);
    }

    fn record_gaps(&mut self, queue: &mut impl Numbers, view: &View) {
        for ((source, reason), mut gap) in std::mem::take(&mut self.saved.gaps) {
            let key = format!("gap {source} {reason}");
            let numbers = match gap.unnumbered {
                // While records of the same kind can't be delivered, more of them would only pile up.
                _ if self.is_pending(&key) => None,
                0 => Some(0..0),
                events => queue.skip(events),
            };
            match numbers {
                Some(numbers) => {
                    gap.unnumbered = 0;
                    gap.numbers
                        .add(self.base + numbers.start..self.base + numbers.end);
                    self.saved.next = self.saved.next.max(self.base + numbers.end);
                    for part in gap.parts(MAX_RANGES) {
                        let gap = record::gap(&source, &reason, &part);
                        self.add("gap", key.clone(), gap, view);
                    }
                }
                None => self.saved.add_gap((source, reason), gap),
            }
        }
    }

    fn is_pending(&self, key: &str) -> bool {
        self.saved.outbox.iter().any(|entry| entry.key == key)
    }

    /// The counts since the stream began, and how far it has got.
    fn balance(&self, view: &View) -> Value {
        let (next, last_final) = view.numbers;
        let mut balance = self.before.plus(&view.balance, self.resent, 0).json();
        balance.insert("buffered".into(), view.balance.buffered().into());
        balance.insert("first".into(), self.base.into());
        balance.insert("last".into(), (self.base + next).saturating_sub(1).into());
        balance.insert(
            "final".into(),
            (self.base + last_final).saturating_sub(1).into(),
        );
        balance.insert("rules".into(), view.rules.clone().into());
        Value::Object(balance)
    }

    fn add(&mut self, kind: &str, key: String, more: Value, view: &View) {
        let number = self.saved.record;
        self.saved.record += 1;
        let (stream, host) = (&self.saved.stream, &self.host);
        let line = record::line(kind, number, stream, host, view.time, more);
        self.saved.outbox.push(Entry {
            key,
            seq: None,
            line,
            is_rejected: false,
        });
    }
}
