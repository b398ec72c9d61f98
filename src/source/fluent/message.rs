//! One message of the fluent forward protocol
//! (<https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>), in its two forms:
//!
//! | mode | message |
//! |---|---|
//! | Message | `[tag, time, record, option]` |
//! | Forward | `[tag, [[time, record], …], option]` |
//! | PackedForward, CompressedPackedForward | `[tag, entries, option]`, `entries` being MessagePack in a string |
//!
//! The option may be missing. Tag and times are ignored: the records have their own times.

use super::head::{Head, split_value};
use crate::framer::walk::{elements, members};

/// What a message is.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// It carries events.
    Events(Events<'a>),
    /// A client shows that it is there.
    Heartbeat,
    /// A client wants to show that it knows a shared key.
    Handshake,
    /// No message.
    Other,
}

/// A message with events.
#[derive(Debug, PartialEq, Eq)]
pub struct Events<'a> {
    /// The events.
    pub entries: Entries<'a>,
    /// The acknowledgement, ready to be sent, if the client wants one.
    pub ack: Option<Vec<u8>>,
}

/// The events of a message, as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entries<'a> {
    /// One record.
    Record(&'a [u8]),
    /// Entries of a time and a record each; in MessagePack end to end, in JSON an array.
    Many(&'a [u8]),
    /// The same, compressed with gzip.
    Gzip(&'a [u8]),
    /// The same, compressed in a way that the agent does not know.
    Unknown,
}

/// Reads a message in MessagePack, which must be one whole value.
pub fn parse_msgpack(message: &[u8]) -> Parsed<'_> {
    if message == [0xc0] {
        return Parsed::Heartbeat;
    }
    let Some((head @ Head::Array(_), parts)) = head_and_rest(message) else {
        return Parsed::Other;
    };
    let mut parts = Parts(parts);
    let [tag, second, third, fourth] = [parts.next(), parts.next(), parts.next(), parts.next()];
    match (tag.and_then(text), second.and_then(head_and_rest)) {
        (Some(b"PING"), _) if head == Head::Array(6) => Parsed::Handshake,
        (Some(_), Some((Head::Array(_), entries))) if is_option(third, fourth) => {
            events(Entries::Many(entries), third)
        }
        (Some(_), Some((Head::Str(_) | Head::Bin(_), packed))) if is_option(third, fourth) => {
            events(unpacked(packed, third), third)
        }
        (Some(_), Some((time, _))) if is_time(time) && is_option(fourth, parts.next()) => {
            match third {
                Some(record) if is_map(record) => events(Entries::Record(record), fourth),
                _ => Parsed::Other,
            }
        }
        _ => Parsed::Other,
    }
}

/// From the record of the first entry in `entries` on, in MessagePack. The record ends with the entry.
pub fn record_at(entries: &[u8]) -> Option<&[u8]> {
    let (Head::Array(2), parts) = head_and_rest(entries)? else {
        return None;
    };
    let (_, record) = split_value(parts)?;
    is_map(record).then_some(record)
}

/// The beginning of a message; the rest may not have arrived yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// How many bytes come before the events.
    pub length: usize,
    /// What comes then.
    pub body: Body,
    /// An option comes after that.
    pub has_option: bool,
}

/// How events are in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// One record.
    Record,
    /// This many entries.
    Entries(u32),
    /// Entries in a string of this many bytes.
    Packed(usize),
}

/// Reads the beginning of a message in MessagePack, if it is one with events.
pub fn opening(message: &[u8]) -> Option<Opening> {
    let (Head::Array(parts), rest) = head_and_rest(message)? else {
        return None;
    };
    let (tag, second) = split_value(rest)?;
    text(tag)?;
    let (body, rest, usual) = match head_and_rest(second)? {
        (Head::Array(count), rest) => (Body::Entries(count), rest, 2),
        (Head::Str(length) | Head::Bin(length), rest) => (Body::Packed(length), rest, 2),
        (time, _) if is_time(time) => (Body::Record, split_value(second)?.1, 3),
        _ => return None,
    };
    (parts == usual || parts == usual + 1).then_some(Opening {
        length: message.len() - rest.len(),
        body,
        has_option: parts > usual,
    })
}

/// The acknowledgement asked for by something that is not a message, but has an option at its end like one.
pub fn ack_at_end(other: &[u8]) -> Option<Vec<u8>> {
    let (Head::Array(_), parts) = head_and_rest(other)? else {
        return None;
    };
    ack_of(Parts(parts).last()?)
}

/// The same in JSON.
pub fn json_ack_at_end(other: &[u8]) -> Option<Vec<u8>> {
    json_ack_of(elements(other).last()?)
}

/// The acknowledgement that a message's option asks for.
pub fn ack_of(option: &[u8]) -> Option<Vec<u8>> {
    let chunk = member(option, b"chunk").filter(|chunk| text(chunk).is_some())?;
    Some([b"\x81\xa3ack", chunk].concat())
}

fn events<'a>(entries: Entries<'a>, option: Option<&[u8]>) -> Parsed<'a> {
    let ack = option.and_then(ack_of);
    Parsed::Events(Events { entries, ack })
}

fn unpacked<'a>(packed: &'a [u8], option: Option<&[u8]>) -> Entries<'a> {
    match option.and_then(compression) {
        Some(b"gzip") => Entries::Gzip(packed),
        _ if option.is_some_and(is_unknown_compression) => Entries::Unknown,
        _ => Entries::Many(packed),
    }
}

/// What the entries are compressed with, as a message's option says.
fn compression(option: &[u8]) -> Option<&[u8]> {
    text(member(option, b"compressed")?)
}

/// Whether they are compressed in a way that the agent does not know.
pub fn is_unknown_compression(option: &[u8]) -> bool {
    !matches!(compression(option), None | Some(b"" | b"text" | b"gzip"))
}

/// Whether the option, if there is one, is a map or nil, and the last part.
fn is_option(option: Option<&[u8]>, behind: Option<&[u8]>) -> bool {
    option.is_none_or(|option| option == [0xc0] || is_map(option)) && behind.is_none()
}

/// Some clients leave the time to the server: nil.
fn is_time(head: Head) -> bool {
    use Head::{Ext, Float32, Float64, Nil, Signed, Unsigned};
    matches!(
        head,
        Unsigned(_) | Signed(_) | Float32(_) | Float64(_) | Ext(..) | Nil
    )
}

fn is_map(value: &[u8]) -> bool {
    matches!(head_and_rest(value), Some((Head::Map(_), _)))
}

/// The content of a string.
fn text(value: &[u8]) -> Option<&[u8]> {
    match head_and_rest(value)? {
        (Head::Str(_) | Head::Bin(_), text) => Some(text),
        _ => None,
    }
}

fn head_and_rest(value: &[u8]) -> Option<(Head, &[u8])> {
    let (head, length) = Head::read(value).ok()??;
    Some((head, value.get(length..)?))
}

/// The value of a map's member.
fn member<'a>(map: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (Head::Map(_), parts) = head_and_rest(map)? else {
        return None;
    };
    let mut parts = Parts(parts);
    while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
        if text(key) == Some(name) {
            return Some(value);
        }
    }
    None
}

/// Values end to end. Ends early at one that is malformed or not whole.
#[derive(Debug)]
struct Parts<'a>(&'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (value, rest) = split_value(self.0)?;
        self.0 = rest;
        Some(value)
    }
}

/// Reads a message in JSON, which must be one well-formed array.
pub fn parse_json(message: &[u8]) -> Parsed<'_> {
    let mut parts = elements(message);
    let [tag, second, third, fourth] = [parts.next(), parts.next(), parts.next(), parts.next()];
    let is_option = |option: Option<&[u8]>| {
        option.is_none_or(|option| option == b"null" || option.starts_with(b"{"))
    };
    let events = |entries, option: Option<&[u8]>| {
        let ack = option.and_then(json_ack_of);
        Parsed::Events(Events { entries, ack })
    };
    match (tag, second, third) {
        (Some(br#""PING""#), ..) if parts.nth(1).is_some() && parts.next().is_none() => {
            Parsed::Handshake
        }
        (Some([b'"', ..]), Some(entries @ [b'[', ..]), option)
            if is_option(option) && fourth.is_none() =>
        {
            events(Entries::Many(entries), option)
        }
        (Some([b'"', ..]), Some([b'0'..=b'9' | b'-' | b'n', ..]), Some(record @ [b'{', ..]))
            if is_option(fourth) && parts.next().is_none() =>
        {
            events(Entries::Record(record), fourth)
        }
        _ => Parsed::Other,
    }
}

/// The record of an entry in JSON.
pub fn json_record_of(entry: &[u8]) -> Option<&[u8]> {
    let mut parts = elements(entry);
    let record = parts.nth(1).filter(|record| record.starts_with(b"{"))?;
    parts.next().is_none().then_some(record)
}

/// An option may have as many members as a message has bytes, and no tree is built of them.
fn json_ack_of(option: &[u8]) -> Option<Vec<u8>> {
    let chunks = members(option).filter(|(name, _)| name.is(b"chunk"));
    let chunk: String = serde_json::from_slice(chunks.last()?.1).ok()?;
    Some(serde_json::json!({ "ack": chunk }).to_string().into_bytes())
}

#[cfg(test)]
mod tests;
