//! Bodies as each service wants them, made from the buffered lines: no event is parsed into a tree.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use memchr::memchr_iter;

use crate::delivery::body::Body;
use crate::delivery::outcome::Overhead;
use crate::webhook::event_time::{EventTime, TimePath};
use crate::webhook::gzip::Gzip;

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
        match text {
            "ndjson" => Ok(Format::Ndjson),
            "array" => Ok(Format::Array),
            "single" => Ok(Format::Single),
            "hec" => Ok(Format::Hec),
            _ => Err("expected ndjson, array, single or hec".into()),
        }
    }
}

impl Format {
    /// What the body is called, in the `Content-Type` header.
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
        const WANTED: &str = "expected none, gzip, or gzip:1 to gzip:9";
        let level = match text {
            "none" => return Ok(Compressed::No),
            "gzip" => Ok(1),
            _ => text.strip_prefix("gzip:").unwrap_or_default().parse(),
        };
        match level {
            Ok(level @ 1..=9) => Ok(Compressed::Gzip(level)),
            _ => Err(WANTED.into()),
        }
    }
}

/// Makes bodies, one after the other.
pub struct Encoder {
    envelope: Envelope,
    gzip: Option<Gzip>,
    /// The last body, if it is not just the lines.
    made: Vec<u8>,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encoder({:?})", self.envelope.format)
    }
}

impl Encoder {
    /// For bodies of this format. `prefix` is a line before each event, or empty; `members` are those of HEC's
    /// envelope besides time and event.
    pub fn new(
        format: Format,
        compressed: Compressed,
        prefix: &str,
        members: &[(&str, &str)],
    ) -> Self {
        let mut end_of_envelope = String::new();
        for (name, value) in members {
            let value = serde_json::Value::from(*value);
            end_of_envelope += &format!(",\"{name}\":{value}");
        }
        end_of_envelope += "}\n";
        let end = if prefix.is_empty() { "" } else { "\n" };
        Encoder {
            envelope: Envelope {
                format,
                prefix: format!("{prefix}{end}").into(),
                envelope: end_of_envelope.into(),
                time_path: None,
                saw_event_without_time: false,
            },
            gzip: match compressed {
                Compressed::No => None,
                Compressed::Gzip(level) => Some(Gzip::new(level)),
            },
            made: Vec::new(),
        }
    }

    /// Where events say when they happened, if not where it is looked for otherwise.
    pub fn with_time_path(mut self, path: Option<TimePath>) -> Self {
        self.envelope.time_path = path;
        self
    }

    /// Whether an event was put into HEC's envelope without a time, since none was found.
    pub fn saw_event_without_time(&self) -> bool {
        self.envelope.saw_event_without_time
    }

    /// What bodies look like.
    pub fn format(&self) -> Format {
        self.envelope.format
    }

    /// What they are compressed with, in the `Content-Encoding` header.
    pub fn content_encoding(&self) -> Option<&'static str> {
        self.gzip.as_ref().map(|_| "gzip")
    }

    /// Whether there is a line before each event.
    pub fn has_prefix(&self) -> bool {
        !self.envelope.prefix.is_empty()
    }

    /// What this adds to the events' bytes at most, before compression.
    pub fn overhead(&self) -> Overhead {
        let Envelope {
            format,
            prefix,
            envelope,
            ..
        } = &self.envelope;
        match format {
            // A bracket or comma takes the place of each newline.
            Format::Array => Overhead {
                per_event: 0,
                per_body: 1,
            },
            Format::Hec => Overhead {
                per_event: LONGEST_HEC_START + envelope.len(),
                per_body: 0,
            },
            Format::Ndjson | Format::Single => Overhead {
                per_event: prefix.len(),
                per_body: 0,
            },
        }
    }

    /// Makes the body of these events, which [`body`](Self::body) gives then.
    pub fn encode(&mut self, events: &Body<'_>) {
        let Encoder {
            envelope,
            gzip,
            made,
        } = self;
        made.clear();
        // A body is in memory twice while it is sent; one of unusual size must not stay.
        made.shrink_to(KEPT);
        match gzip {
            None if envelope.is_plain() => {}
            None => envelope.write(events, |piece| made.extend_from_slice(piece)),
            Some(gzip) => {
                gzip.begin(made);
                envelope.write(events, |piece| gzip.add(piece, made));
                gzip.end(made);
            }
        }
    }

    /// The body of these events, which were encoded last.
    pub fn body<'a>(&'a self, events: &'a Body<'a>) -> Encoded<'a> {
        if self.gzip.is_none() && self.envelope.is_plain() {
            Encoded::Lines(events)
        } else {
            Encoded::Made(&self.made)
        }
    }
}

/// The length of `{"time":…,"event":` with the longest time.
const LONGEST_HEC_START: usize = r#"{"time":18446744073709551.615,"event":"#.len();

/// What stays for the next body, in bytes.
const KEPT: usize = 2 << 20;

/// What is around the events.
struct Envelope {
    format: Format,
    /// A line before each event, with its newline, or nothing.
    prefix: Vec<u8>,
    /// The end of HEC's envelope: `,"host":"…"}` and a newline.
    envelope: Vec<u8>,
    time_path: Option<TimePath>,
    saw_event_without_time: bool,
}

impl Envelope {
    /// Nothing: a body is the lines as they are.
    fn is_plain(&self) -> bool {
        matches!(self.format, Format::Ndjson | Format::Single) && self.prefix.is_empty()
    }

    /// Hands on the pieces of a body.
    fn write(&mut self, events: &Body<'_>, mut out: impl FnMut(&[u8])) {
        if self.is_plain() {
            return events.slices().iter().for_each(|lines| out(lines));
        }
        let mut before: &[u8] = b"[";
        for lines in events.slices() {
            let mut start = 0;
            for end in memchr_iter(b'\n', lines) {
                let (event, line) = (&lines[start..end], &lines[start..=end]);
                start = end + 1;
                match self.format {
                    Format::Ndjson | Format::Single => {
                        out(&self.prefix);
                        out(line);
                    }
                    Format::Array => {
                        out(std::mem::replace(&mut before, b","));
                        out(event);
                    }
                    Format::Hec => {
                        match EventTime::of(event, self.time_path.as_ref()) {
                            Some(time) => {
                                out(format!("{{\"time\":{time},\"event\":").as_bytes());
                            }
                            None => {
                                self.saw_event_without_time = true;
                                out(b"{\"event\":");
                            }
                        }
                        out(event);
                        out(&self.envelope);
                    }
                }
            }
        }
        if self.format == Format::Array {
            out(b"]");
        }
    }
}

/// A body, ready to be sent.
#[derive(Debug)]
pub enum Encoded<'a> {
    /// The events' lines as they are.
    Lines(&'a Body<'a>),
    /// Bytes that were made of them.
    Made(&'a [u8]),
}

impl<'a> Encoded<'a> {
    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Encoded::Lines(events) => events.extent().bytes,
            Encoded::Made(bytes) => bytes.len(),
        }
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> Box<dyn Read + 'a> {
        match self {
            Encoded::Lines(events) => Box::new(events.reader()),
            Encoded::Made(bytes) => Box::new(*bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;
    use std::io::Read;

    use super::*;
    use crate::buffer::chunk::Extent;

    /// What is made of these events, in chunks of some.
    fn encode(encoder: &mut Encoder, events: &[String]) -> Vec<u8> {
        let pieces: Vec<String> = events
            .chunks(3)
            .map(|events| events.iter().map(|event| format!("{event}\n")).collect())
            .collect();
        let slices: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        let extent = Extent {
            events: events.len(),
            bytes: slices.concat().len(),
        };
        let body = Body::new(extent, slices);
        encoder.encode(&body);
        let encoded = encoder.body(&body);
        let mut bytes = Vec::new();
        encoded.reader().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), encoded.bytes());
        bytes
    }

    fn text(encoder: &mut Encoder, events: &[&str]) -> String {
        let events: Vec<_> = events.iter().map(ToString::to_string).collect();
        String::from_utf8(encode(encoder, &events)).unwrap()
    }

    fn plain(format: Format) -> Encoder {
        Encoder::new(format, Compressed::No, "", &[])
    }

    #[test]
    fn each_format_has_its_shape() {
        let events = [r#"{"n":1}"#, r#"{"n":2}"#];
        assert_eq!(
            text(&mut plain(Format::Ndjson), &events),
            "{\"n\":1}\n{\"n\":2}\n"
        );
        assert_eq!(
            text(&mut plain(Format::Array), &events),
            r#"[{"n":1},{"n":2}]"#
        );
        assert_eq!(
            text(&mut plain(Format::Array), &events[..1]),
            r#"[{"n":1}]"#
        );
        assert_eq!(
            text(&mut plain(Format::Single), &events[..1]),
            "{\"n\":1}\n"
        );
        let members = [("host", "a\"b"), ("index", "audit")];
        let mut hec = Encoder::new(Format::Hec, Compressed::No, "", &members);
        text(&mut hec, &[r#"{"time":1774075049}"#]);
        assert!(!hec.saw_event_without_time());
        assert_eq!(
            text(&mut hec, &[r#"{"time":1774075049}"#, r#"{"n":2}"#]),
            "{\"time\":1774075049.000,\"event\":{\"time\":1774075049},\"host\":\"a\\\"b\",\"index\":\"audit\"}\n\
             {\"event\":{\"n\":2},\"host\":\"a\\\"b\",\"index\":\"audit\"}\n"
        );
        assert!(hec.saw_event_without_time());
        let mut hec = hec.with_time_path("meta.when".parse().ok());
        assert_eq!(
            text(&mut hec, &[r#"{"time":1,"meta":{"when":1774075049}}"#]),
            "{\"time\":1774075049.000,\"event\":{\"time\":1,\"meta\":{\"when\":1774075049}},\"host\":\"a\\\"b\",\"index\":\"audit\"}\n"
        );
        let mut bulk = Encoder::new(Format::Ndjson, Compressed::No, "{\"create\":{}}", &[]);
        assert_eq!(
            text(&mut bulk, &events),
            "{\"create\":{}}\n{\"n\":1}\n{\"create\":{}}\n{\"n\":2}\n"
        );
    }

    #[test]
    fn words_are_read() {
        assert_eq!("gzip".parse(), Ok(Compressed::Gzip(1)));
        assert_eq!("gzip:9".parse(), Ok(Compressed::Gzip(9)));
        assert_eq!("none".parse(), Ok(Compressed::No));
        for text in [
            "", "gzip:0", "gzip:10", "gzip:", "gzip:x", "none:2", "zstd", "3",
        ] {
            assert!(text.parse::<Compressed>().is_err(), "{text}");
        }
        assert!("xml".parse::<Format>().is_err());
    }

    proptest! {
        /// Whatever the format, each event comes out whole, once, in order; and gzip changes nothing.
        #[test]
        fn nothing_is_lost(
            contents in vec("[a-z\"\\\\{}, ]{0,30}", 1..20),
            format in prop_oneof![Just(Format::Ndjson), Just(Format::Array), Just(Format::Hec)],
            level in 0_u8..10,
        ) {
            let events: Vec<Value> = contents.iter().map(|text| serde_json::json!({ "k": text })).collect();
            let lines: Vec<_> = events.iter().map(ToString::to_string).collect();
            let compressed = if level == 0 { Compressed::No } else { Compressed::Gzip(level) };
            let mut encoder = Encoder::new(format, compressed, "", &[("host", "h")]);
            for _ in 0..2 {
                let mut bytes = encode(&mut encoder, &lines);
                let raw: usize = lines.iter().map(|line| line.len() + 1).sum();
                let Overhead { per_event, per_body } = encoder.overhead();
                prop_assert!(level > 0 || bytes.len() <= raw + lines.len() * per_event + per_body);
                if level > 0 {
                    let mut plain = Vec::new();
                    GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
                    bytes = plain;
                }
                let values: Vec<Value> = serde_json::Deserializer::from_slice(&bytes)
                    .into_iter()
                    .collect::<Result<_, _>>()
                    .unwrap();
                let found = match format {
                    Format::Array => values[0].as_array().unwrap().clone(),
                    Format::Hec => values.iter().map(|value| value["event"].clone()).collect(),
                    _ => values,
                };
                prop_assert_eq!(&found, &events);
            }
        }
    }
}
