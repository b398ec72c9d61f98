//! Writes that were cut (the disk was full, the writer crashed), with whole events appended on the same line.

use serde::de::IgnoredAny;

use super::*;

/// What may be written in one go.
#[derive(Debug, Clone)]
struct Write {
    bytes: Vec<u8>,
    /// The object, if it was written whole.
    whole: Option<String>,
}

/// A write, after nothing or a header.
fn write() -> impl Strategy<Value = Write> {
    let header = prop::sample::select(vec![
        "",
        "",
        "",
        "<13>",
        "<13>Nov 28 10:00:00 host app[1]: ",
    ]);
    let cut = prop::option::of(any::<prop::sample::Index>());
    let start = prop::sample::select(vec!["{", "{", "{ "]);
    (header, start, object(), cut).prop_map(|(header, start, object, cut)| {
        let line = object.to_string().replacen('{', start, 1);
        // Cut anywhere, also inside a character, but not at the ends, and not between `{` and `"`.
        let begun = start.len() + 1;
        let end = cut.map_or(line.len(), |cut| begun + cut.index(line.len() - begun));
        Write {
            bytes: [header.as_bytes(), &line.as_bytes()[..end]].concat(),
            whole: cut.is_none().then_some(line),
        }
    })
}

/// The rule in plain words: what the object before it has no place for begins another one; all else is a part of it.
/// Only whole objects are events. All that is lost between two of them on a line counts once.
fn model(writes: &[Write]) -> Vec<Result<String, Lost>> {
    let mut frames = Vec::new();
    let mut object: Vec<u8> = Vec::new();
    let mut whole: Option<&String> = None;
    let mut end_object = |whole: Option<&String>| match whole {
        Some(line) => frames.push(Ok(line.clone())),
        None if matches!(frames.last(), Some(Err(_))) => {}
        None => frames.push(Err(Lost::Malformed)),
    };
    for write in writes {
        let behind = [&object[..], &write.bytes].concat();
        let judged = serde_json::from_slice::<IgnoredAny>(&behind);
        if !object.is_empty() && whole.is_none() && judged.is_err_and(|error| error.is_eof()) {
            object = behind;
            continue;
        }
        if !object.is_empty() {
            end_object(whole);
        }
        object = write.bytes[write.bytes.iter().position(|byte| *byte == b'{').unwrap()..].to_vec();
        whole = write.whole.as_ref();
    }
    end_object(whole);
    frames
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn what_is_appended_to_a_torn_object_is_found_unless_it_can_be_a_part_of_it(
        lines in vec((vec(write(), 1..5), prop::sample::select(vec!["\n", "\r\n", ",\n", " \n", ", \t\r\n", "\0\n", "\n\u{1e}"])), 1..4),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for (writes, end) in &lines {
            stream.extend(writes.iter().flat_map(|write| &write.bytes));
            stream.extend_from_slice(end.as_bytes());
            expected.extend(model(writes));
        }
        prop_assert_eq!(&frames(&pieces(&stream, &cuts), 1 << 20), &expected);
    }
}

/// An event such as gateways write, with all that can be cut.
const TORN: &str = r#"{"id":"cut","api":{"name":"Put\u00e9\"{","n":-1.5e3},"ok":true,"none":null,"tags":["a",{"b":[]}]}"#;

#[test]
fn the_event_after_a_torn_one_is_found_wherever_that_was_cut() {
    for (appended, behind) in [
        (r#"{"ok":1}"#, ""),
        (r#"{ "ok":1}"#, ""),
        (r#"{"ok":1}"#, " \t"),
        (r#"{ "ok":1}"#, ", \r"),
        (r#"{ "ok":1}"#, r#"{ "ok":2}"#),
    ] {
        let events = [appended, r#"{ "ok":2}"#].map(str::to_owned);
        let mut missed = Vec::new();
        for end in 1..TORN.len() {
            let torn = &TORN[..end];
            let next = if behind.ends_with('}') {
                ""
            } else {
                &events[1]
            };
            let found = outcome(&format!("{torn}{appended}{behind}\n{next}\n"));
            if found == (events.to_vec(), 1) {
                continue;
            }
            assert_eq!(found, (events[1..].to_vec(), 1), "{torn}");
            missed.push(torn.as_bytes()[end - 1]);
        }
        // Where a value is expected, an object can be one.
        assert_eq!(missed, *b":::::::[,:[", "{appended}{behind}");
    }
}

/// What the pages name as exceptions: the event on the line is lost with the torn one, and no other.
#[test]
fn what_can_t_be_told_from_a_part_of_the_torn_one_is_lost_with_it() {
    for stream in [
        "{\n  \"id\":1,\n  \"a\":\"cut{\"x\":1}",
        r#"{"id":1,"a":"cut{  "x":1}"#,
        r#"{"id":1,"a":"cut{"x":1}]"#,
        &format!(r#"{{"id":1,"a":"cut{{"x":1}}{}"#, " ".repeat(65)),
        r#"{"id":1,"a":"cut<13>1 - - - - - [a b="c"] {"x":1}"#,
    ] {
        let found = outcome(&format!("{stream}\n{{\"ok\":1}}\n"));
        assert_eq!(found, (oks(1), 1), "{stream:?}");
    }
    // Its lines may count once more.
    let spread = "{\"id\":1,\"a\":\"cut{\n  \"x\":1\n}\n{\"ok\":1}\n";
    assert_eq!(outcome(spread), (oks(1), 2));
    let behind_header = r#"{"id":1,"a":2<13>1 - - - - - [a b="c"] {"ok":1}"#;
    assert_eq!(outcome(&format!("{behind_header}\n")), (oks(1), 1));
}

#[test]
fn a_part_of_a_broken_object_is_no_event() {
    for stream in [
        r#"{"id":1,"req":{"x":1}"#,
        r#"{"id":1,"req":{"x":1},"#,
        r#"{"id":1,"req":[{"x":1}"#,
        r#"{"id":1,"req":[{"x":1},{"y":1}"#,
        r#"{"id":1,"req":{"z":{"x":1}"#,
        r#"{"id":1,"bad":tru,"req":{"x":1}"#,
        r#"{"id":1,"bad":tru,"req":{"x":1}}"#,
        r#"{"id":1,"bad":"x","y","req":{"x":1}"#,
        r#"{"id":1,"req":[{"x":1} {"y":1}]"#,
        r#"{"id":1,"req":[{"x":1} {"y":1}]}"#,
        r#"{"id":1,"text":"x{"y":1}""#,
        r#"{"id":1,"text":"x{"y":1} z","a":1}"#,
        r#"{"id":1,"text":"x{"y":{"z":1},"a":"b"#,
        r#"{"id":1,"text":"x{"y":{"z":1}"#,
        r#"{"id":1,"bad":<nil>,"req":{"x":1}"#,
        "{\"id\":1,\"req\":{\"\u{1}{\"x\":1}",
        "{\n  \"bad\":tru,\n  \"req\": {\"x\":1}\n}",
        "{\n  \"bad\":\"x{\"x\":1}\n}",
        "{\n  \"a\": \"x}{\",\n  \"c\": {\"d\": 1},\n  \"b\": oops\n}",
    ] {
        let found = outcome(&format!("{stream}\n{{\"ok\":1}}\n"));
        assert_eq!(found, (oks(1), 1), "{stream:?}");
    }
}

/// Where the limit is reached, nothing has broken.
#[test]
fn a_part_of_an_object_over_the_limit_is_no_event() {
    for length in LIMIT - 40..LIMIT {
        let long = "y".repeat(length);
        let stream = format!(
            "{{\"p\":\"{long}\",\"r\":[\n{{\"a\":1}},{{\"c\":{{\"d\":1}}\n}}]}}\n{{\"ok\":1}}\n"
        );
        let (found, _) = outcome(&stream);
        assert!(
            !found.contains(&r#"{"d":1}"#.to_owned()),
            "{length}: {found:?}"
        );
    }
}

#[test]
fn an_appended_object_has_a_limit_and_ends_on_its_line() {
    let torn = r#"{"cut":"of"#;
    let fits = format!("{{\"x\":\"{}\"}}", "y".repeat(LIMIT - 8));
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(LIMIT - 7));
    for (appended, events) in [
        (fits.as_str(), vec![fits.clone()]),
        (&large, vec![]),
        (
            &format!("{large}{{\"a\":1}}"),
            vec![r#"{"a":1}"#.to_owned()],
        ),
        ("{\"x\":\n1}", vec![]),
        ("{\"x\":[\n{\"a\":1}", vec![r#"{"a":1}"#.to_owned()]),
    ] {
        let (found, lost) = outcome(&format!("{torn}{appended}\n{{\"ok\":1}}\n"));
        assert_eq!(found, [events, oks(1)].concat(), "{appended}");
        assert!(lost >= 1, "{appended}");
    }
}
