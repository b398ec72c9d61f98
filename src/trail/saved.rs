//! What a trail saves from start to start.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::record::Totals;
use crate::buffer::acks::Seq;
use crate::state::PROGRAM;
use crate::sys::random;
use crate::telemetry::gaps::{Gap, Gaps, Key};

/// After a kill, numbers continue this far beyond what was last saved, so that no number is given twice.
const MARGIN: u64 = 1 << 28;

/// A record that is not final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Two records of one kind have the same key.
    pub key: String,
    /// Its number in the queue, if it is there.
    pub seq: Option<Seq>,
    /// The line as it is sent.
    pub line: String,
    /// The webhook has rejected it, and it is not tried again yet. Not saved.
    pub is_rejected: bool,
}

/// What is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The stream's name.
    pub stream: String,
    /// The next event's number.
    pub next: u64,
    /// All numbers below are final.
    pub last_final: u64,
    /// The next record's number.
    pub record: u64,
    /// The agent has stopped in order.
    pub is_clean: bool,
    /// Counts since the stream began.
    pub totals: Totals,
    /// Losses that no record accounts for yet.
    pub gaps: Gaps,
    /// Records that are not final.
    pub outbox: Vec<Entry>,
}

/// How the last start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// There was no earlier start.
    New,
    /// In order.
    Clean,
    /// At any moment. What had this number or a higher one may be lost.
    Killed {
        /// That number.
        lost_from: u64,
    },
}

impl Was {
    /// The name that records use.
    pub fn name(self) -> &'static str {
        match self {
            Was::New => "new",
            Was::Clean => "clean",
            Was::Killed { .. } => "killed",
        }
    }
}

impl Saved {
    /// The state of a new stream.
    pub fn of_new_stream() -> Self {
        Saved {
            stream: format!("{:016x}", random::seed()),
            next: 1,
            last_final: 1,
            record: 1,
            is_clean: true,
            totals: Totals::default(),
            gaps: Gaps::new(),
            outbox: Vec::new(),
        }
    }

    /// Continues after what was saved; returns how the last start ended.
    pub fn begin(&mut self) -> Was {
        self.outbox.iter_mut().for_each(|entry| entry.seq = None);
        let was = match (self.is_clean, self.record) {
            (true, 1) => Was::New,
            (true, _) => Was::Clean,
            (false, _) => Was::Killed {
                lost_from: self.last_final,
            },
        };
        if !std::mem::take(&mut self.is_clean) {
            self.next += MARGIN;
        }
        self.last_final = self.next;
        was
    }

    pub(super) fn add_gap(&mut self, key: Key, gap: Gap) {
        match self.gaps.get_mut(&key) {
            Some(known) => known.merge(gap),
            None => drop(self.gaps.insert(key, gap)),
        }
    }

    /// The form in which it is saved.
    pub fn json(&self) -> Value {
        let gaps = self.gaps.iter().map(|((source, reason), gap)| {
            json!({
                "source": source,
                "reason": reason,
                "unnumbered": gap.unnumbered,
                "numbers": gap.numbers.to_string(),
                "scattered": gap.scattered,
                "within": gap.within.to_string(),
                "first": seconds(gap.first),
                "last": seconds(gap.last),
            })
        });
        let outbox = self.outbox.iter();
        let outbox = outbox.map(|entry| json!({ "key": entry.key, "line": entry.line }));
        json!({
            "program": PROGRAM,
            "stream": self.stream,
            "next": self.next,
            "final": self.last_final,
            "record": self.record,
            "clean": self.is_clean,
            "totals": self.totals.json(),
            "gaps": gaps.collect::<Vec<_>>(),
            "outbox": outbox.collect::<Vec<_>>(),
        })
    }

    /// Reads what was saved; `None` if it is damaged.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        // Nothing counts as far as this.
        let number = |name: &str| value[name].as_u64().filter(|number| *number < 1 << 62);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let gaps = value["gaps"].as_array()?.iter().map(|gap| {
            let key = (text(&gap["source"])?, text(&gap["reason"])?);
            let gap = Gap {
                unnumbered: gap["unnumbered"].as_u64()?,
                numbers: gap["numbers"].as_str()?.parse().ok()?,
                // Earlier versions have neither.
                scattered: gap["scattered"].as_u64().unwrap_or_default(),
                within: gap["within"].as_str().unwrap_or_default().parse().ok()?,
                first: at(&gap["first"])?,
                last: at(&gap["last"])?,
            };
            Some((key, gap))
        });
        let outbox = value["outbox"].as_array()?.iter().map(|entry| {
            Some(Entry {
                key: text(&entry["key"])?,
                seq: None,
                line: text(&entry["line"])?,
                is_rejected: false,
            })
        });
        Some(Saved {
            stream: text(&value["stream"]).filter(|stream| !stream.is_empty())?,
            next: number("next")?,
            last_final: number("final")?,
            record: number("record")?,
            is_clean: value["clean"].as_bool()?,
            totals: Totals::of(&value["totals"]),
            gaps: gaps.collect::<Option<_>>()?,
            outbox: outbox.collect::<Option<_>>()?,
        })
    }
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

fn at(seconds: &Value) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds.as_f64()?).ok()?;
    UNIX_EPOCH.checked_add(since)
}
