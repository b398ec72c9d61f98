//! The records of a trail: what the agent says about its own stream, as events of that stream.
//!
//! Each is a JSON object with `s3_audit_webhook`, its kind; `v`, the version of this format, in which readers must
//! ignore unknown members; `time`, `host`, `stream`; and `record`, its number among the stream's records.

use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use serde_json::{Map, Value, json};

use crate::telemetry::counters::Balance;
use crate::telemetry::gaps::Gap;

/// The member that every record has, and no audit event has.
pub const KIND: &str = "s3_audit_webhook";
const VERSION: u64 = 1;

/// The line of a record of this kind, number and stream.
pub fn line(
    kind: &str,
    record: u64,
    stream: &str,
    host: &str,
    now: SystemTime,
    more: Value,
) -> String {
    let mut all = json!({
        KIND: kind,
        "v": VERSION,
        "time": time(now),
        "host": host,
        "stream": stream,
        "record": record,
    });
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    format!("{all}\n")
}

/// RFC 3339, with milliseconds.
pub fn time(at: SystemTime) -> String {
    format_rfc3339_millis(at).to_string()
}

/// What a record of losses says.
pub fn gap(source: &str, reason: &str, gap: &Gap) -> Value {
    let mut gap = json!({
        "reason": reason,
        "events": gap.numbers.count(),
        "numbers": gap.numbers.to_string(),
        "from": time(gap.first),
        "to": time(gap.last),
    });
    if !source.is_empty() {
        gap["source"] = source.into();
    }
    gap
}

/// Counts since a stream began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals([u64; NAMES.len()]);

const NAMES: [&str; 6] = [
    "received",
    "recovered",
    "delivered",
    "dropped",
    "rejected",
    "filtered",
];

impl Totals {
    /// The counts of earlier starts plus these.
    pub fn plus(&self, balance: &Balance) -> Totals {
        let now = [
            balance.received(),
            balance.recovered,
            balance.delivered,
            balance.dropped(),
            balance.rejected,
            balance.filtered(),
        ];
        let mut totals = self.clone();
        totals
            .0
            .iter_mut()
            .zip(now)
            .for_each(|(total, events)| *total += events);
        totals
    }

    /// The counts by name.
    pub fn json(&self) -> Map<String, Value> {
        let named = NAMES.iter().zip(self.0);
        named
            .map(|(name, events)| ((*name).to_owned(), events.into()))
            .collect()
    }

    /// The counts as they were written; 0 for a missing one.
    pub fn of(value: &Value) -> Totals {
        Totals(NAMES.map(|name| value[name].as_u64().unwrap_or_default()))
    }
}
