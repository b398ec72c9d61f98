//! What may surround objects, and what it costs.

use super::*;
use crate::between::zeros;

/// A part of a stream.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) text: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    /// An object, and the line that is made of it.
    Object(String),
    Framing,
    Garbage,
    /// An object that is cut off.
    Truncated,
}

const CRI: &str = "2026-11-28T10:00:00.123456789Z stdout";

fn header() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        (1..100_000).prop_map(|count| format!("{count} ")),
        Just("<13>".to_owned()),
        Just("<13>Nov 28 10:00:00 host app[1]: ".to_owned()),
        Just("57 <13>Nov  8 10:00:00 host app: @cee: ".to_owned()),
        Just("<14>1 2026-11-28T10:00:00Z h app - - - ".to_owned()),
        Just("<14>1 - - - 7 ID [a b=\"{\\\"]\"][c] \u{feff}".to_owned()),
        Just("\nNov 28 10:00:00 host app[1]: ".to_owned()),
        Just("\n2026-11-28T10:00:00+00:00 host app[1]: ".to_owned()),
        Just(format!("\n{CRI} F ")),
        Just("\0\0\0".to_owned()),
        Just("\u{1e}".to_owned()),
        Just(", [".to_owned()),
        Just("\n  ".to_owned()),
    ]
}

/// An object, in parts of one CRI log entry.
fn entry() -> impl Strategy<Value = Item> {
    (object(), vec(any::<prop::sample::Index>(), 0..4)).prop_map(|(object, cuts)| {
        let line = object.to_string();
        let mut text = String::from("\n");
        // The next character's boundary is good enough.
        let cuts = cuts.iter().map(|cut| {
            let at = cut.index(line.len() + 1);
            (at..).find(|at| line.is_char_boundary(*at)).unwrap()
        });
        let mut cuts: Vec<_> = cuts.collect();
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            text += &format!("{CRI} P {}\n", &line[start..cut]);
            start = cut;
        }
        text += &format!("{CRI} F {}\n", &line[start..]);
        let kind = Kind::Object(line);
        Item { text, kind }
    })
}

/// Anything that may occur in a stream, with what belongs to it on its lines.
pub(super) fn item() -> impl Strategy<Value = Item> {
    let end = prop_oneof![
        3 => Just("\n"),
        1 => prop_oneof![Just(""), Just("\r\n"), Just(",\n"), Just("\0"), Just("\0\n"), Just("\u{1e}"), Just("]\n")],
    ];
    let object = (header(), written(), end).prop_map(|(header, (text, line), end)| Item {
        text: format!("{header}{text}{end}"),
        kind: Kind::Object(line),
    });
    let texts = |texts: &'static [&'static str], kind: Kind| {
        prop::sample::select(texts).prop_map(move |text| Item {
            text: text.to_owned(),
            kind: kind.clone(),
        })
    };
    prop_oneof![
        6 => object,
        2 => entry(),
        2 => texts(&["\n# {\"a\":1}\n", "\n  // {\n", "\n2026-11-28T10:00:00Z stderr F \n", "\0\0", "\n", ",", "\u{1e}"], Kind::Framing),
        1 => texts(&["\nhello {x} {y}\n", "\nx\n", "\n<13>no object\n"], Kind::Garbage),
        1 => texts(&["\n{\"cut\":\"of\n", "\n{\"cut\":\n", "\n<13>{\"cut\":[{\n", "\n\u{1e}{\"cut\u{1e}", "\n{\"cut\0\0"], Kind::Truncated),
    ]
}

#[test]
fn framing_around_objects_is_no_loss() {
    for stream in [
        "{\"a\":1}\n{\"b\":2}\n",
        "{\"a\":1}\r\n\r\n{\"b\":2}",
        "{\"a\":1}{\"b\":2}",
        "[{\"a\":1},\n{\"b\":2},\n",
        "[{\"a\":1},{\"b\":2}]",
        "\u{feff}{\"a\":1} , {\"b\":2}",
        "[\n  {\"a\":1},\n  {\"b\":2}\n]\n",
        "  {\"a\":1}\n\t{\"b\":2}",
        "<14>1 2026-03-01T00:00:00Z h app - - - {\"a\":1}\n{\"b\":2}\0",
        "2026-03-01T00:00:00.1Z stdout F {\"a\":1}\n\u{1e}{\"b\":2}\n",
        "7 {\"a\":1}7 {\"b\":2}",
        "35 <13>Nov 28 10:00:00 host app: {\"a\":1}36 <13>Nov 28 10:00:00 host app: {\"b\":2}\n",
        "# a comment {\"c\":3}\n{\"a\":1}\n  // another\n{\"b\":2}\n#",
        "\0\0\0\0{\"a\":1}\n\0\0\0\0\0\0\0\0{\"b\":2}",
        "Nov 28 10:00:00 host app[1]: {\"a\":1}\n<13>{\"b\":2}\n",
        "2026-03-01T00:00:00Z stdout P {\"a\"\n2026-03-01T00:00:01Z stdout P \n2026-03-01T00:00:01Z stdout F :1}\n{\"b\":2}\n",
        "2026-03-01T00:00:00Z stdout P {\"a\":1}{\"b\"\n2026-03-01T00:00:01Z stdout F :2}\n",
        "2026-03-01T00:00:00Z stdout P {\"a\":1}\n2026-03-01T00:00:00Z stdout F \n{\"b\":2}\n",
    ] {
        let expected = vec![r#"{"a":1}"#.to_owned(), r#"{"b":2}"#.to_owned()];
        assert_eq!(outcome(stream), (expected, 0), "{stream:?}");
    }
}

#[test]
fn garbage_counts_once_for_each_run() {
    for (stream, lost) in [
        ("hello\nhello\nhello {x}\nhello\n{\"a\":1}\n", 1),
        ("{\"a\":1}\nhello\n# comment\n\0\nhello\n", 1),
        ("hello\n{\"a\":1}\nhello\n", 2),
        ("hello\n{\"bad\":}\nhello\n{\"a\":1}", 3),
        ("Nov 22 07:00:00 secret: {\"a\":1}\n", 1),
        ("{\"a\":1} trailing {text}\n", 1),
        ("<13>Nov 28 10:0", 1),
    ] {
        assert_eq!(outcome(stream).1, lost, "{stream:?}");
    }
}

#[test]
fn a_truncated_object_whose_rest_runs_into_framing_costs_one() {
    for truncated in [
        "{\"cut\":\"of",
        "{\"cut\":[",
        "{\"cut\":1",
        "{\"cut\":{\"x\":",
    ] {
        for behind in [
            "\n<14>1 2026-03-01T00:00:00Z h app - - - ",
            "\n2026-03-01T00:00:00.1Z stdout F ",
            "\n123 ",
            "\n# comment\n",
            "\n\0\0\0",
            "\0\0\0",
            "\u{1e}",
            "\n,",
            "\n\n",
        ] {
            let stream = format!("{truncated}{behind}{{\"ok\":1}}\n{{\"ok\":2}}\n");
            assert_eq!(outcome(&stream), (oks(2), 1), "{stream:?}");
        }
    }
    let stream = "11 {\"bad\":tru}8 {\"ok\":1}<13>{\"bad\":}<13>{\"ok\":2}";
    assert_eq!(outcome(stream), (oks(2), 2));
}

#[test]
fn parts_of_an_entry_that_break_or_are_too_large_cost_one() {
    let ok = format!("{CRI} F {{\"ok\":1}}\n");
    for stream in [
        format!("{CRI} P {{\"cut\"\n{ok}"),
        format!("{CRI} P {{\"cut\n{{\"ok\":1}}\n"),
        format!("{CRI} P {{\"bad\":}}\n{CRI} P {{\"x\":1}}\n{CRI} F }}\n{ok}"),
        format!("{CRI} P {{\"bad\":\n{CRI} F 1\n{ok}"),
    ] {
        assert_eq!(outcome(&stream).1, 1, "{stream}");
    }
    let part = "y".repeat(LIMIT / 2);
    let stream =
        format!("{CRI} P {{\"a\":\"{part}\n{CRI} P {part}\n{CRI} P {part}\n{CRI} F \"}}\n{ok}");
    let found = frames(&[stream.as_bytes()], LIMIT);
    assert_eq!(found, [Err(Lost::TooLarge), Ok(r#"{"ok":1}"#.to_owned())]);
}

#[test]
fn nesting_deeper_than_the_limit_is_malformed() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}\n", "[".repeat(depth), "]".repeat(depth));
    let stream = nested(MAX_DEPTH - 1) + &nested(MAX_DEPTH) + &nested(65_400) + "{\"ok\":1}\n";
    let found = frames(&[stream.as_bytes()], 1 << 20);
    let lost: Vec<_> = found.iter().map(Result::is_err).collect();
    assert_eq!(lost, [false, true, true, false]);
}

#[test]
fn memory_stays_within_what_is_stated() {
    const MAX: usize = 1 << 20;
    let plain = [b"{\"a\":\"".as_slice(), &[0xFF; MAX - 8], b"\"}\n"].concat();
    let part = "x".repeat(10_000);
    let part = format!("{CRI} P {part}\n").repeat(104);
    let joined = format!("{CRI} P {{\"a\":\"\n{part}{CRI} F \"}}\n").into_bytes();
    for stream in [plain, joined] {
        let mut framer = Framer::new(MAX);
        let mut events = 0;
        for mut piece in stream.chunks(1000) {
            while !piece.is_empty() {
                framer.copy_in(&mut piece);
                assert!(framer.buffer.capacity() <= 2 * MAX);
                while let Some(frame) = framer.next() {
                    assert!(matches!(frame, Frame::Event(event) if event.line_len() <= 3 * MAX));
                    events += 1;
                }
            }
        }
        assert_eq!(events, 1);
        framer.space();
        assert!(framer.buffer.capacity() <= crate::buffer::USUAL_BUFFER);
    }
}

#[test]
fn zeros_are_counted() {
    for count in 0..300 {
        let mut bytes = vec![0; count];
        assert_eq!(zeros(&bytes), count);
        bytes.extend([1, 0, 0]);
        assert_eq!(zeros(&bytes), count);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_framing_gives_exactly_the_objects_and_the_losses(
        items in vec(item(), 0..12),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut expected, mut lost, mut in_garbage) = (Vec::new(), 0, false);
        for item in &items {
            match &item.kind {
                Kind::Object(line) => expected.push(line.clone()),
                Kind::Framing => continue,
                Kind::Garbage => lost += usize::from(!in_garbage),
                Kind::Truncated => lost += 1,
            }
            in_garbage = matches!(item.kind, Kind::Garbage);
        }
        let stream: String = items.iter().map(|item| item.text.as_str()).collect();
        let found = frames(&pieces(stream.as_bytes(), &cuts), 1 << 20);
        let found_lost = found.iter().filter(|frame| frame.is_err()).count();
        let found: Vec<_> = found.into_iter().flatten().collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(found_lost, lost);
    }
}
