//! What an export of an archive proves: for each stream, which numbers are there, which of the missing ones a record
//! accounts for, and which remain unexplained. Memory is bounded by the number of holes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::record::KIND;
use crate::text::ranges::Ranges;

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The streams by name.
    pub streams: BTreeMap<String, Stream>,
    /// Lines without a stream.
    pub others: u64,
    /// Lines that are not JSON objects.
    pub unreadable: u64,
}

/// What was found of one stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// The host that records name.
    pub host: String,
    /// The earliest and the latest time that a record has, in RFC 3339.
    pub times: Option<(String, String)>,
    /// The numbers that are there.
    pub seen: Ranges,
    /// How often a number came again.
    pub doubled: u64,
    /// Audit events with a number.
    pub events: u64,
    /// Numbers that records account for, by reason.
    pub gaps: BTreeMap<String, Ranges>,
    /// Numbers around a kill: nobody knows which of them were assigned, and what became of those events.
    pub killed: Ranges,
    /// The numbers of the records themselves.
    pub records: Ranges,
    /// The first number, according to records.
    first: Option<u64>,
    /// All numbers below this are final, according to records.
    settled: Option<u64>,
}

impl Found {
    /// Takes in a line of an export.
    pub fn add(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let value: Value = match serde_json::from_slice(line) {
            Ok(value @ Value::Object(_)) => value,
            _ => {
                self.unreadable += 1;
                return;
            }
        };
        // Splunk's export has each event in a `result`.
        let outer = value.get("result").unwrap_or(&value);
        let event = event(outer);
        let record = event.get(KIND).and_then(Value::as_str);
        let own = event
            .get("stream")
            .and_then(Value::as_str)
            .filter(|_| record.is_some());
        let numbered = numbered(outer);
        let name = numbered.as_ref().map(|(stream, _)| stream.as_str()).or(own);
        let Some(name) = name else {
            self.others += 1;
            return;
        };
        let stream = self.streams.entry(name.to_owned()).or_default();
        if let Some((_, number)) = numbered {
            stream.doubled += stream.seen.add(number..number.saturating_add(1));
            stream.events += u64::from(record.is_none());
        }
        if let Some(kind) = record {
            stream.add_record(kind, &event);
        }
    }

    /// Whether records account for everything that is missing.
    pub fn is_explained(&self) -> bool {
        let mut streams = self.streams.values();
        let is_whole =
            |stream: &Stream| stream.unexplained().is_empty() && stream.lost_records().is_empty();
        self.unreadable == 0 && !self.streams.is_empty() && streams.all(is_whole)
    }
}

/// Takes in all lines of an export.
pub fn verify(lines: impl IntoIterator<Item = Vec<u8>>) -> Found {
    let mut found = Found::default();
    lines.into_iter().for_each(|line| found.add(&line));
    found
}

/// The event itself, without what the export wraps around it.
fn event(outer: &Value) -> Value {
    let inner = ["event", "_source", "_raw"]
        .iter()
        .find_map(|name| outer.get(name));
    match inner {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
        Some(inner @ Value::Object(_)) => inner.clone(),
        _ => outer.clone(),
    }
}

/// The stream and the number that an export attaches to an event.
fn numbered(outer: &Value) -> Option<(String, u64)> {
    // For an event in several indexes, Splunk may give a list.
    let first = |value: &Value| value.get(0).unwrap_or(value).clone();
    let field = |name: &str| {
        Some(first(
            outer
                .get("fields")
                .and_then(|fields| fields.get(name))
                .or(outer.get(name))?,
        ))
    };
    if let (Some(stream), Some(number)) = (field("audit_stream"), field("audit_seq")) {
        let text = number.as_str().and_then(|number| number.parse().ok());
        return Some((stream.as_str()?.to_owned(), number.as_u64().or(text)?));
    }
    // Elasticsearch generates ids too, and some of those end with a hyphen and digits.
    let (stream, number) = outer.get("_id")?.as_str()?.rsplit_once('-')?;
    let is_stream = stream.len() == 16 && stream.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((stream.to_owned(), number.parse().ok()?)).filter(|_| is_stream)
}

impl Stream {
    fn add_record(&mut self, kind: &str, record: &Value) {
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        if let Some(number) = number("record") {
            self.records.add(number..number.saturating_add(1));
        }
        self.host = text("host").unwrap_or_default().into();
        if let Some(time) = text("time").map(str::to_owned) {
            let (from, to) = self
                .times
                .take()
                .unwrap_or_else(|| (time.clone(), time.clone()));
            self.times = Some((from.min(time.clone()), to.max(time)));
        }
        match kind {
            "start" => {
                if let (Some(first), Some(lost_from)) = (number("first"), number("lost_from")) {
                    self.killed.add(lost_from..first);
                }
                self.settled = self.settled.max(number("first"));
                self.first = [self.first, number("first")].into_iter().flatten().min();
            }
            "gap" => {
                let numbers = text("numbers").and_then(|numbers| numbers.parse::<Ranges>().ok());
                let known = self
                    .gaps
                    .entry(text("reason").unwrap_or("?").into())
                    .or_default();
                numbers.unwrap_or_default().iter().for_each(|range| {
                    known.add(range);
                });
            }
            _ => {
                let settled = number("final").map(|last| last.saturating_add(1));
                self.settled = self.settled.max(settled);
            }
        }
    }

    /// Whether the export has events at all; if not, only its records were checked.
    pub fn has_events(&self) -> bool {
        self.events > 0
    }

    /// All numbers below this one are present or missing; the others may still be on their way.
    pub fn end(&self) -> u64 {
        let seen = self.seen.bounds().map_or(0, |bounds| bounds.end);
        self.settled.unwrap_or(seen)
    }

    /// The numbers that should be there.
    pub fn expected(&self) -> Ranges {
        let seen = self.seen.bounds().map(|bounds| bounds.start);
        let first = [self.first, seen].into_iter().flatten().min();
        first
            .map(|first| first..self.end())
            .filter(|_| self.has_events())
            .into_iter()
            .collect()
    }

    /// The numbers that should be there but are not, and those that a record says are lost, even if no record behind it
    /// calls them final: an agent's last losses.
    pub fn missing(&self) -> Ranges {
        let mut numbers = self.expected();
        if !numbers.is_empty() {
            let last = self.owned().without(&Ranges::from(0..self.end()));
            last.iter().for_each(|range| {
                numbers.add(range);
            });
        }
        numbers.without(&self.seen).without(&self.killed)
    }

    /// All numbers that records account for.
    pub fn owned(&self) -> Ranges {
        self.gaps.values().flat_map(Ranges::iter).collect()
    }

    /// Missing numbers that nothing explains.
    pub fn unexplained(&self) -> Ranges {
        self.missing().without(&self.owned())
    }

    /// Records that are missing.
    pub fn lost_records(&self) -> Ranges {
        let all: Ranges = self.records.bounds().into_iter().collect();
        all.without(&self.records)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const S: &str = "274eb47431eb5a38";

    fn lines(lines: &[Value]) -> Found {
        verify(lines.iter().map(|line| line.to_string().into_bytes()))
    }

    #[test]
    fn every_form_of_export_is_read() {
        let record = json!({"s3_audit_webhook":"checkpoint","v":9,"stream":S,"host":"h","record":1,"final":4,
            "time":"2026-11-28T10:00:00.000Z","later":{}});
        for numbered in [
            json!({"event":{"n":1},"time":1.5,"fields":{"audit_stream":S,"audit_seq":1}}),
            json!({"preview":false,"result":{"_raw":"{\"n\":1}","audit_stream":S,"audit_seq":"1"}}),
            json!({"_raw":"{\"n\":1}","audit_stream":[S],"audit_seq":["1","1"]}),
            json!({"_index":"a","_id":format!("{S}-1"),"_source":{"n":1}}),
        ] {
            let mut more = numbered.clone();
            let found = lines(&[numbered.clone(), record.clone()]);
            let stream = &found.streams[S];
            assert_eq!((stream.events, stream.seen.to_string()), (1, "1".into()));
            assert_eq!(stream.unexplained().to_string(), "2-4", "{numbered}");
            // Around a record, too.
            for name in ["event", "_source"] {
                if let Some(event) = more.get_mut(name) {
                    *event = record.clone();
                    let found = lines(&[more.clone()]);
                    assert_eq!(found.streams[S].records.to_string(), "1");
                    assert_eq!((found.streams[S].events, found.is_explained()), (0, true));
                }
            }
        }
        let found = verify(
            [
                &b"{}"[..],
                b"",
                b"x",
                b"[1]",
                b"{\"_id\":\"Qk3x8vWbTz4oEoO7u-12\"}",
            ]
            .map(Vec::from),
        );
        assert_eq!(
            (found.others, found.unreadable, found.is_explained()),
            (2, 2, false)
        );
    }

    #[test]
    fn a_record_that_is_missing_is_noticed_without_any_event() {
        let record =
            |number: u64| json!({"s3_audit_webhook":"checkpoint","stream":S,"record":number});
        assert!(lines(&[record(1), record(2), record(3), record(2)]).is_explained());
        let found = lines(&[record(1), record(4)]);
        assert_eq!(found.streams[S].lost_records().to_string(), "2-3");
        assert!(!found.is_explained());
    }

    proptest! {
        /// Compared with sets of single numbers.
        #[test]
        fn what_is_missing_is_what_a_naive_model_misses(
            seen in vec(1..60_u64, 1..80),
            gaps in vec((1..60_u64, 0..6_u64), 0..6),
            killed in prop::option::of((1..60_u64, 1..9_u64)),
            settled in 0..70_u64,
        ) {
            let mut export: Vec<_> = seen.iter().map(|number| json!({"_id":format!("{S}-{number}"),"_source":{}})).collect();
            let (mut owned, mut unknown) = (BTreeSet::new(), BTreeSet::new());
            for (first, more) in &gaps {
                owned.extend(*first..=first + more);
                let numbers = format!("{first}-{}", first + more);
                export.push(json!({"s3_audit_webhook":"gap","stream":S,"reason":"x","numbers":numbers}));
            }
            let mut end = settled + 1;
            if let Some((from, length)) = killed {
                unknown.extend(from..from + length);
                end = end.max(from + length);
                export.push(json!({"s3_audit_webhook":"start","stream":S,"lost_from":from,"first":from + length}));
            }
            export.push(json!({"s3_audit_webhook":"checkpoint","stream":S,"final":settled}));
            let found = lines(&export);
            let stream = &found.streams[S];
            let there: BTreeSet<_> = seen.iter().copied().collect();
            let first = seen.iter().copied().chain(killed.map(|(from, length)| from + length)).min().unwrap();
            let lost = owned.iter().copied().filter(|number| first < end && *number >= end);
            let missing = (first..end).chain(lost);
            let missing: BTreeSet<_> = missing.filter(|number| !there.contains(number) && !unknown.contains(number)).collect();
            prop_assert_eq!(stream.missing().iter().flatten().collect::<BTreeSet<_>>(), missing.clone());
            let unexplained: BTreeSet<_> = missing.difference(&owned).copied().collect();
            prop_assert_eq!(stream.unexplained().iter().flatten().collect::<BTreeSet<_>>(), unexplained.clone());
            prop_assert_eq!(stream.doubled, (seen.len() - there.len()) as u64);
            prop_assert_eq!(found.is_explained(), unexplained.is_empty());
        }
    }
}
