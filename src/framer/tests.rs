use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use objects::{garbage, object, written};

mod framing;
mod objects;
mod random;

const LIMIT: usize = 300;

/// Everything the framer makes of a stream read in these pieces: events as lines, and losses.
fn frames(pieces: &[&[u8]], limit: usize) -> Vec<Result<String, Lost>> {
    let mut framer = Framer::new(limit);
    let mut frames = Vec::new();
    let mut take = |framer: &mut Framer| {
        while let Some(frame) = framer.next() {
            frames.push(line(frame));
        }
    };
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            framer.copy_in(&mut piece);
            take(&mut framer);
        }
    }
    framer.end();
    take(&mut framer);
    frames
}

/// The stream cut at these places.
fn pieces<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect()
}

fn line(frame: Frame<'_>) -> Result<String, Lost> {
    match frame {
        Frame::Event(event) => {
            let mut line = Vec::new();
            event.append_line(&mut line);
            assert_eq!(line.len(), event.line_len());
            assert!(line.len() <= 3 * event.raw_len() + 1);
            assert_eq!(line.pop(), Some(b'\n'));
            Ok(String::from_utf8(line).unwrap())
        }
        Frame::Lost(lost) => Err(lost),
    }
}

fn events(stream: &str) -> Vec<String> {
    frames(&[stream.as_bytes()], LIMIT)
        .into_iter()
        .flatten()
        .collect()
}

/// Events, and how many were lost.
fn outcome(stream: &str) -> (Vec<String>, usize) {
    let all = frames(&[stream.as_bytes()], LIMIT);
    let lost = all.iter().filter(|frame| frame.is_err()).count();
    (all.into_iter().flatten().collect(), lost)
}

#[test]
fn takes_objects_however_they_are_strung_together() {
    for stream in [
        "{\"a\":1}\n{\"b\":2}\n",
        "{\"a\":1}\r\n\r\n{\"b\":2}",
        "{\"a\":1}{\"b\":2}",
        "[{\"a\":1},\n{\"b\":2},\n",
        "[{\"a\":1},{\"b\":2}]",
        "\u{feff}{\"a\":1} , {\"b\":2}",
        "[\n  {\"a\":1},\n  {\"b\":2}\n]\n",
        "  {\"a\":1}\n\t{\"b\":2}",
    ] {
        assert_eq!(
            outcome(stream),
            (vec![r#"{"a":1}"#.into(), r#"{"b":2}"#.into()], 0),
            "{stream}"
        );
    }
}

#[test]
fn takes_out_line_breaks_and_indentation_and_nothing_else() {
    assert_eq!(
        events("{\n  \"a\" : 1 ,\r\n\t\"b\":\n\n\"x  \\n y\"\n}"),
        [r#"{"a" : 1 ,"b":"x  \n y"}"#]
    );
}

#[test]
fn replaces_bytes_that_are_no_utf8() {
    let found = frames(&[b"{\"agent\":\"caf\xe9 \xc3\xa9\"}"], LIMIT);
    assert_eq!(found, [Ok("{\"agent\":\"caf\u{fffd} é\"}".to_owned())]);
}

#[test]
fn garbage_costs_itself() {
    let good = vec![r#"{"a":1}"#.to_owned(), r#"{"b":2}"#.to_owned()];
    for garbage in [
        "hello",
        "hello {x} {y}",
        "nul",
        "}",
        "\"text\"",
        "{\"cut\":\"of",
        "{\"cut\":",
        "{\"cut\":{\"deeper\":[",
        "{\"bad\":tru}",
        "{\"bad\":{\"inner\":{\"c\":1}},}",
        "{\"bad\":[{\"inner\":1}] \"x\"}",
        "\u{1}\u{0}\u{2}",
        "17",
        "<13>Nov 28 10:00:00 host app: no object",
        "2026-03-01T00:00:00Z stdout F no object",
        "{\"cut\":\"of\u{0}\u{0}",
        "\u{1e}{\"cut\":\u{1e}",
        "# a comment\n{\"cut\":\n// and another",
    ] {
        let stream = format!("{}\n{garbage}\n{}\n", good[0], good[1]);
        assert_eq!(
            outcome(&stream),
            (good.clone(), 1),
            "{garbage:?} between lines"
        );
        let stream = format!("[{},\n{garbage},\n{},\n", good[0], good[1]);
        assert_eq!(
            outcome(&stream),
            (good.clone(), 1),
            "{garbage:?} inside an array"
        );
    }
}

#[test]
fn several_cut_off_objects_in_a_row_cost_one_each() {
    let stream = "{\"a\":\n{\"b\":[\n{\"ok\":1}\n{\"c\":{\n{\"ok\":2}\n{\"ok\":3}\n";
    assert_eq!(
        outcome(stream),
        (
            vec![
                r#"{"ok":1}"#.into(),
                r#"{"ok":2}"#.into(),
                r#"{"ok":3}"#.into()
            ],
            3
        )
    );
}

#[test]
fn a_broken_object_that_is_spread_over_lines_costs_one_and_yields_no_fragments() {
    let broken = "{\n  \"a\": tru,\n  \"list\": [\n    1,\n    2\n  ],\n  \"o\": {\"y\": 2}\n}\n";
    assert_eq!(
        outcome(&format!("{broken}{{\"ok\":1}}\n")),
        (vec![r#"{"ok":1}"#.into()], 1)
    );
    let late = "{\n  \"list\": {\n    \"y\": 2\n  },\n  \"a\": tru\n}\n";
    assert_eq!(
        outcome(&format!("{late}{{\"ok\":1}}\n")),
        (vec![r#"{"ok":1}"#.into()], 1)
    );
}

#[test]
fn a_broken_object_on_a_line_of_several_costs_one() {
    let line = "{\"ok\":1}{\"bad\":tru,\"in\":{\"x\":1}}{\"ok\":2}{\"ok\":3}\n";
    assert_eq!(
        outcome(line),
        (
            vec![
                r#"{"ok":1}"#.into(),
                r#"{"ok":2}"#.into(),
                r#"{"ok":3}"#.into()
            ],
            1
        )
    );
}

#[test]
fn nothing_inside_a_string_is_taken_for_an_event() {
    let forged = r#"{"agent":"x\"},{\"op\":\"forged\"},\n{\"op\":\"forged\"}{}{","bad":tru}"#;
    assert_eq!(
        outcome(&format!("{forged}\n{{\"ok\":1}}\n")),
        (vec![r#"{"ok":1}"#.into()], 1)
    );
}

#[test]
fn an_object_over_the_limit_costs_itself_however_it_stands() {
    let fits = format!("{{\"x\":\"{}\"}}", "y".repeat(LIMIT - 8));
    assert_eq!(fits.len(), LIMIT);
    let large = format!(
        "{{\"x\":\"{}\",\"z\":[{{\"in\":1}},{{}}]}}",
        "y".repeat(LIMIT)
    );
    for between in ["\n", "", ",", ",\n"] {
        let stream = [fits.as_str(), &large, r#"{"ok":1}"#, &large, r#"{"ok":2}"#].join(between);
        let expected = vec![fits.clone(), r#"{"ok":1}"#.into(), r#"{"ok":2}"#.into()];
        assert_eq!(outcome(&stream), (expected, 2), "{between:?}");
    }
}

#[test]
fn an_object_cut_off_inside_an_array_does_not_swallow_the_stream() {
    let rest: String = (0..100).map(|n| format!("{{\"n\":{n}}},\n")).collect();
    let (found, lost) = outcome(&format!("{{\"cut\":[\n{rest}"));
    assert_eq!((found.len(), lost), (100, 1));
}

#[test]
fn endless_input_without_an_object_is_held_nowhere() {
    let mut framer = Framer::new(LIMIT);
    let mut lost = 0;
    for byte in [b'x', b'[', b' '] {
        for _ in 0..1000 {
            framer.space().fill(byte);
            let count = framer.space().len();
            framer.filled(count);
            while let Some(frame) = framer.next() {
                assert!(matches!(frame, Frame::Lost(Lost::Malformed)));
                lost += 1;
            }
        }
    }
    assert_eq!(lost, 1);
    assert!(framer.buffer.capacity() <= buffer::USUAL_BUFFER);
}

#[test]
fn memory_and_time_stay_bounded_whatever_breaks_where() {
    // Each of these would take minutes if every reading again were paid for by its length.
    for unit in [
        "{\"a\":\n",
        "{\"a\":[\n{},\n",
        "[[{\"a\":[[",
        "{\n",
        "}{\"a\":",
        "{\"a\":{}}{\"b\"\n",
        "}<1>1 - - - - - [",
        "}1 ",
        "{}<1>1 - - - - - [a b=\"{",
        "2026-03-01T00:00:00Z stdout P {\"a\":\n",
        "2026-03-01T00:00:00Z stdout P {}\n",
        "\0{\"a\":\0",
        "1 1 1 1 ",
        "#\n{\n",
    ] {
        let stream = unit.repeat(1_000_000 / unit.len());
        for limit in [1000, 300_000, 1 << 30] {
            frames(&[stream.as_bytes()], limit);
        }
    }
}

#[test]
fn reads_grow_while_they_are_filled_though_each_ends_within_an_event() {
    // 7 bytes each, so that a buffer of a power of two never ends with one.
    let stream = b"{\"a\":1}".repeat(buffer::USUAL_BUFFER);
    let mut framer = Framer::new(LIMIT);
    let (mut rest, mut reads) = (&stream[..], 0);
    while !rest.is_empty() {
        framer.copy_in(&mut rest);
        while framer.next().is_some() {}
        reads += 1;
    }
    assert!(reads < 20, "{reads} reads");
}

#[test]
fn an_idle_framer_can_give_its_buffer_back() {
    let mut framer = Framer::new(LIMIT);
    framer.space()[..8].copy_from_slice(b"{\"a\":1}{");
    framer.filled(8);
    assert!(matches!(framer.next(), Some(Frame::Event(_))));
    assert!(framer.next().is_none());
    framer.release();
    assert!(framer.buffer.capacity() > 0, "an unfinished object is kept");
    framer.space()[..1].copy_from_slice(b"}");
    framer.filled(1);
    assert!(matches!(framer.next(), Some(Frame::Event(event)) if event.raw_len() == 2));
    framer.release();
    assert_eq!(framer.buffer.capacity(), 0);
}
