//! Bodies as each service wants them, made from the buffered lines: no event is parsed into a tree.

use std::fmt;
use std::str::FromStr;

use memchr::memchr_iter;

use crate::buffer::piece::Piece;
use crate::delivery::batch::Batch;
use crate::delivery::compression::Packed;
use crate::delivery::outcome::Overhead;
use crate::delivery::target::Numbering;
use crate::framer::walk;
use crate::text::choice::choose;
use crate::text::envelope::Envelope;
use crate::webhook::event_time::{EventTime, TimePath};
use crate::webhook::gzip::Gzip;
use crate::webhook::header::Header;
use crate::webhook::numbered::{FIELDS, Numbered};

/// What a body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An event a line: Splunk's raw endpoint, and most others.
    Ndjson,
    /// One JSON array.
    Array,
    /// One event a request, alone.
    Single,
    /// Splunk's event endpoint: an envelope around each event.
    Hec,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choose(
            text,
            &[
                ("ndjson", Format::Ndjson),
                ("array", Format::Array),
                ("single", Format::Single),
                ("hec", Format::Hec),
            ],
        )
    }
}

impl Format {
    /// The body's `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Ndjson => "application/x-ndjson",
            Format::Array | Format::Single | Format::Hec => "application/json",
        }
    }

    /// How many events a body may have.
    pub fn max_events(self) -> usize {
        match self {
            Format::Single => 1,
            Format::Ndjson | Format::Array | Format::Hec => usize::MAX,
        }
    }
}

/// Whether bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressed {
    /// As they are.
    No,
    /// With gzip, at this level, from 1 to 9.
    Gzip(u8),
}

impl FromStr for Compressed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let level = match text {
            "none" => return Ok(Compressed::No),
            "gzip" => "1",
            _ => text.strip_prefix("gzip:").unwrap_or_default(),
        };
        match level.parse() {
            Ok(level @ 1..=9) => Ok(Compressed::Gzip(level)),
            _ => Err("is not known; fix: use none, gzip, or gzip:1 to gzip:9".into()),
        }
    }
}

/// Makes bodies, one after the other.
#[derive(Clone)]
pub struct Encoder {
    around: Around,
    gzip: Option<Gzip>,
    /// The last body, unless it is just the lines.
    made: Piece,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoder({:?})", self.around.format)
    }
}

impl Encoder {
    /// Makes bodies of this format. `prefix` is a line before each event, or empty; `members` are those of HEC's
    /// envelope besides time and event.
    pub fn new(
        format: Format,
        compressed: Compressed,
        prefix: &str,
        members: &[(&str, &str)],
    ) -> Self {
        let member = |(name, value): &(&str, &str)| {
            let value = serde_json::Value::from(*value);
            ((*name).to_owned(), format!(",\"{name}\":{value}"))
        };
        let members: Vec<_> = members.iter().map(member).collect();
        let envelope_end = members.iter().map(|(_, text)| text.as_str());
        let envelope_end = envelope_end.chain(["}\n"]).collect::<String>();
        let end = if prefix.is_empty() { "" } else { "\n" };
        Encoder {
            around: Around {
                format,
                prefix: format!("{prefix}{end}").into(),
                members,
                envelope_end: envelope_end.into(),
                numbered: None,
                time_path: None,
                saw_event_without_time: false,
            },
            gzip: match compressed {
                Compressed::No => None,
                Compressed::Gzip(level) => Some(Gzip::new(level)),
            },
            made: Piece::default(),
        }
    }

    /// Where events say when they happened, instead of where the time is looked for otherwise.
    pub fn with_time_path(mut self, path: Option<TimePath>) -> Self {
        self.around.time_path = path;
        self
    }

    /// Whether the operator has said where the time is.
    pub fn has_time_path(&self) -> bool {
        self.around.time_path.is_some()
    }

    /// Has each event say which one it is: in HEC's `fields`, or in the `_id` of `_bulk`.
    pub fn number(&mut self, numbering: &Numbering) {
        self.around.numbered = Some(Numbered::new(
            numbering,
            self.around.format == Format::Hec,
            &self.around.prefix,
        ));
    }

    /// The headers that say which events a request has, where bodies can't.
    pub fn audit_headers(&self, events: &Batch) -> Vec<Header> {
        let numbered = self.around.numbered.as_ref();
        let headers = numbered.and_then(|numbered| numbered.headers(events));
        headers.into_iter().flatten().collect()
    }

    /// Whether an event was put into HEC's envelope without a time because none was found.
    pub fn saw_event_without_time(&self) -> bool {
        self.around.saw_event_without_time
    }

    /// What bodies look like.
    pub fn format(&self) -> Format {
        self.around.format
    }

    /// What they are compressed with, for the `Content-Encoding` header.
    pub fn content_encoding(&self) -> Option<&'static str> {
        self.gzip.as_ref().map(|_| "gzip")
    }

    /// Whether there is a line before each event.
    pub fn has_prefix(&self) -> bool {
        !self.around.prefix.is_empty()
    }

    /// What encoding adds to the events' bytes at most, before compression.
    pub fn overhead(&self) -> Overhead {
        let Around {
            format,
            prefix,
            envelope_end,
            numbered,
            ..
        } = &self.around;
        let number = numbered.as_ref().map_or(0, Numbered::bytes);
        match format {
            // A bracket or comma takes the place of each newline.
            Format::Array => Overhead {
                per_event: 0,
                per_body: 1,
            },
            Format::Hec => Overhead {
                per_event: LONGEST_HEC_START + envelope_end.len() + number,
                per_body: 0,
            },
            Format::Ndjson | Format::Single => Overhead {
                per_event: prefix.len() + number,
                per_body: 0,
            },
        }
    }

    /// Makes the body of these events, which [`body`](Self::body) then returns. If it is compressed, returns its size;
    /// beyond `max_bytes` only a part was compressed.
    pub fn encode(&mut self, events: &Batch, max_bytes: usize) -> Option<Packed> {
        let Encoder { around, gzip, made } = self;
        let mut bytes = std::mem::take(made).into_memory().unwrap_or_default();
        bytes.clear();
        // A body is in memory twice while it is sent; the memory of an unusually large one must not stay.
        bytes.shrink_to(KEPT);
        let packed = match gzip {
            None if around.is_plain() => None,
            None => {
                around.write(events, |piece| bytes.extend_from_slice(piece));
                None
            }
            Some(gzip) => {
                gzip.begin(std::mem::take(&mut bytes));
                around.write(events, |piece| {
                    if gzip.bytes() <= max_bytes {
                        gzip.add(piece);
                    }
                });
                let plain = gzip.end(&mut bytes);
                Some(Packed {
                    plain,
                    bytes: bytes.len(),
                })
            }
        };
        *made = bytes.into();
        packed
    }

    /// The body of these events, which were encoded last.
    pub fn body(&self, events: &Batch) -> Vec<Piece> {
        if self.gzip.is_none() && self.around.is_plain() {
            events.pieces().cloned().collect()
        } else {
            Vec::from([self.made.clone()])
        }
    }
}

/// The length of `{"time":…,"event":` with the longest time.
const LONGEST_HEC_START: usize = r#"{"time":18446744073709551.615,"event":"#.len();

/// How much memory stays for the next body, in bytes.
const KEPT: usize = 2 << 20;

/// What is around the events.
#[derive(Clone)]
struct Around {
    format: Format,
    /// A line before each event, with its newline, or nothing.
    prefix: Vec<u8>,
    /// Members of HEC's envelope besides time and event: the name, and `,"host":"…"`.
    members: Vec<(String, String)>,
    /// The end of HEC's envelope: these, `}` and a newline.
    envelope_end: Vec<u8>,
    numbered: Option<Numbered>,
    time_path: Option<TimePath>,
    saw_event_without_time: bool,
}

impl Around {
    /// Whether nothing is around them: a body is the lines as they are.
    fn is_plain(&self) -> bool {
        matches!(self.format, Format::Ndjson | Format::Single) && self.prefix.is_empty()
    }

    /// Passes on the pieces of a body.
    fn write(&mut self, events: &Batch, mut out: impl FnMut(&[u8])) {
        if self.is_plain() {
            return events.lines().for_each(out);
        }
        let mut before: &[u8] = b"[";
        for (lines, seqs) in events.lines().zip(events.seqs()) {
            let mut start = 0;
            if let Some(numbered) = &mut self.numbered {
                numbered.begin(seqs.start);
            }
            for end in memchr_iter(b'\n', lines) {
                let (event, line) = (&lines[start..end], &lines[start..=end]);
                start = end + 1;
                match self.format {
                    Format::Ndjson | Format::Single => {
                        match &mut self.numbered {
                            Some(numbered) => numbered.write_prefix(&self.prefix, &mut out),
                            None => out(&self.prefix),
                        }
                        out(line);
                    }
                    Format::Array => {
                        out(std::mem::replace(&mut before, b","));
                        out(event);
                    }
                    Format::Hec => match Envelope::of(event) {
                        Some(given) => self.complete(event, &given, &mut out),
                        None => self.wrap(event, &mut out),
                    },
                }
            }
        }
        if self.format == Format::Array {
            out(b"]");
        }
    }

    /// Puts HEC's envelope around an event.
    fn wrap(&mut self, event: &[u8], out: &mut impl FnMut(&[u8])) {
        match EventTime::of(event, self.time_path.as_ref()) {
            Some(time) => out(format!("{{\"time\":{time},\"event\":").as_bytes()),
            None => {
                self.saw_event_without_time = true;
                out(b"{\"event\":");
            }
        }
        out(event);
        if let Some(numbered) = &mut self.numbered {
            out(format!(",\"fields\":{{{}}}", numbered.fields()).as_bytes());
        }
        out(&self.envelope_end);
    }

    /// Adds to an envelope what its sender has not set.
    fn complete(&mut self, line: &[u8], given: &Envelope<'_>, out: &mut impl FnMut(&[u8])) {
        let line = line.strip_suffix(b"}").unwrap_or(line);
        match (&mut self.numbered, given.fields) {
            (None, _) => out(line),
            (Some(numbered), Some(own @ [b'{', ..])) => {
                let at = own.as_ptr() as usize - line.as_ptr() as usize;
                out(&line[..at]);
                out(format!("{{{}", numbered.fields()).as_bytes());
                // Numbers of its sender, as of an agent with a trail, would replace the new ones.
                let others = walk::members(own)
                    .filter(|(name, _)| !FIELDS.iter().any(|field| name.is(field.as_bytes())));
                for (name, value) in others {
                    let parts = [b",\"", name.raw(), b"\":", value];
                    parts.into_iter().for_each(&mut *out);
                }
                out(b"}");
                out(&line[at + own.len()..]);
            }
            (Some(numbered), _) => {
                out(line);
                out(format!(",\"fields\":{{{}}}", numbered.fields()).as_bytes());
            }
        }
        if !given.has("time")
            && let Some(time) = EventTime::of(given.event, self.time_path.as_ref())
        {
            out(format!(",\"time\":{time}").as_bytes());
        }
        for (name, text) in &self.members {
            if !given.has(name) {
                out(text.as_bytes());
            }
        }
        out(b"}\n");
    }
}

#[cfg(test)]
mod tests;
