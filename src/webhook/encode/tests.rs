use flate2::read::GzDecoder;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use std::io::Read;

use super::*;
use crate::buffer::chunk::Chunk;
use crate::buffer::run::Run;

/// The body made of these events, with a few in each chunk.
fn encode(encoder: &mut Encoder, events: &[String]) -> Vec<u8> {
    let (mut batch, mut next) = (Batch::default(), 1000);
    for events in events.chunks(3) {
        let lines = events.iter().map(|event| format!("{event}\n"));
        let chunk = Chunk {
            bytes: lines.collect::<String>().into_bytes(),
            events: events.len(),
        };
        batch.push(Run::new(chunk, next));
        // One number is left out between two chunks.
        next += events.len() as u64 + 1;
    }
    encoder.encode(&batch, usize::MAX);
    let pieces = encoder.body(&batch);
    pieces.iter().flat_map(|piece| piece.to_vec()).collect()
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
    assert_eq!(
        text(&mut hec, &[r#"{"time":1774075049}"#, r#"{"n":2}"#]),
        "{\"time\":1774075049.000,\"event\":{\"time\":1774075049},\"host\":\"a\\\"b\",\"index\":\"audit\"}\n\
         {\"event\":{\"n\":2},\"host\":\"a\\\"b\",\"index\":\"audit\"}\n"
    );
    let mut bulk = Encoder::new(Format::Ndjson, Compressed::No, "{\"create\":{}}", &[]);
    assert_eq!(
        text(&mut bulk, &events),
        "{\"create\":{}}\n{\"n\":1}\n{\"create\":{}}\n{\"n\":2}\n"
    );
}

#[test]
fn a_time_is_found_where_it_is_said_to_be() {
    let mut hec = Encoder::new(Format::Hec, Compressed::No, "", &[]);
    text(&mut hec, &[r#"{"time":1774075049}"#]);
    assert!(!hec.saw_event_without_time());
    text(&mut hec, &[r#"{"n":1}"#]);
    assert!(hec.saw_event_without_time());
    let mut hec = hec.with_time_path("meta.when".parse().ok());
    assert_eq!(
        text(&mut hec, &[r#"{"time":1,"meta":{"when":1774075049}}"#]),
        "{\"time\":1774075049.000,\"event\":{\"time\":1,\"meta\":{\"when\":1774075049}}}\n"
    );
}

#[test]
fn an_envelope_is_completed_and_not_put_into_another_one() {
    let members = [("host", "agent"), ("index", "audit")];
    let mut hec = Encoder::new(Format::Hec, Compressed::No, "", &members);
    for (event, sent) in [
        (
            r#"{"event":{"n":1},"time":"17.5","host":"a","index":"b"}"#,
            r#"{"event":{"n":1},"time":"17.5","host":"a","index":"b"}"#,
        ),
        (
            r#"{"event":{"time":1774075049},"source":"s"}"#,
            r#"{"event":{"time":1774075049},"source":"s","time":1774075049.000,"host":"agent","index":"audit"}"#,
        ),
        (
            r#"{"event":"text","host":"a"}"#,
            r#"{"event":"text","host":"a","index":"audit"}"#,
        ),
        (
            r#"{"event":"","n":1}"#,
            r#"{"event":{"event":"","n":1},"host":"agent","index":"audit"}"#,
        ),
    ] {
        assert_eq!(text(&mut hec, &[event]), format!("{sent}\n"));
    }
    let mut plain = plain(Format::Ndjson);
    assert_eq!(text(&mut plain, &[r#"{"event":1}"#]), "{\"event\":1}\n");
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

fn numbering() -> Numbering {
    Numbering {
        stream: "s".into(),
        base: 10,
        start: 0xa1,
    }
}

#[test]
fn with_a_trail_each_event_says_which_one_it_is() {
    let events = [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#, r#"{"n":4}"#];
    for (prefix, expected) in [
        (
            r#"{"create":{}}"#,
            r#"{"create":{"_id":"s-1010-000000a1"}}"#,
        ),
        (
            r#"{ "index" : { "_index":"a"}}"#,
            r#"{ "index" : {"_id":"s-1010-000000a1", "_index":"a"}}"#,
        ),
        (r#"{"index":{"_id":"own"}}"#, r#"{"index":{"_id":"own"}}"#),
        (r#"{"delete":{}}"#, r#"{"delete":{}}"#),
        ("x", "x"),
    ] {
        let mut encoder = Encoder::new(Format::Ndjson, Compressed::No, prefix, &[]);
        encoder.number(&numbering());
        let text = text(&mut encoder, &events);
        assert_eq!(text.lines().next(), Some(expected));
        assert_eq!(text.lines().nth(1), Some(events[0]));
        let body = Batch::of(b"{}\n");
        let has_id = text.contains("s-1010");
        assert_eq!(encoder.audit_headers(&body).is_empty(), has_id);
        assert_eq!(
            text.contains("s-1014") && !text.contains("s-1013"),
            has_id,
            "{text}"
        );
    }
    let mut hec = Encoder::new(Format::Hec, Compressed::No, "", &[("host", "h")]);
    hec.number(&numbering());
    let given = [
        r#"{"event":1,"time":1,"fields":{"a":1}}"#,
        r#"{"event":1,"fields":{ },"time":1}"#,
        r#"{"event":1}"#,
        r#"{"n":1}"#,
        r#"{"event":1,"fields":{"audit_stream":"x", "a" : {"audit_seq":1},"\u0061udit_seq":7,"audit_seq":8}}"#,
        r#"{"event":1,"fields":{"audit_seq":7}}"#,
        r#"{"event":1,"fields":null}"#,
    ];
    let expected = [
        r#"{"event":1,"time":1,"fields":{"audit_stream":"s","audit_seq":1010,"a":1},"host":"h"}"#,
        r#"{"event":1,"fields":{"audit_stream":"s","audit_seq":1011},"time":1,"host":"h"}"#,
        r#"{"event":1,"fields":{"audit_stream":"s","audit_seq":1012},"host":"h"}"#,
        r#"{"event":{"n":1},"fields":{"audit_stream":"s","audit_seq":1014},"host":"h"}"#,
        r#"{"event":1,"fields":{"audit_stream":"s","audit_seq":1015,"a":{"audit_seq":1}},"host":"h"}"#,
        r#"{"event":1,"fields":{"audit_stream":"s","audit_seq":1016},"host":"h"}"#,
        r#"{"event":1,"fields":null,"fields":{"audit_stream":"s","audit_seq":1018},"host":"h"}"#,
    ];
    let text = text(&mut hec, &given);
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn where_bodies_can_not_say_it_headers_do() {
    let mut encoder = plain(Format::Ndjson);
    assert!(encoder.audit_headers(&Batch::of(b"{}\n")).is_empty());
    encoder.number(&numbering());
    let numbered = |seqs: Vec<std::ops::Range<u64>>| {
        let mut batch = Batch::default();
        for seqs in seqs {
            let events = (seqs.end - seqs.start) as usize;
            let bytes = b"{}\n".repeat(events);
            batch.push(Run::new(Chunk { bytes, events }, seqs.start));
        }
        batch
    };
    let headers = |encoder: &Encoder, body: &Batch| {
        let headers = encoder.audit_headers(body).into_iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let [stream, (seq, numbers)] = headers.collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(
            (stream.0 + &stream.1, seq),
            ("x-audit-streams".into(), "x-audit-seq".into())
        );
        numbers
    };
    let body = numbered(vec![7..9, 0..3, 3..4]);
    assert_eq!(headers(&encoder, &body), "10-13,17-18");
    let scattered = numbered((0..101).map(|seq| 2 * seq..2 * seq + 1).collect());
    assert_eq!(headers(&encoder, &scattered), "10-210;events=101");
    let events = ["{}", "{}"];
    assert_eq!(text(&mut encoder, &events), "{}\n{}\n", "byte for byte");
}
