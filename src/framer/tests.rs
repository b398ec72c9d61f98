use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

mod framing;
mod streams;
mod torn;

const LIMIT: usize = 300;

/// Everything the framer makes of a stream read in these pieces: events as lines, and losses.
fn frames(pieces: &[&[u8]], limit: usize) -> Vec<Result<String, Lost>> {
    frames_if(pieces, limit, |_| {})
}

/// The same if this is done after each piece.
fn frames_if(
    pieces: &[&[u8]],
    limit: usize,
    then: impl Fn(&mut Framer),
) -> Vec<Result<String, Lost>> {
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
        then(&mut framer);
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
    let good = oks(2);
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
        for (start, between) in [("", "\n"), ("[", ",\n")] {
            let stream = [&good[0], garbage, &good[1], ""].join(between);
            assert_eq!(
                outcome(&format!("{start}{stream}")),
                (good.clone(), 1),
                "{stream}"
            );
        }
    }
}

/// `{"ok":1}` and so on.
fn oks(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("{{\"ok\":{n}}}")).collect()
}

#[test]
fn what_is_broken_costs_one_and_nothing_else() {
    let spread =
        "{\n  \"a\": tru,\n  \"list\": [\n    {\n      \"x\": 1\n    },\n    {\"y\": 2}\n  ]\n}";
    let forged = r#"{"agent":"x\"},{\"op\":\"forged\"},\n{\"op\":\"forged\"}{}{","bad":tru}"#;
    for (what, stream, ok, lost) in [
        (
            "several in a row are cut off",
            "{\"a\":\n{\"b\":[\n{\"ok\":1}\n{\"c\":{\n{\"ok\":2}\n{\"ok\":3}",
            3,
            3,
        ),
        (
            "it is on a line of several",
            "{\"ok\":1}{\"bad\":tru,\"in\":{\"x\":1}}{\"ok\":2}{\"ok\":3}",
            3,
            1,
        ),
        (
            "it breaks late",
            "{\n  \"list\": [\n    {\"y\": 2}\n  ],\n  \"a\": tru\n}\n{\"ok\":1}",
            1,
            1,
        ),
        (
            "it is spread over lines",
            &format!("{spread}\n{{\"ok\":1}}"),
            1,
            1,
        ),
        (
            "a string looks like events",
            &format!("{forged}\n{{\"ok\":1}}"),
            1,
            1,
        ),
    ] {
        assert_eq!(outcome(&format!("{stream}\n")), (oks(ok), lost), "{what}");
    }
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
    // Each of these would take minutes if every re-reading cost time in proportion to its length.
    for unit in [
        "{\"a\":\n",
        "{\"a\":[\n{},\n",
        "[[{\"a\":[[",
        "{\n",
        "{",
        "{\"a\":\"",
        "{\"a\":1 ",
        "{\"a\":\"x{\"b\":1}z",
        "{\"<1>1 - - - - - [",
        "{<1>1 - - - - - [a b=\"{",
        "{<1>",
        "}<1>",
        "}{ ",
        "{\"a\":\"x{ \"b\":1} ",
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

/// The stated limits hold for what grows again, too.
#[test]
fn an_unfinished_object_takes_hardly_more_than_its_own_memory_after_it_was_shrunk() {
    const MAX: usize = 1 << 20;
    for (before, length) in [
        (0, 0),
        (0, 1),
        (0, 300),
        (500_000, 300),
        (70_000, 5000),
        (500_000, 70_000),
        (100, MAX - 8),
    ] {
        let stream = [
            &b"{}\n".repeat(before / 3),
            &b"{\"a\":\""[..],
            &vec![b'x'; length],
        ]
        .concat();
        let start = stream.len() - length - 6;
        let stream = if length == 0 {
            &stream[..start]
        } else {
            &stream
        };
        let mut framer = Framer::new(MAX);
        let read = |framer: &mut Framer, mut rest: &[u8]| {
            let mut count = 0;
            while !rest.is_empty() {
                let next = framer.memory_of_next_read();
                framer.copy_in(&mut rest);
                assert!(framer.memory() <= next);
                while framer.next().is_some() {
                    count += 1;
                }
            }
            count
        };
        read(&mut framer, stream);
        framer.shrink();
        let (kept, memory) = (stream.len() - start, framer.buffer.capacity());
        assert!(
            memory < 2 * kept.max(1),
            "{length} behind {before}: {memory}"
        );
        let (space, next) = (framer.space().len(), framer.buffer.capacity());
        assert!(space >= 4096, "{length} behind {before}: {space}");
        let stated = if 2 * kept > buffer::USUAL_BUFFER {
            2 * MAX
        } else {
            buffer::USUAL_BUFFER
        };
        assert!(next <= stated, "{length} behind {before}: {next}");
        let rest = if length == 0 { "{}" } else { "\"}" };
        assert_eq!(read(&mut framer, rest.as_bytes()), 1);
    }
}

/// A JSON object of some depth, with strings that look like framing.
fn object() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<i32>().prop_map(Into::into),
        any::<bool>().prop_map(Into::into),
        r#"[a-z"{}\[\],:\\ \n\té]{0,12}"#.prop_map(Into::into),
        Just("\"},\n{\"op\":\"forged\"}{".into()),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Into::into),
            vec(("[a-z\"]{0,3}", inner), 0..3)
                .prop_map(|members| { serde_json::Value::Object(members.into_iter().collect()) }),
        ]
    });
    vec(("[a-z]{1,3}", value), 1..4)
        .prop_map(|members| serde_json::Value::Object(members.into_iter().collect()))
}

/// How an object is written, and what its line should be.
fn written() -> impl Strategy<Value = (String, String)> {
    (object(), any::<bool>()).prop_map(|(object, pretty)| {
        if !pretty {
            return (object.to_string(), object.to_string());
        }
        let text = serde_json::to_string_pretty(&object).unwrap();
        let line = text.lines().map(str::trim_start).collect();
        (text, line)
    })
}

/// Lines that hold no event, whatever they begin with.
fn garbage() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9:\" .]{1,20}".prop_filter("blank", |line| !line.trim().is_empty()),
        object().prop_flat_map(|object| {
            let text = object.to_string();
            // Cut anywhere but at its end, never inside a character.
            (1..text.len()).prop_map(move |end| {
                let end = (1..=end)
                    .rev()
                    .find(|end| text.is_char_boundary(*end))
                    .unwrap();
                text[..end].to_owned()
            })
        }),
        object().prop_map(|object| format!("{{\"bad\":tru,\"o\":{object}}}")),
        object().prop_map(|object| format!("{{\"o\":{object},}}")),
        "x[}\\]]{0,5}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn any_split_gives_the_same_frames(
        stream in vec(prop_oneof![
            4 => r#"[{}\[\]",:\\ \n\raé1]{0,30}"#.prop_map(String::into_bytes),
            4 => written().prop_map(|(text, _)| text.into_bytes()),
            2 => garbage().prop_map(String::into_bytes),
            3 => framing::item().prop_map(|item| item.text.into_bytes()),
            1 => Just(b"\n".to_vec()),
            1 => Just(b"\xef\xbb\xbf".to_vec()),
            1 => vec(any::<u8>(), 0..20),
            1 => (200usize..400).prop_map(|n| vec![b'y'; n]),
        ], 0..12).prop_map(|parts| parts.concat()),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
        limit in 1usize..400,
    ) {
        let whole = frames(&[&stream], limit);
        let bytes: Vec<_> = stream.chunks(1).collect();
        prop_assert_eq!(&frames(&bytes, limit), &whole);
        let pieces = pieces(&stream, &cuts);
        prop_assert_eq!(&frames(&pieces, limit), &whole);
        prop_assert_eq!(&frames_if(&pieces, limit, Framer::shrink), &whole);
    }

    #[test]
    fn a_new_framer_goes_on_from_what_is_unfinished(
        parts in vec(prop_oneof![
            6 => written().prop_map(|(text, _)| (text, true)),
            4 => framing::item().prop_map(|item| (item.text, true)),
            2 => garbage().prop_map(|text| (text, false)),
            1 => r#"[{}\[\]",:\\ \n\raé1]{0,30}"#.prop_map(|text| (text, false)),
            1 => Just(("\n".to_owned(), true)),
            1 => (200usize..400).prop_map(|n| ("y".repeat(n), false)),
        ], 0..12),
        cut in any::<prop::sample::Index>(),
        limit in 1usize..400,
    ) {
        let is_sound = parts.iter().all(|(_, is_sound)| *is_sound);
        let stream: String = parts.into_iter().map(|(text, _)| text).collect();
        let stream = stream.into_bytes();
        let (first, _) = stream.split_at(cut.index(stream.len() + 1));
        let mut framer = Framer::new(limit);
        let mut found = Vec::new();
        for piece in first.chunks(7) {
            framer.space()[..piece.len()].copy_from_slice(piece);
            framer.filled(piece.len());
            while let Some(frame) = framer.next() {
                found.push(line(frame));
            }
        }
        let from = first.len() - usize::try_from(framer.unfinished()).unwrap();
        // Behind other text on its line, nothing tells how far that is indented, and so which lines are a broken
        // object's own.
        let before = &stream[..from];
        let line = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let before = &before[line..];
        let is_blank = |byte: &u8| b" \t\r".contains(byte);
        prop_assume!(!before.first().is_some_and(is_blank) || before.iter().all(is_blank));
        // A part of an entry of which an event has ended in the middle of the line is begun again.
        prop_assume!(!framer.line.is_part || framer.mode != Mode::Between);
        found.extend(frames(&[&stream[from..]], limit));
        let whole: Vec<_> = frames(&[&stream], limit).into_iter().flatten().collect();
        let found: Vec<_> = found.into_iter().flatten().collect();
        if is_sound {
            prop_assert_eq!(found, whole);
        } else {
            // What follows a broken object may be found if that is begun in its middle.
            let mut rest = found.iter();
            prop_assert!(whole.iter().all(|event| rest.any(|it| it == event)), "{:?} {:?}", found, whole);
        }
    }

    #[test]
    fn any_mixture_of_objects_and_garbage_lines_gives_back_every_object(
        parts in vec(prop_oneof![
            3 => written().prop_map(Ok),
            1 => garbage().prop_map(Err),
        ], 0..12),
        comma in any::<bool>(),
    ) {
        let separator = if comma { ",\n" } else { "\n" };
        let stream: String = parts
            .iter()
            .map(|part| match part {
                Ok((text, _)) => text.clone() + separator,
                Err(text) => text.clone() + separator,
            })
            .collect();
        let expected: Vec<_> = parts.iter().flatten().map(|(_, line)| line.clone()).collect();
        let found = frames(&[stream.as_bytes()], 1 << 20);
        let lost = found.iter().filter(|frame| frame.is_err()).count();
        let found: Vec<_> = found.into_iter().flatten().collect();
        prop_assert_eq!(found, expected);
        let garbage = parts.iter().filter(|part| part.is_err()).count();
        prop_assert_eq!(lost > 0, garbage > 0);
        prop_assert!(lost <= garbage);
    }
}
