//! How requests say which events they contain, if there is a trail: `audit_stream` and `audit_seq` in the fields of
//! HEC's envelope, an `_id` in the lines of `_bulk`, and otherwise headers.
//!
//! The `_id` also says which start of the agent numbered the event: an event that has it already (409) counts as
//! delivered, so no other agent may ever use it, not even one that continues from a copy of the same state directory.

use ureq::http::{HeaderName, HeaderValue};

use crate::buffer::acks::Seq;
use crate::delivery::batch::Batch;
use crate::delivery::target::Numbering;
use crate::framer::walk;
use crate::text::ranges::Ranges;
use crate::webhook::header::Header;

/// With more ranges than this, the header has the first and the last number and how many there are: servers limit the
/// length of a header.
const MAX_RANGES: usize = 100;
/// The members of HEC's `fields`.
pub(super) const FIELDS: [&str; 2] = ["audit_stream", "audit_seq"];

/// Digits of the longest number.
const DIGITS: usize = 20;

/// Numbers one event after the other.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    numbering: Numbering,
    next: u64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Fields,
    /// Where in the line before each event the `_id` goes, and what follows it.
    Id(usize, &'static str),
    Headers,
}

impl Numbered {
    pub(super) fn new(numbering: &Numbering, is_hec: bool, prefix: &[u8]) -> Self {
        let kind = match id_place(prefix) {
            _ if is_hec => Kind::Fields,
            Some((at, behind)) => Kind::Id(at, behind),
            None => Kind::Headers,
        };
        Numbered {
            numbering: numbering.clone(),
            next: 0,
            kind,
        }
    }

    /// The next event has this number.
    pub(super) fn begin(&mut self, seq: Seq) {
        self.next = self.numbering.base + seq;
    }

    fn next(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// The members of the next event's `fields`.
    pub(super) fn fields(&mut self) -> String {
        let number = self.next();
        let stream = &self.numbering.stream;
        let [of_stream, of_number] = FIELDS;
        format!("\"{of_stream}\":\"{stream}\",\"{of_number}\":{number}")
    }

    /// The line before the next event.
    pub(super) fn write_prefix(&mut self, prefix: &[u8], out: &mut impl FnMut(&[u8])) {
        let Kind::Id(at, behind) = self.kind else {
            return out(prefix);
        };
        let number = self.next();
        out(&prefix[..at]);
        let Numbering { stream, start, .. } = &self.numbering;
        out(format!("\"_id\":\"{stream}-{number}-{start:08x}\"{behind}").as_bytes());
        out(&prefix[at..]);
    }

    /// What this adds to an event at most.
    pub(super) fn bytes(&self) -> usize {
        let stream = self.numbering.stream.len();
        match self.kind {
            Kind::Fields => {
                r#","fields":{"audit_stream":"","audit_seq":},"#.len() + stream + DIGITS
            }
            Kind::Id(..) => r#""_id":"--00000000","#.len() + stream + DIGITS,
            Kind::Headers => 0,
        }
    }

    /// The headers of a request with these events.
    pub(super) fn headers(&self, events: &Batch) -> Option<[Header; 2]> {
        let Kind::Headers = self.kind else {
            return None;
        };
        let base = self.numbering.base;
        let seqs = events.seqs();
        let mut numbers: Ranges = seqs
            .map(|seqs| base + seqs.start..base + seqs.end)
            .collect();
        let mut events = String::new();
        if numbers.len() > MAX_RANGES {
            events = format!(";events={}", numbers.count());
            numbers = Ranges::from_iter(numbers.bounds());
        }
        Some([
            header("x-audit-stream", &self.numbering.stream)?,
            header("x-audit-seq", &format!("{numbers}{events}"))?,
        ])
    }
}

fn header(name: &'static str, value: &str) -> Option<Header> {
    let value = HeaderValue::from_str(value).ok()?;
    Some((HeaderName::from_static(name), value))
}

/// Where a line such as `{"create":{}}` has room for an `_id`.
fn id_place(prefix: &[u8]) -> Option<(usize, &'static str)> {
    let (name, value) = walk::members(prefix.trim_ascii()).next()?;
    let takes_id = name.is(b"create") || name.is(b"index");
    let inner = value.strip_prefix(b"{").filter(|_| takes_id)?;
    if walk::members(value).any(|(name, _)| name.is(b"_id")) {
        return None;
    }
    let is_empty = inner.trim_ascii_start().starts_with(b"}");
    let at = inner.as_ptr() as usize - prefix.as_ptr() as usize;
    Some((at, if is_empty { "" } else { "," }))
}
