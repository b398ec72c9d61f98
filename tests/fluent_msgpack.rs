//! `fluent:` in MessagePack, which is what SeaweedFS sends by default, and fluentd and Fluent Bit always.

use std::io::Write;
use std::net::Shutdown;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use rmpv::Value;
use serde_json::{Value as Json, json};
use socket2::SockRef;

use crate::http_attacks::refused;
use crate::source_fluent::{Place, Weed};
use crate::source_http::{events, free_address, start};
use crate::support::{Metrics, Webhook, arrived, end, event, eventually, wait_for_end};

const CAPTURE: &[u8] = include_bytes!("data/seaweedfs-fluent.msgpack.bin");
const CAPTURE_ACK: &[u8] = include_bytes!("data/seaweedfs-fluent-ack.msgpack.bin");

/// What stands in a capture, each message with the bytes that it takes.
fn messages(mut capture: &[u8]) -> Vec<(Value, Vec<u8>)> {
    let mut messages = Vec::new();
    while !capture.is_empty() {
        let before = capture;
        let message = rmpv::decode::read_value(&mut capture).unwrap();
        let bytes = &before[..before.len() - capture.len()];
        messages.push((message, bytes.to_vec()));
    }
    messages
}

/// A record of strings and numbers.
fn as_json(value: &Value) -> Json {
    match value {
        Value::String(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        Value::Integer(number) => number.as_i64().unwrap().into(),
        Value::Map(pairs) => {
            let pair = |(name, value): &(Value, Value)| {
                (name.as_str().unwrap().to_owned(), as_json(value))
            };
            Json::Object(pairs.iter().map(pair).collect())
        }
        other => panic!("{other}"),
    }
}

fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn array(values: Vec<Value>) -> Value {
    Value::Array(values)
}

/// The record that becomes [`event`].
fn record(number: u64) -> Value {
    let event: Json = serde_json::from_str(&event(number)).unwrap();
    let member = |(name, value): (&String, &Json)| {
        let value = match value {
            Json::String(text) => text.as_str().into(),
            other => other.as_u64().unwrap().into(),
        };
        (name.as_str().into(), value)
    };
    Value::Map(event.as_object().unwrap().iter().map(member).collect())
}

fn entry(number: u64) -> Value {
    array(vec![1_795_326_382.into(), record(number)])
}

fn entries(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.flat_map(|number| packed(&entry(number))).collect()
}

fn option(members: &[(&str, &str)]) -> Value {
    let members = members
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Value::Map(members.collect())
}

fn send(weed: &mut Weed, second: Value, option: Value) {
    weed.send(&packed(&array(vec!["t".into(), second, option])));
}

#[track_caller]
fn expect_ack(weed: &mut Weed, chunk: &str) {
    let expected = packed(&option(&[("ack", chunk)]));
    let mut got = vec![0; expected.len()];
    weed.0.read_exact(&mut got).unwrap();
    assert_eq!(got, expected);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_record_of_seaweedfs_with_its_default_settings_arrives() {
    for place in [Place::tcp(), Place::unix()] {
        for (capture, count) in [(CAPTURE, 136), (CAPTURE_ACK, 21)] {
            let hook = Webhook::start();
            let agent = start(&hook, &[&place.option()]);
            let mut weed = place.connect();
            let mut expected = Vec::new();
            for (message, bytes) in messages(capture) {
                weed.send(&bytes);
                expected.push(as_json(&message[2]));
                if let Some((_, chunk)) = message[3].as_map().and_then(|option| option.first()) {
                    expect_ack(&mut weed, chunk.as_str().unwrap());
                }
            }
            assert_eq!(expected.len(), count);
            hook.wait_for_events(count);
            let arrived: Vec<Json> = arrived(&hook)
                .iter()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            assert_eq!(arrived, expected);
            let balance = end(agent, &hook);
            assert_eq!((balance.received, balance.dropped), (count as u64, 0));
            assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn every_mode_carries_events_and_is_acknowledged() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let mut weed = place.connect();
        // Heartbeats mean nothing.
        weed.send(&[0xc0, 0xc0]);
        let message = array(vec![
            "t".into(),
            1.into(),
            record(0),
            option(&[("chunk", "a")]),
        ]);
        weed.send(&packed(&message));
        expect_ack(&mut weed, "a");
        let many = array(vec![entry(1), entry(2)]);
        send(&mut weed, many.clone(), option(&[("chunk", "b")]));
        expect_ack(&mut weed, "b");
        send(
            &mut weed,
            Value::Binary(entries(3..5)),
            option(&[("chunk", "c")]),
        );
        expect_ack(&mut weed, "c");
        let members = [gzip(&entries(5..7)), gzip(b""), gzip(&entries(7..9))].concat();
        let compressed = option(&[("chunk", "d"), ("compressed", "gzip")]);
        send(&mut weed, Value::Binary(members), compressed);
        expect_ack(&mut weed, "d");
        send(&mut weed, many, Value::Map(Vec::new()));
        weed.send(&[0xc0]);
        hook.wait_for_events(11);
        assert_eq!(arrived(&hook), events([0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2]));
        let balance = end(agent, &hook);
        assert_eq!((balance.received, balance.dropped), (11, 0));
    }
}

#[test]
fn a_chunk_that_does_not_fit_is_taken_whole_later_and_only_once() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    hook.hold();
    let status = free_address();
    let page = format!("--status-listen={status}");
    let agent = start(&hook, &[&place.option(), "--buffer-events=100", &page]);
    let waited = || {
        let refused = refused(&Metrics::at(status), &place.source()).into_iter();
        let mut waited = refused.filter(|(reason, _)| reason == "buffer_full");
        waited.next().map_or(0, |(_, requests)| requests)
    };
    let mut weed = place.connect();
    let chunk = |id: &str| option(&[("chunk", id)]);
    send(&mut weed, Value::Binary(entries(0..90)), chunk("first"));
    expect_ack(&mut weed, "first");
    for _ in 0..3 {
        // A client that gives up sends it again over another connection.
        let before = waited();
        let mut impatient = place.connect();
        send(
            &mut impatient,
            Value::Binary(entries(90..120)),
            chunk("second"),
        );
        eventually("it waits for room", || (waited() > before).then_some(()));
        // What is read only after its client has gone, when there is room again, would arrive twice.
        let socket = impatient.0.as_fd();
        SockRef::from(&socket).shutdown(Shutdown::Write).unwrap();
        assert_eq!(impatient.0.read_to_end(&mut Vec::new()).unwrap(), 0);
    }
    send(&mut weed, Value::Binary(entries(90..120)), chunk("second"));
    hook.release();
    expect_ack(&mut weed, "second");
    hook.wait_for_events(120);
    assert_eq!(arrived(&hook), events(0..120));
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (120, 0));
}

/// What clients make with their default settings may be larger than the buffer, or than any message that is kept whole.
#[test]
fn a_chunk_that_can_not_be_taken_at_once_is_taken_in_parts() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let limits = ["--buffer-events=1000", "--max-event-bytes=100000"];
    let agent = start(&hook, &[&place.option(), limits[0], limits[1]]);
    hook.hold();
    let mut weed = place.connect();
    let chunk = |id: &str| option(&[("chunk", id)]);
    // More events than the buffer may hold; and more bytes than are kept of a message.
    send(&mut weed, Value::Binary(entries(0..1500)), chunk("events"));
    agent.wait_for_log("refused (503 buffer full)");
    assert_eq!(agent.log().matches("refused (503 buffer full)").count(), 1);
    hook.release();
    expect_ack(&mut weed, "events");
    let long = [("a".into(), "x".repeat(90_000).as_str().into())];
    let long = packed(&array(vec![1.into(), Value::Map(long.to_vec())]));
    let too_long = [("a".into(), "x".repeat(110_000).as_str().into())];
    let too_long = packed(&array(vec![1.into(), Value::Map(too_long.to_vec())]));
    let many = [
        &long.repeat(100)[..],
        &too_long,
        b"\xc0\xc0",
        &long.repeat(100),
    ]
    .concat();
    send(&mut weed, Value::Binary(many.clone()), chunk("bytes"));
    expect_ack(&mut weed, "bytes");
    let compressed = option(&[("chunk", "gzip"), ("compressed", "gzip")]);
    send(&mut weed, Value::Binary(gzip(&many)), compressed);
    expect_ack(&mut weed, "gzip");
    // The same as an array, and one event that is longer than any message.
    let entries = |count| {
        array(
            (0..count)
                .map(|_| rmpv::decode::read_value(&mut &long[..]).unwrap())
                .collect(),
        )
    };
    send(&mut weed, entries(200), chunk("array"));
    expect_ack(&mut weed, "array");
    let huge = [("a".into(), "x".repeat(20 << 20).as_str().into())];
    weed.send(&packed(&array(vec![
        "t".into(),
        1.into(),
        Value::Map(huge.to_vec()),
        chunk("huge"),
    ])));
    expect_ack(&mut weed, "huge");
    hook.wait_for_events(1500 + 600);
    assert_eq!(arrived(&hook)[..1500], events(0..1500));
    let peak = agent.peak_kib();
    let balance = end(agent, &hook);
    assert_eq!(
        (balance.received, balance.delivered),
        (1500 + 600 + 5, 1500 + 600)
    );
    assert_eq!(
        (
            balance.by_reason["too large"],
            balance.by_reason["malformed"]
        ),
        (3, 2)
    );
    assert!(peak < 96 << 10, "{peak} KiB");
}

/// Whatever is left to be read of a client that waits, it has not gone.
#[test]
fn a_client_may_wait_for_room_in_the_midst_of_a_long_chunk() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option(), "--buffer-bytes=16MiB"]);
    hook.hold();
    let mut weed = place.connect();
    let long = [("a".into(), "x".repeat(90_000).as_str().into())];
    let long = packed(&array(vec![1.into(), Value::Map(long.to_vec())])).repeat(300);
    thread::scope(|scope| {
        scope.spawn(|| send(&mut weed, Value::Binary(long), option(&[("chunk", "a")])));
        agent.wait_for_log("refused (503 buffer full)");
        hook.release();
    });
    expect_ack(&mut weed, "a");
    hook.wait_for_events(300);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.delivered), (300, 300));
}

/// It is in the agent's hands, and in part still in the socket's, and waits for room.
#[test]
fn a_long_chunk_that_nobody_else_has_is_delivered_or_counted() {
    const EVENTS: u64 = 1000;
    let text = "x".repeat(20_000);
    let entry = |kind| {
        let record = option(&[("a", &text), ("kind", kind)]);
        packed(&array(vec![1.into(), record]))
    };
    let long = [entry("sent"), entry("excluded")].concat();
    let long = Value::Binary(gzip(&long.repeat(EVENTS as usize / 2)));
    for (leaves, room, reason) in [
        (true, "--buffer-bytes=4MiB", "buffer full"),
        (true, "--spool-bytes=4MiB", "spool full"),
        (false, "--buffer-bytes=4MiB", "buffer full"),
    ] {
        let (hook, place) = (Webhook::start(), Place::tcp());
        let rule = "--exclude=kind=excluded";
        let agent = start(&hook, &[&place.option(), room, rule]);
        hook.hold();
        let mut weed = place.connect();
        send(&mut weed, long.clone(), option(&[("compressed", "gzip")]));
        agent.wait_for_log("refused (503 buffer full)");
        if leaves {
            drop(weed);
        } else {
            agent.signal(libc::SIGTERM);
        }
        agent.wait_for_log(&format!("({reason}); "));
        hook.release();
        let balance = if leaves {
            end(agent, &hook)
        } else {
            wait_for_end(agent, &hook)
        };
        let sent = balance.delivered + balance.dropped;
        let counts = (balance.received, balance.filtered, sent);
        assert_eq!(counts, (EVENTS, EVENTS / 2, EVENTS / 2), "{balance:?}");
        assert_eq!(balance.by_reason[reason], balance.dropped, "{balance:?}");
    }
}

/// Nothing but strings, which becomes much more, and a chunk in a compression that is known only when it has ended.
#[test]
fn a_chunk_that_holds_nothing_costs_no_memory() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    let text = [b"\xda\x10\x00".as_slice(), &[b'x'; 0x1000]].concat();
    let bomb = gzip(&text.repeat(10_000));
    let compressed = option(&[("chunk", "bomb"), ("compressed", "gzip")]);
    send(&mut weed, Value::Binary(bomb), compressed);
    expect_ack(&mut weed, "bomb");
    let zstd = option(&[("chunk", "z"), ("compressed", "zstd")]);
    send(&mut weed, Value::Binary(text.repeat(5000)), zstd);
    send(
        &mut weed,
        Value::Binary(entries(1..2)),
        option(&[("chunk", "last")]),
    );
    expect_ack(&mut weed, "last");
    hook.wait_for_events(1);
    let peak = agent.peak_kib();
    agent.wait_for_log("fix: set its compression to gzip");
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (2, 1));
    assert!(peak < 64 << 10, "{peak} KiB");
}

/// To send it again would not help, and would stop all that is behind it.
#[test]
fn what_is_no_message_is_acknowledged_if_it_asks_for_that() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    let chunk = option(&[("chunk", "a")]);
    for other in [
        vec!["t".into(), 1.into(), 2.into(), chunk.clone()],
        vec![1.into(), chunk],
    ] {
        weed.send(&packed(&array(other)));
        expect_ack(&mut weed, "a");
    }
    agent.wait_for_log(" sends something that is no fluent message");
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (2, 2));
}

#[test]
fn what_json_lacks_is_written_as_the_nearest_thing_that_it_has() {
    let (hook, place) = (Webhook::start(), Place::unix());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    let odd = Value::Map(vec![
        (1.into(), Value::F64(f64::NAN)),
        ("bin".into(), Value::Binary(b"a\xe9\"".to_vec())),
        ("time".into(), Value::Ext(0, vec![0, 0, 0, 1, 0, 0, 0, 2])),
        ("ext".into(), Value::Ext(5, vec![255])),
        (array(vec![Value::Nil]), Value::F32(0.5)),
    ]);
    weed.send(&packed(&array(vec!["t".into(), 1.into(), odd])));
    // Too deep, but followed to its end.
    let deep = [&b"\x93\xa1t\x01\x81\xa1a"[..], &[0x91; 600], b"\xc0"].concat();
    weed.send(&deep);
    weed.send(&packed(&array(vec!["t".into(), 1.into(), record(1)])));
    hook.wait_for_events(2);
    let arrived = arrived(&hook);
    let expected = "{\"1\":null,\"bin\":\"a\u{fffd}\\\"\",\"time\":1.000000002,\"ext\":\"/w==\",\"[null]\":0.5}";
    assert_eq!(arrived, [expected.to_owned(), event(1)]);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (3, 1));
}

#[test]
fn what_is_no_message_costs_itself_and_what_is_no_messagepack_the_connection() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option(), "--report-interval", "1h"]);
    let mut weed = place.connect();
    for other in [
        json!([]),
        json!([1, 2]),
        json!(["t", 1, 2]),
        json!({"a": 1}),
    ] {
        weed.send(&packed(&rmpv_of(&other)));
        send(
            &mut weed,
            Value::Binary(entries(1..2)),
            option(&[("chunk", "a")]),
        );
        expect_ack(&mut weed, "a");
    }
    // A value cut off within a chunk, and an entry without a record.
    let cut = entries(2..4);
    send(
        &mut weed,
        Value::Binary(cut[..cut.len() - 1].to_vec()),
        option(&[("chunk", "b")]),
    );
    expect_ack(&mut weed, "b");
    // A compression that nobody here knows: its client keeps the chunk.
    let zstd = option(&[("chunk", "z"), ("compressed", "zstd")]);
    send(&mut weed, Value::Binary(vec![1, 2, 3]), zstd);
    weed.send(&[0xc1]);
    eventually("it is closed", || weed.0.write_all(&[0xc0]).err());
    agent.wait_for_log(" sends something that is no fluent message");
    agent.wait_for_log("fix: set its compression to gzip");
    let balance = end(agent, &hook);
    assert_eq!(balance.by_reason["malformed"], 4 + 1 + 1);
    assert_eq!(arrived(&hook), events([1, 1, 1, 1, 2]));
}

fn rmpv_of(json: &Json) -> Value {
    match json {
        Json::Array(values) => array(values.iter().map(rmpv_of).collect()),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| (name.as_str().into(), rmpv_of(value));
            Value::Map(members.iter().map(member).collect())
        }
        Json::String(text) => text.as_str().into(),
        other => other.as_u64().unwrap().into(),
    }
}

#[test]
fn heartbeats_alone_keep_no_place() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option(), "--listen-connections=3"]);
    let mut clients: Vec<_> = (0..6).map(|_| place.connect()).collect();
    for client in &mut clients {
        // Those that were closed may notice.
        let _ = client.0.write_all(b"\xc0\xc0");
    }
    let mut weed = place.connect();
    weed.send(b"\x94\xa1t\x01\x81\xa1n\x07\x81\xa5chunk\xa1c");
    let mut ack = [0; 7];
    weed.0.read_exact(&mut ack).unwrap();
    assert_eq!(&ack, b"\x81\xa3ack\xa1c");
    hook.wait_for_events(1);
    end(agent, &hook);
}

#[test]
fn clients_of_other_protocols_are_refused_and_lose_nothing() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    for (first, reason) in [
        (
            &b"PROXY TCP4 192.168.0.1 192.0.2.2 1 2\r\n\x92\xa1t\x90"[..],
            "(400 the client sends a PROXY header)",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\xa8\0\x01\xc0\xa8\0\x02\0\x01\0\x02",
            "(400 the client sends a PROXY header)",
        ),
        (
            b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
            "(400 the client speaks HTTP, this address does not)",
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "(400 the client speaks HTTP/2, this address does not)",
        ),
    ] {
        let mut client = place.connect();
        client.send(first);
        agent.wait_for_log(reason);
        eventually("it is closed", || client.0.write_all(&[0]).err());
    }
    let log = agent.log();
    assert!(!log.contains("malformed"), "{log}");
    end(agent, &hook);
}

#[test]
fn a_client_that_wants_a_handshake_or_tls_gets_one_clear_line() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    for _ in 0..2 {
        let mut weed = place.connect();
        weed.send(b"\x96\xa4PING\xa1h\xa1s\xa1d\xa0\xa0");
        let mut weed = place.connect();
        weed.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        eventually("it is closed", || weed.0.write_all(&[0]).err());
    }
    agent.wait_for_log("wants the shared-key handshake, which the agent does not support");
    agent.wait_for_log("speaks TLS");
    agent.wait_for_log("refused");
    let log = agent.log();
    assert_eq!(log.matches("ERROR").count(), 2, "{log}");
    end(agent, &hook);
}
