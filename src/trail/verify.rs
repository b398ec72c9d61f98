//! What an export of an archive proves: for each stream, which numbers are there, which of the missing ones a record
//! accounts for, and which remain unexplained. Memory is bounded by the number of holes and records.
//!
//! Lines are walked, and only what matters here is read: whatever else the agent takes for an event is one.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::record::KIND;
use crate::framer::walk::{self, Text};
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
    /// Those that are there more than once.
    pub doubled: Ranges,
    /// Audit events with a number.
    pub events: u64,
    /// Numbers that records account for, by reason.
    pub gaps: BTreeMap<String, Ranges>,
    /// How many events besides are lost, of which records only say between which numbers they are; and those numbers.
    pub scattered: u64,
    within: Ranges,
    /// Numbers around a kill: nobody knows which of them were assigned, and what became of those events.
    pub killed: Ranges,
    /// The numbers of the records themselves.
    pub records: Ranges,
    /// The same, each with its [moment], plus the length of its kind's name, by which it can be told, too.
    identities: BTreeSet<(u64, u64)>,
    /// The number and the moment of each record of a start after a kill.
    restarts: BTreeSet<(u64, u64)>,
    /// The first number, according to records.
    first: Option<u64>,
    /// All numbers below this are final, according to records.
    settled: Option<u64>,
}

impl Found {
    /// Takes in a line of an export: a well-formed JSON object, or it is unreadable.
    pub fn add(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        if !line.starts_with(b"{") || walk::value(line) != Some(line) {
            self.unreadable += 1;
            return;
        }
        // Splunk's export has each event in a `result`.
        let [result] = members(line, ["result"]);
        let outer = result.filter(|result| result.starts_with(b"{"));
        let outer = outer.unwrap_or(line);
        let event = event(outer);
        let [kind, own] = members(&event, [KIND, "stream"]).map(|value| text(value?));
        let own = own.filter(|_| kind.is_some());
        let numbered = numbered(outer);
        let name = numbered.as_ref().map(|(stream, _)| stream).or(own.as_ref());
        let Some(name) = name else {
            self.others += 1;
            return;
        };
        // An agent that forwards what another one sends forwards its records, too: those are events of this stream.
        let record = kind.filter(|_| own.as_ref() == Some(name));
        let stream = self.streams.entry(name.clone()).or_default();
        if let Some((_, number)) = numbered {
            let numbers = number..number.saturating_add(1);
            if stream.seen.add(numbers.clone()) > 0 {
                stream.doubled.add(numbers);
            }
            stream.events += u64::from(record.is_none());
        }
        if let Some(kind) = record {
            stream.add_record(&kind, &event);
        }
    }

    /// Whether records account for everything that is missing, and nothing is in the export of which they say nothing.
    pub fn is_explained(&self) -> bool {
        self.others == 0 && self.are_streams_explained()
    }

    /// The same, whatever else is in the export.
    pub fn are_streams_explained(&self) -> bool {
        let mut streams = self.streams.values();
        let is_whole = |stream: &Stream| {
            stream.unexplained().is_empty()
                && stream.lost_records().is_empty()
                && stream.conflicts().is_empty()
        };
        self.unreadable == 0 && !self.streams.is_empty() && streams.all(is_whole)
    }

    /// Whether there are events, but none has a number: then nothing is known about them.
    pub fn lacks_numbers(&self) -> bool {
        self.others > 0 && !self.streams.values().any(Stream::has_events)
    }
}

/// Takes in all lines of an export.
pub fn verify(lines: impl IntoIterator<Item = Vec<u8>>) -> Found {
    let mut found = Found::default();
    lines.into_iter().for_each(|line| found.add(&line));
    found
}

/// Members of an object, as they are written. Of several with the same name, the last one counts.
fn members<'a, const N: usize>(object: &'a [u8], names: [&str; N]) -> [Option<&'a [u8]>; N] {
    let mut found = [None; N];
    for (name, value) in walk::members(object) {
        let wanted = names.iter().zip(&mut found);
        let mut wanted = wanted.filter(|(wanted, _)| name.is(wanted.as_bytes()));
        if let Some((_, place)) = wanted.next() {
            *place = Some(value);
        }
    }
    found
}

fn text(value: &[u8]) -> Option<String> {
    let text = Text::of(value)?.unescaped();
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// A number, which may be in quotes.
fn number(value: &[u8]) -> Option<u64> {
    let digits = Text::of(value).map_or(value, Text::raw);
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The event itself, without what the export wraps around it.
fn event(outer: &[u8]) -> Cow<'_, [u8]> {
    let inner = members(outer, ["event", "_source", "_raw"]);
    match inner.into_iter().flatten().next() {
        Some(text @ [b'"', ..]) => Text::of(text).map_or_else(Cow::default, Text::unescaped),
        Some(inner @ [b'{', ..]) => inner.into(),
        _ => outer.into(),
    }
}

/// The stream and the number that an export attaches to an event.
fn numbered(outer: &[u8]) -> Option<(String, u64)> {
    // For an event in several indexes, Splunk may give a list.
    let first = |value| walk::elements(value).next().unwrap_or(value);
    let names = ["audit_stream", "audit_seq", "fields", "_id"];
    let [stream, seq, fields, id] = members(outer, names);
    let [inner_stream, inner_seq] =
        members(fields.unwrap_or_default(), ["audit_stream", "audit_seq"]);
    if let (Some(stream), Some(seq)) = (inner_stream.or(stream), inner_seq.or(seq)) {
        return Some((text(first(stream))?, number(first(seq))?));
    }
    of_id(&text(id?)?)
}

/// The stream and the number in an `_id`: `STREAM-NUMBER-START`, or `STREAM-NUMBER` of earlier versions.
fn of_id(id: &str) -> Option<(String, u64)> {
    // Elasticsearch generates ids too, which may have hyphens and digits.
    let is_hex = |text: &str, digits| {
        text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let (stream, number) = id.split_once('-')?;
    let (number, start) = number.split_once('-').unwrap_or((number, "00000000"));
    let is_own = is_hex(stream, 16) && is_hex(start, 8);
    Some((stream.to_owned(), number.parse().ok()?)).filter(|_| is_own)
}

/// A time in RFC 3339 with milliseconds, as a number of the same order that leaves room for 64 at one time.
fn moment(time: &str) -> u64 {
    let digits = time.bytes().filter(u8::is_ascii_digit);
    let number = |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(digit & 15));
    digits.fold(0, number).wrapping_mul(64)
}

impl Stream {
    fn add_record(&mut self, kind: &str, record: &[u8]) {
        let member = |name| members(record, [name])[0];
        let number = |name| member(name).and_then(number);
        let text = |name| member(name).and_then(text);
        let time = text("time");
        let own = number("record").map(|number| (number, time.as_deref().map_or(0, moment)));
        let mut is_new = true;
        if let Some((number, moment)) = own {
            let identity = moment.saturating_add(kind.len() as u64);
            is_new = self.identities.insert((number, identity));
            self.records.add(number..number.saturating_add(1));
        }
        self.host = text("host").unwrap_or_default();
        if let Some(time) = time {
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
                    self.restarts.extend(own);
                }
                self.settled = self.settled.max(number("first"));
                self.first = [self.first, number("first")].into_iter().flatten().min();
            }
            "gap" => {
                let ranges = |name| text(name)?.parse::<Ranges>().ok();
                let numbers = ranges("numbers").unwrap_or_default();
                if let Some(within) = ranges("within").filter(|_| is_new) {
                    let scattered = number("events").unwrap_or_default();
                    let scattered = scattered.saturating_sub(numbers.count());
                    self.scattered = self.scattered.saturating_add(scattered);
                    within.iter().for_each(|range| {
                        self.within.add(range);
                    });
                }
                let known = self
                    .gaps
                    .entry(text("reason").unwrap_or("?".into()))
                    .or_default();
                numbers.iter().for_each(|range| {
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

    /// Missing numbers that records account for by how many there are: none if more are missing.
    pub fn counted(&self) -> Ranges {
        let open = self.missing().without(&self.owned());
        let within = open.without(&open.without(&self.within));
        let is_right = within.count() <= self.scattered;
        Some(within).filter(|_| is_right).unwrap_or_default()
    }

    /// Missing numbers that nothing explains.
    pub fn unexplained(&self) -> Ranges {
        let open = self.missing().without(&self.owned());
        open.without(&self.counted())
    }

    /// Records of which there are several with one number: two agents write this stream, or somebody else does. What a
    /// killed agent could not save before it sent it, the next start gives again; but then only that one gives any.
    pub fn conflicts(&self) -> Ranges {
        let next = self.identities.iter().skip(1);
        let pairs = self.identities.iter().zip(next);
        let same = pairs.filter(|((one, _), (other, _))| one == other);
        let mut same: Vec<_> = same.map(|((number, _), _)| *number).collect();
        for (first, moment) in &self.restarts {
            if same.last().is_none_or(|last| last < first) {
                continue;
            }
            let since = self
                .identities
                .iter()
                .filter(|(number, other)| number >= first && other >= moment);
            let since: Vec<_> = since.map(|(number, _)| *number).collect();
            // Otherwise, the agent from whose state this one continues still gives others.
            if since.windows(2).all(|pair| pair[1] - pair[0] < 2) {
                same.retain(|number| {
                    let found = &since[since.partition_point(|other| other < number)..];
                    found.first() != Some(number) || found.get(1) == Some(number)
                });
            }
        }
        let ranges = same.iter().map(|number| *number..number.saturating_add(1));
        ranges.collect()
    }

    /// How many of the numbers that should be there are.
    pub fn present(&self) -> u64 {
        let expected = self.expected();
        expected.count() - expected.without(&self.seen).count()
    }

    /// Records that are missing.
    pub fn lost_records(&self) -> Ranges {
        let all: Ranges = self.records.bounds().into_iter().collect();
        all.without(&self.records)
    }
}

#[cfg(test)]
mod tests;
