//! One message of the fluent forward protocol
//! (<https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>), in its two forms:
//!
//! | mode | message |
//! |---|---|
//! | Message | `[tag, time, record, option]` |
//! | Forward | `[tag, [[time, record], …], option]` |
//! | PackedForward, CompressedPackedForward | `[tag, entries, option]`, `entries` being MessagePack in a string |
//!
//! The option may be missing. Tag and times are not looked at: the records tell their time themselves.

use super::head::{Head, split_value};
use crate::framer::walk::elements;

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
    /// What the client waits for, ready to be sent, if it wants an acknowledgement.
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

/// Where the record of the entry begins that `entries` begin with, in MessagePack. It ends with the entry.
pub fn record_at(entries: &[u8]) -> Option<&[u8]> {
    let (Head::Array(2), parts) = head_and_rest(entries)? else {
        return None;
    };
    let (_, record) = split_value(parts)?;
    is_map(record).then_some(record)
}

/// How many events a message has, as far as its option says so: 1 if it does not.
pub fn events_by_option(option: &[u8]) -> usize {
    /// More than that would not fit into a message that any client makes.
    const MAX: u64 = 1 << 20;
    match member(option, b"size").and_then(head_and_rest) {
        Some((Head::Unsigned(size), _)) => size.clamp(1, MAX) as usize,
        _ => 1,
    }
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
    let compressed = option.and_then(|option| member(option, b"compressed"));
    match compressed.and_then(text) {
        None | Some(b"" | b"text") => Entries::Many(packed),
        Some(b"gzip") => Entries::Gzip(packed),
        Some(_) => Entries::Unknown,
    }
}

/// The option, if there is one, is a map or nothing, and the last part.
fn is_option(option: Option<&[u8]>, behind: Option<&[u8]>) -> bool {
    option.is_none_or(|option| option == [0xc0] || is_map(option)) && behind.is_none()
}

fn is_time(head: Head) -> bool {
    matches!(
        head,
        Head::Unsigned(_) | Head::Signed(_) | Head::Float32(_) | Head::Float64(_) | Head::Ext(..)
    )
}

fn is_map(value: &[u8]) -> bool {
    matches!(head_and_rest(value), Some((Head::Map(_), _)))
}

/// What a string says.
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
    let is_option = |option: Option<&[u8]>| option.is_none_or(|option| option.starts_with(b"{"));
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
        (Some([b'"', ..]), Some([b'0'..=b'9' | b'-', ..]), Some(record @ [b'{', ..]))
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

fn json_ack_of(option: &[u8]) -> Option<Vec<u8>> {
    let option: serde_json::Value = serde_json::from_slice(option).ok()?;
    let chunk = option.get("chunk").filter(|chunk| chunk.is_string())?;
    Some(serde_json::json!({ "ack": chunk }).to_string().into_bytes())
}

/// The acknowledgement that a message in JSON asks for of which only the end is left.
pub fn json_ack_at_end(tail: &[u8]) -> Option<Vec<u8>> {
    let start = tail.iter().rposition(|byte| *byte == b'{')?;
    let option = tail.get(start..)?.trim_ascii_end().strip_suffix(b"]")?;
    json_ack_of(option)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(record: &[u8], ack: Option<&str>) -> (Vec<u8>, Option<Vec<u8>>) {
        (record.to_vec(), ack.map(|ack| ack.as_bytes().to_vec()))
    }

    fn one(parsed: Parsed<'_>) -> (Vec<u8>, Option<Vec<u8>>) {
        match parsed {
            Parsed::Events(Events {
                entries: Entries::Record(record),
                ack,
            }) => (record.to_vec(), ack),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_in_json_holds_one_event() {
        let tagged = r#"["a.b",1795326382,{"k":"]},{\""},{}]"#;
        let parsed = one(parse_json(tagged.as_bytes()));
        assert_eq!(parsed, record(br#"{"k":"]},{\""}"#, None));
        let spaced = "[ \"a\\\"\\\\\" , 1.5 ,\n{ } , { \"chunk\" : \"p8n9==\" } ]";
        let parsed = one(parse_json(spaced.as_bytes()));
        assert_eq!(parsed, record(b"{ }", Some(r#"{"ack":"p8n9=="}"#)));
        assert_eq!(one(parse_json(br#"["",0,{}]"#)), record(b"{}", None));
    }

    #[test]
    fn a_message_in_json_may_hold_many() {
        let many = br#"["t", [[1,{"a":1}], [2, {"b":[{}]}]] ,{"chunk":"c\n"}]"#;
        let Parsed::Events(Events {
            entries: Entries::Many(entries),
            ack,
        }) = parse_json(many)
        else {
            panic!()
        };
        assert_eq!(ack.unwrap(), br#"{"ack":"c\n"}"#);
        let records: Vec<_> = elements(entries).map(json_record_of).collect();
        assert_eq!(records, [Some(&br#"{"a":1}"#[..]), Some(br#"{"b":[{}]}"#)]);
        for entry in ["[1]", "[1,2]", "[1,{},3]", "{}", "1", "[]"] {
            assert_eq!(json_record_of(entry.as_bytes()), None, "{entry}");
        }
    }

    #[test]
    fn the_chunk_of_a_message_in_json_is_found_at_its_end() {
        let tail = b"xx\"},{\"n\":1}},{\"chunk\":\"p8n9==\"} ]\n";
        let ack = json_ack_at_end(tail);
        assert_eq!(ack.as_deref(), Some(&br#"{"ack":"p8n9=="}"#[..]));
        for none in [
            "",
            "x\"},{}]",
            "{\"chunk\":\"a\"}}]",
            "{\"chunk\":\"a\"}",
            "{\"chunk\":1}]",
        ] {
            assert_eq!(json_ack_at_end(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_message_is_known() {
        for other in [
            "[]",
            "[1,2]",
            r#"["t",1]"#,
            r#"["t",1,2]"#,
            r#"["t",1,{},{},{}]"#,
            r#"["t",[],{},{}]"#,
            r#"["t","k9MB",{"size":1}]"#,
            r#"[{"a":1}]"#,
        ] {
            assert_eq!(parse_json(other.as_bytes()), Parsed::Other, "{other}");
        }
        for other in [
            &b"\x01"[..],
            b"\x90",
            b"\x80",
            b"\x92\xa1t\x01",
            b"\x93\xa1t\x01\x02",
            b"\x93\xa1t\xc0\x80",
            b"\x93\x01\x01\x80",
            b"\x94\xa1t\x01\x80\x01",
            b"\x95\xa1t\x01\x80\x80\x80",
            b"\x94\xa1t\x90\x80\x80",
            b"\x93\xa1t\xa0\x01",
        ] {
            assert_eq!(parse_msgpack(other), Parsed::Other, "{other:x?}");
        }
    }

    #[test]
    fn a_client_that_wants_a_handshake_is_known() {
        let ping = b"\x96\xa4PING\xa1h\xa1s\xa1d\xa0\xa0";
        assert_eq!(parse_msgpack(ping), Parsed::Handshake);
        let ping = br#"["PING","h","s","d","",""]"#;
        assert_eq!(parse_json(ping), Parsed::Handshake);
        assert_eq!(parse_msgpack(b"\xc0"), Parsed::Heartbeat);
    }

    #[test]
    fn a_message_in_messagepack_holds_one_event() {
        let chunk = b"\x81\xa5chunk\xa3abc".as_slice();
        for time in [
            &b"\x01"[..],
            b"\xce\x6b\x02\x81\xef",
            b"\xd7\x00\0\0\0\x01\0\0\0\x02",
        ] {
            let start = [b"\xa1t", time, b"\x81\xa1a\x01"].concat();
            let message = [b"\x93", &start[..]].concat();
            assert_eq!(one(parse_msgpack(&message)), record(b"\x81\xa1a\x01", None));
            for option in [&b"\xc0"[..], b"\x80", b"\x81\xa5chunk\x01"] {
                let message = [b"\x94", &start[..], option].concat();
                assert_eq!(one(parse_msgpack(&message)), record(b"\x81\xa1a\x01", None));
            }
            let message = [b"\x94", &start[..], chunk].concat();
            let (_, ack) = one(parse_msgpack(&message));
            assert_eq!(ack.as_deref(), Some(&b"\x81\xa3ack\xa3abc"[..]));
        }
    }

    #[test]
    fn the_modes_with_many_events_are_told_apart() {
        let entries_of = |message: &'static [u8]| match parse_msgpack(message) {
            Parsed::Events(events) => events.entries,
            other => panic!("{other:?}"),
        };
        let entry = b"\x92\x01\x80";
        for (message, entries) in [
            (&b"\x92\xa1t\x91\x92\x01\x80"[..], Entries::Many(entry)),
            (b"\x92\xa1t\x90", Entries::Many(b"")),
            (b"\x93\xa1t\xc4\x03\x92\x01\x80\x80", Entries::Many(entry)),
            (b"\x92\xa1t\xa3\x92\x01\x80", Entries::Many(entry)),
            (
                b"\x93\xa1t\xa1x\x81\xaacompressed\xa4text",
                Entries::Many(b"x"),
            ),
            (
                b"\x93\xa1t\xa1x\x81\xaacompressed\xa4gzip",
                Entries::Gzip(b"x"),
            ),
            (
                b"\x93\xa1t\xa1x\x81\xaacompressed\xa4zstd",
                Entries::Unknown,
            ),
        ] {
            assert_eq!(entries_of(message), entries, "{message:x?}");
        }
        assert_eq!(record_at(b"\x92\x01\x80\xc0"), Some(&b"\x80\xc0"[..]));
        // A client's metadata comes with the time.
        assert_eq!(record_at(b"\x92\x92\x01\x80\x80"), Some(&b"\x80"[..]));
        for entry in [
            &b"\x80"[..],
            b"\x91\x80",
            b"\x92\x01\x02",
            b"\x93\x01\x80\x80",
            b"",
        ] {
            assert_eq!(record_at(entry), None, "{entry:x?}");
        }
    }

    #[test]
    fn the_size_of_a_lost_message_is_what_its_option_says() {
        for (option, events) in [
            (&b"\x80"[..], 1),
            (b"\x81\xa4size\x05", 5),
            (b"\x81\xa4size\x00", 1),
            (b"\x81\xa4size\xff", 1),
            (b"\x82\xa5chunk\xa1a\xa4size\xcd\x01\x00", 256),
            (b"\x81\xa4size\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 1 << 20),
        ] {
            assert_eq!(events_by_option(option), events, "{option:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            parse_json(&bytes);
            json_ack_at_end(&bytes);
            parse_msgpack(&bytes);
            ack_of(&bytes);
            record_at(&bytes);
        }
    }
}
