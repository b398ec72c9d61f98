//! Events: what real S3 servers send arrives whole and unchanged, and what is no event costs nothing but itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::de::IgnoredAny;

use crate::support::{Agent, BINARY, Process, Webhook, eventually, within};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

/// What S3 servers sent, byte for byte, and how many events are in it.
const CAPTURED: [(&str, usize); 9] = [
    // `[`, then `{…},\n` each, and no `]` ever; not valid UTF-8.
    ("rgw-socket.bin", 210),
    ("rgw-socket-reconnect.bin", 16),
    ("rgw-socket-headers.bin", 111),
    // A line end a flush: `{…}{…}\n`, and an empty line at the end.
    ("rgw-file.log", 226),
    // One event a line.
    ("minio.ndjson", 22),
    ("rustfs.ndjson", 20),
    ("versitygw.ndjson", 22),
    ("weka.ndjson", 22),
    ("proxy.ndjson", 12),
];

fn captured(name: &str) -> Vec<u8> {
    fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data")
            .join(name),
    )
    .unwrap()
}

/// The objects in a sound stream as another parser than the agent's finds them, with U+FFFD for what is no UTF-8.
fn objects(mut stream: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some(start) = stream.iter().position(|&byte| byte == b'{') {
        stream = &stream[start..];
        let mut values = serde_json::Deserializer::from_slice(stream).into_iter::<IgnoredAny>();
        values.next().unwrap().unwrap();
        let (object, rest) = stream.split_at(values.byte_offset());
        found.push(String::from_utf8_lossy(object).into_owned());
        stream = rest;
    }
    found
}

fn delivered(hook: &Webhook) -> Vec<String> {
    let events = hook.delivered_events().into_iter();
    events
        .map(|event| String::from_utf8(event).unwrap())
        .collect()
}

fn reasons<const N: usize>(reasons: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let reasons = reasons.into_iter();
    reasons
        .map(|(reason, count)| (reason.to_owned(), count))
        .collect()
}

/// An event of exactly this length.
fn event_of(length: usize) -> String {
    let frame = r#"{"key":""}"#.len();
    format!(r#"{{"key":"{}"}}"#, "k".repeat(length - frame))
}

#[test]
fn every_event_of_every_captured_stream_arrives_unchanged() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files: BTreeSet<_> = fs::read_dir(data)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        // Certificates that openssl made are no stream.
        .filter(|name| name != "certificates")
        // Messages of the fluent protocol are another story.
        .filter(|name| !name.starts_with("seaweedfs"))
        .collect();
    assert_eq!(files, CAPTURED.map(|(name, _)| name.to_owned()).into());

    for (name, count) in CAPTURED {
        let stream = captured(name);
        let sent = objects(&stream);
        assert_eq!(sent.len(), count, "{name}");

        let hook = Webhook::start();
        let agent = Agent::command()
            .arg("run")
            .endpoint(&hook.url())
            .token(TOKEN);
        let ended = agent.input(stream).run();

        assert_eq!(ended.code, Some(0), "{name}: {}", ended.log);
        assert!(
            delivered(&hook) == sent,
            "{name}: some event is not what was sent"
        );
        let balance = ended.balance();
        assert_eq!(
            (balance.received, balance.dropped),
            (count as u64, 0),
            "{name}"
        );
        balance.holds();
    }
}

#[test]
fn objects_are_found_however_they_are_separated_and_each_becomes_one_line() {
    let stream = "\u{feff}{\"n\":1}\r\n\r\n{ \"n\" : \"two  spaces\" }{\"n\":[3, {}]}\n\
        [{\"n\":4},\n{\"n\":\"}{ \\\"5\\\\\"},\n\n\
        {\n    \"n\": 6,\r\n    \"is\": [\n\t\t\"pretty\"\n    ]\n}\n\
        ] {\"n\":7.0e+2} , {\"n\":\"\\u2028 \u{2028} é\"}";
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let mut agent = agent.spawn();
    for byte in stream.bytes() {
        agent.stdin().write_all(&[byte]).unwrap();
    }
    agent.close_stdin();
    let balance = agent.wait().balance();

    let expected = [
        "{\"n\":1}",
        "{ \"n\" : \"two  spaces\" }",
        "{\"n\":[3, {}]}",
        "{\"n\":4}",
        "{\"n\":\"}{ \\\"5\\\\\"}",
        "{\"n\": 6,\"is\": [\"pretty\"]}",
        "{\"n\":7.0e+2}",
        "{\"n\":\"\\u2028 \u{2028} é\"}",
    ];
    assert_eq!(delivered(&hook), expected);
    assert_eq!((balance.received, balance.dropped), (8, 0));
}

#[test]
fn each_piece_of_garbage_costs_itself_alone_and_is_counted_but_not_shown() {
    let malformed: [&[u8]; 21] = [
        b"secret: this is no JSON",
        b"null",
        b"17",
        b"\"secret\"",
        b"}",
        b"[\"secret\", 5]",
        b"\x00\xff\xfe\x80 secret",
        b"{secret}",
        b"{'secret':1}",
        b"{\"secret\" 1}",
        b"{\"secret\":1,}",
        b"{\"secret\":01}",
        b"{\"secret\":+1}",
        b"{\"secret\":NaN}",
        b"{\"secret\":\"\\q\"}",
        b"{\"secret\":\"\x01\"}",
        b"{\"secret\":[1}",
        // Spread over lines: what is inside is not taken for an event.
        b"{\n  \"secret\": 01,\n  \"in\": [\n    {\"secret\": 1}\n  ]\n}",
        // Cut off.
        b"{\"secret\":tru",
        b"{\"secret\":\"never ends",
        b"{\"secret\":{\"a\":[",
    ];
    let too_large = [event_of(1001), event_of(5000), event_of(300_000)];
    let garbage = malformed
        .into_iter()
        .chain(too_large.iter().map(String::as_bytes));

    let mut stream = Vec::new();
    let mut sound = Vec::new();
    for (number, garbage) in garbage.enumerate() {
        // The second one of them makes sure that the first is not held for the inside of what was cut off.
        for event in [format!("{{\"n\":{number}}}"), event_of(1000)] {
            stream.extend_from_slice(event.as_bytes());
            stream.push(b'\n');
            sound.push(event);
        }
        stream.extend_from_slice(garbage);
        stream.push(b'\n');
    }
    sound.push("{\"n\":\"behind a prefix\"}".to_owned());
    stream.extend_from_slice(b"Nov 22 07:00:00 secret: {\"n\":\"behind a prefix\"}\n");

    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let agent = agent.args(["--max-event-bytes", "1000"]);
    let ended = agent
        .env("S3_AUDIT_WEBHOOK_LOG", "trace")
        .input(stream)
        .run();

    assert_eq!(delivered(&hook), sound);
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        balance.by_reason,
        reasons([("malformed", 21 + 1), ("too large", 3)])
    );
    assert!(ended.log.contains("(malformed)"), "{}", ended.log);
    assert!(ended.log.contains("(too large)"), "{}", ended.log);
    for content in ["secret", "kkk", "behind"] {
        assert!(!ended.log.contains(content), "{}", ended.log);
    }
}

#[test]
fn what_stands_around_whole_objects_is_no_loss() {
    let stream = [
        "<14>1 2026-03-01T00:00:00Z h app - - [id a=\"b\"] \u{feff}{\"n\":1}",
        "<13>Nov 28 10:00:00 host app[1]: {\"n\":2}",
        "2026-03-01T00:00:00.1Z stdout F {\"n\":3}",
        "2026-03-01T00:00:00.1Z stdout P {\"n\"",
        "2026-03-01T00:00:00.2Z stdout P :",
        "2026-03-01T00:00:00.3Z stdout F 4}",
        "\u{1e}{\"n\":5}",
        "7 {\"n\":6}7 {\"n\":7}",
        "# a comment {\"n\":0}",
        "  // another",
        "\0\0\0\0{\"n\":8}\0",
        "",
    ];
    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let balance = agent.input(stream.join("\n")).run().balance();
    let expected: Vec<_> = (1..=8).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(delivered(&hook), expected);
    assert_eq!((balance.received, balance.dropped), (8, 0));
}

#[test]
fn an_event_may_be_as_long_as_it_was_said_and_no_longer() {
    for (option, limit) in [("--max-event-bytes=2KiB", 2048), ("", 4 << 20)] {
        let stream = [event_of(limit), event_of(limit + 1), event_of(1000)].join("\n");
        let hook = Webhook::start();
        let agent = Agent::command()
            .arg("run")
            .endpoint(&hook.url())
            .token(TOKEN);
        let option = (!option.is_empty()).then_some(option);
        let balance = agent.args(option).input(stream).run().balance();
        let lengths: Vec<_> = hook.delivered_events().iter().map(Vec::len).collect();
        assert_eq!(lengths, [limit, 1000]);
        assert_eq!(balance.by_reason, reasons([("too large", 1)]));
    }
}

/// Its newline counts, and each byte that is no UTF-8 becomes three.
#[test]
fn an_event_for_which_the_buffer_never_has_room_is_too_large_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let replaced = [b"{\"key\":\"".as_slice(), &[0xE9; 400], b"\"}"].concat();
    let stream = [
        event_of(1000).as_bytes(),
        &replaced,
        event_of(999).as_bytes(),
    ]
    .join(&b'\n');
    fs::write(&path, stream).unwrap();

    let agent = Agent::command().args(["run", "--dry-run", "--buffer-bytes", "1000"]);
    let ended = agent.stdin(File::open(&path).unwrap()).run();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert_eq!(ended.balance().by_reason, reasons([("too large", 2)]));
    assert_eq!(
        ended.stdout,
        event_of(999)
            .into_bytes()
            .into_iter()
            .chain(*b"\n")
            .collect::<Vec<_>>()
    );
}

#[test]
fn deep_nesting_and_endless_input_take_bounded_memory_and_the_next_events_arrive() {
    const NEXT: &str = "\n{\"next\":1}\n{\"next\":2}\n";
    let nested = |close: &str| format!("{{\"a\":{}{}", "[".repeat(100_000), close.repeat(100_000));
    let endless =
        |start: &str, piece: &str| start.to_owned() + &piece.repeat((20 << 20) / piece.len());
    let cases = [
        ("closed nesting", nested("]") + "}", Some("malformed")),
        (
            "nesting that is never closed",
            nested(""),
            Some("malformed"),
        ),
        ("nesting alone", endless("{\"a\":", "["), Some("malformed")),
        ("no bracket", endless("", "no bracket "), Some("malformed")),
        ("white space", endless("", " "), None),
        ("closing brackets", endless("", "}]"), Some("malformed")),
        (
            "no end of a string",
            endless("{\"a\":\"", "a"),
            Some("too large"),
        ),
        (
            "no end of members",
            endless("{", "\"a\":[1],"),
            Some("too large"),
        ),
    ];
    for (what, input, lost) in cases {
        let hook = Webhook::start();
        let agent = Agent::command()
            .arg("run")
            .endpoint(&hook.url())
            .token(TOKEN);
        let mut agent = agent.args(["--batch-age", "0"]).spawn();
        agent.stdin().write_all(input.as_bytes()).unwrap();
        agent.stdin().write_all(NEXT.as_bytes()).unwrap();
        within(Duration::from_secs(60), what, || {
            delivered(&hook).ends_with(&["{\"next\":1}".into(), "{\"next\":2}".into()])
        });
        let peak = agent.peak_kib();
        assert!(peak < 24 << 10, "{what}: {peak} KiB");

        agent.close_stdin();
        let balance = agent.wait().balance();
        let lost = lost.map(|reason| (reason.to_owned(), 1));
        assert_eq!(balance.by_reason, lost.into_iter().collect(), "{what}");
    }
}

#[test]
fn a_dry_run_prints_what_would_be_posted() {
    let stream = [
        captured("rgw-file.log"),
        b"garbage\n".to_vec(),
        captured("weka.ndjson"),
    ]
    .concat();
    let options = ["--batch-events", "7", "--max-event-bytes", "5000"];

    let hook = Webhook::start();
    let agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN);
    let posted = agent.args(options).input(stream.clone()).run();
    let bodies: Vec<u8> = hook
        .requests()
        .into_iter()
        .flat_map(|request| request.body)
        .collect();

    let agent = Agent::command().args(["run", "--dry-run"]).args(options);
    let printed = agent.input(stream).run();
    assert_eq!(printed.code, Some(0), "{}", printed.log);
    assert!(!bodies.is_empty() && printed.stdout == bodies);
    assert_eq!(printed.balance(), posted.balance());
}

#[test]
fn a_dry_run_whose_reader_has_gone_ends_as_failed() {
    let mut command = Command::new(BINARY);
    command
        .args(["run", "--dry-run", "--batch-age", "0"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut agent = Process::start(&mut command).unwrap();
    drop(agent.child.stdout.take());
    let mut stdin = agent.child.stdin.take().unwrap();
    stdin.write_all(b"{}\n{}\n").unwrap();
    // Although there could be more to read.
    let code = eventually("its end", || agent.try_wait()).code();

    let mut log = String::new();
    let stderr = agent.child.stderr.as_mut().unwrap();
    stderr.read_to_string(&mut log).unwrap();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("standard output"), "says why: {log}");
    assert!(!log.contains("retrying"), "it does not: {log}");
    let balance = "received 2, delivered 0, dropped 2 (shutdown 2), buffered 0\n";
    assert!(log.ends_with(balance), "{log}");
}
