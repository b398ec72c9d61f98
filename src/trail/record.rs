//! The records of a trail: what the agent says about its own stream, as events of that stream.
//!
//! Each is a JSON object with `s3_audit_webhook`, its kind; `v`, the version of this format, in which readers must
//! ignore unknown members; `time`, `host`, `stream`; and `record`, its number among the stream's records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    // Formatting panics before 1970 and beyond the year 9999.
    let latest = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    format_rfc3339_millis(at.clamp(UNIX_EPOCH, latest)).to_string()
}

/// What a record of losses says.
pub fn gap(source: &str, reason: &str, gap: &Gap) -> Value {
    let mut gap_json = json!({
        "reason": reason,
        "events": gap.events(),
        "numbers": gap.numbers.to_string(),
        "from": time(gap.first),
        "to": time(gap.last),
    });
    if gap.scattered > 0 {
        gap_json["within"] = gap.within.to_string().into();
    }
    if !source.is_empty() {
        gap_json["source"] = source.into();
    }
    gap_json
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
    /// The counts of earlier starts plus these. `resent` records were rejected, and are received again; `left` events
    /// that are not final are not counted: they are lost with this start, or received again by the next one.
    pub fn plus(&self, balance: &Balance, resent: u64, left: u64) -> Totals {
        let of_recovered = balance.recovered.min(left);
        let not_received = resent + left - of_recovered;
        let now = [
            balance.received().saturating_sub(not_received),
            balance.recovered - of_recovered,
            balance.delivered,
            balance.dropped(),
            balance.rejected.saturating_sub(resent),
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
