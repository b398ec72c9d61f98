//! A container's two streams: the kubelet writes each line as it comes.

use super::*;

const STDOUT: &str = "2026-11-28T10:00:00.1Z stdout";
const STDERR: &str = "2026-11-28T10:00:00.2Z stderr";

/// Lines of one stream: each object in this many parts or more, depending on where it is cut.
fn lines(stream: &str, objects: &[(serde_json::Value, usize)]) -> Vec<String> {
    let mut lines = Vec::new();
    for (object, parts) in objects {
        let text: Vec<char> = object.to_string().chars().collect();
        let length = text.len().div_ceil(*parts);
        let mut parts = text.chunks(length).peekable();
        while let Some(part) = parts.next() {
            let tag = if parts.peek().is_some() { 'P' } else { 'F' };
            lines.push(format!("{stream} {tag} {}\n", String::from_iter(part)));
        }
    }
    lines
}

#[test]
fn parts_are_joined_though_the_other_stream_speaks_between_them() {
    let (a, b) = (r#"{"a":"x y"}"#, r#"{"b":2}"#);
    let (out_a, err_b) = (
        format!("{STDOUT} P {{\"a\":\n"),
        format!("{STDERR} P {{\"b\":\n"),
    );
    let (out_end, err_end) = (format!("{STDOUT} F \"x y\"}}\n"), format!("{STDERR} F 2}}"));
    for (stream, expected, lost) in [
        (
            format!("{STDOUT} P {{\"a\":\"x\n{STDERR} F {b}\n{STDOUT} F  y\"}}\n"),
            [a, b],
            0,
        ),
        (format!("{out_a}{err_b}{out_end}{err_end}"), [a, b], 0),
        (format!("{err_b}{out_a}{out_end}{err_end}"), [b, a], 0),
        (
            format!("{out_a}{STDERR} F oh\n{STDERR} F no\n{out_end}{b}"),
            [a, b],
            1,
        ),
        // The rest of one that broke, too.
        (
            format!(
                "{STDOUT} P {{\"x\":]\n{STDERR} F {b}\n{STDOUT} F {{\"y\":1}}\n{STDOUT} F {a}\n"
            ),
            [b, a],
            1,
        ),
        // One that does not continue.
        (
            format!("{STDOUT} P {{\"x\":\n{STDERR} F {b}\n{a}\n"),
            [b, a],
            1,
        ),
        (
            format!("{a}\n{STDOUT} P {{\"x\":\n{STDERR} F {b}"),
            [a, b],
            1,
        ),
    ] {
        let (found, found_lost) = outcome(&stream);
        assert_eq!(found, expected, "{stream}");
        assert_eq!(found_lost, lost, "{stream}");
    }
}

#[test]
fn lines_between_two_parts_are_bounded() {
    let other = format!("{STDERR} F {{\"b\":2}}\n");
    for (others, is_joined) in [(1000, true), (2000, false)] {
        let between = other.repeat(others);
        let stream = format!("{STDOUT} P {{\"a\":\n{between}{STDOUT} F 1}}\n{other}");
        let found = frames(&[stream.as_bytes()], 1 << 20);
        assert_eq!(found.contains(&Ok(r#"{"a":1}"#.to_owned())), is_joined);
        let is_other = |frame: &&Result<String, Lost>| **frame == Ok(r#"{"b":2}"#.to_owned());
        assert_eq!(found.iter().filter(is_other).count(), others + 1);
    }
}

proptest! {
    #[test]
    fn both_streams_arrive_whole_however_they_are_mixed(
        streams in (vec((object(), 1..5_usize), 0..5), vec((object(), 1..5_usize), 0..5)),
        turns in vec(any::<bool>(), 50),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let all = [(STDOUT, &streams.0), (STDERR, &streams.1)];
        let mut left = all.map(|(stream, objects)| lines(stream, objects).into_iter().peekable());
        let mut stream = String::new();
        let mut turns = turns.iter().cycle();
        while left.iter_mut().any(|lines| lines.peek().is_some()) {
            let turn = usize::from(*turns.next().unwrap());
            let place = if left[turn].peek().is_some() { turn } else { 1 - turn };
            stream += &left[place].next().unwrap();
        }
        let pieces = pieces(stream.as_bytes(), &cuts);
        let found = frames(&pieces, 1 << 20);
        let objects = all.iter().flat_map(|(_, objects)| objects.iter());
        let mut expected: Vec<_> = objects.map(|(object, _)| object.to_string()).collect();
        let lines: Option<Vec<_>> = found.into_iter().map(Result::ok).collect();
        let mut lines = lines.expect("nothing lost");
        lines.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(&lines, &expected);
        // A new framer gives all that the old one had not given.
        let mut first = Framer::new(1 << 20);
        let (mut read, mut given) = (0, Vec::new());
        for mut piece in pieces {
            read += piece.len();
            while !piece.is_empty() {
                first.copy_in(&mut piece);
                while let Some(frame) = first.next() {
                    given.extend(line(frame));
                }
            }
            let from = read - usize::try_from(first.unfinished()).unwrap();
            let again = frames(&[&stream.as_bytes()[from..]], 1 << 20);
            let missed = |object: &&String| !given.contains(object) && !again.contains(&Ok((*object).clone()));
            prop_assert_eq!(expected.iter().find(missed), None, "from {} of {}", from, stream);
        }
    }
}
