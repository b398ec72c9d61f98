//! Messages: each is acknowledged once its records are held, and what is none costs itself alone.

use std::io::Read;

use serde::de::IgnoredAny;

use crate::source_http::{end_with, events, free_address, start};
use crate::support::{Webhook, arrived, end, event};

use super::{Place, message};

const JSON: &[u8] = include_bytes!("../data/seaweedfs-fluent.json.bin");
const JSON_ACK: &[u8] = include_bytes!("../data/seaweedfs-fluent-ack.json.bin");

/// What stands in a capture end to end.
fn messages(capture: &[u8]) -> Vec<&str> {
    let mut ends = serde_json::Deserializer::from_slice(capture).into_iter::<IgnoredAny>();
    let mut messages = Vec::new();
    let mut start = 0;
    while let Some(message) = ends.next() {
        message.unwrap();
        messages.push(std::str::from_utf8(&capture[start..ends.byte_offset()]).unwrap());
        start = ends.byte_offset();
    }
    messages
}

/// A captured message's record, as it stands there, and its option. Neither tag, time nor option hold what would
/// make a comma ambiguous.
fn parts(message: &str) -> (&str, &str) {
    let record = message.splitn(3, ',').nth(2).unwrap();
    let (record, option) = record.rsplit_once(",{").unwrap();
    (record, option.strip_suffix("}]").unwrap())
}

fn records(capture: &[u8]) -> Vec<String> {
    let messages = messages(capture);
    messages
        .iter()
        .map(|message| parts(message).0.to_owned())
        .collect()
}

#[test]
fn every_record_of_seaweedfs_arrives_byte_for_byte() {
    for place in [Place::tcp(), Place::unix()] {
        for (capture, count) in [(JSON, 136), (JSON_ACK, 21)] {
            let hook = Webhook::start();
            let agent = start(&hook, &[&place.option()]);
            let mut weed = place.connect();
            weed.send(capture);
            hook.wait_for_events(count);
            let expected = records(capture);
            assert_eq!(expected.len(), count);
            end_with(agent, &hook, &expected);
        }
    }
}

#[test]
fn each_message_is_acknowledged_once_it_is_in_the_buffer() {
    for place in [Place::tcp(), Place::unix()] {
        let (hook, status) = (Webhook::start(), free_address());
        // What is acknowledged is so before the webhook has it.
        hook.hold();
        let agent = start(
            &hook,
            &[&place.option(), &format!("--status-listen={status}")],
        );
        let mut weed = place.connect();
        for (number, message) in messages(JSON_ACK).into_iter().enumerate() {
            let chunk = parts(message).1.strip_prefix(r#""chunk":""#).unwrap();
            weed.send(message.as_bytes());
            weed.expect_ack(chunk.strip_suffix('"').unwrap());
            let received = format!(
                "s3_audit_webhook_events_received_total{{source=\"{}\"}} {}\n",
                place.source(),
                number + 1
            );
            let page = crate::status::get(status, "/metrics").1;
            assert!(page.contains(&received), "{received} in\n{page}");
        }
        hook.release();
        hook.wait_for_events(21);
        end_with(agent, &hook, &records(JSON_ACK));
        // Nothing but the acknowledgements ever came.
        assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn messages_may_ask_for_an_acknowledgement_each_as_they_like() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    let long = "x".repeat(1000);
    let all = [
        message(&event(1), r#"{"chunk":"a"}"#),
        message(&event(2), "{}"),
        message(&event(3), r#"{ "size" : 1 , "chunk" : "\u00e9\"\n" }"#),
        message(&event(4), r#"{"chunk":7}"#),
        format!(r#"["t",1.5,{}]"#, event(5)),
        message(&event(6), &format!(r#"{{"chunk":"{long}"}}"#)),
    ];
    weed.send(all.concat().as_bytes());
    for chunk in ["a", "é\\\"\\n", &long] {
        weed.expect_ack(chunk);
    }
    hook.wait_for_events(6);
    end_with(agent, &hook, &events(1..=6));
    assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
}

#[test]
fn messages_may_be_split_anywhere() {
    let record = r#"{"key":"a\"]},[\n{é","list":[{},[1]],"n":-1.5e3}"#;
    let (hook, place) = (Webhook::start(), Place::unix());
    let agent = start(&hook, &[&place.option()]);

    let mut weed = place.connect();
    let two = message(record, r#"{"chunk":"]"}"#) + &message(record, "{}");
    for byte in two.bytes() {
        weed.send(&[byte]);
        weed.wait_until_read();
    }
    weed.expect_ack("]");
    // Pieces of many lengths, so that some cut where it matters.
    let mut rest = JSON;
    for length in (1..).map(|number| number * 7919 % 1024 + 1) {
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        weed.send(piece);
        weed.wait_until_read();
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    hook.wait_for_events(2 + 136);
    let expected = [vec![record.to_owned(); 2], records(JSON)].concat();
    end_with(agent, &hook, &expected);
}

/// It comes again, over the next connection.
#[test]
fn a_message_that_is_cut_off_by_the_connections_end_is_forgotten() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option()]);
        let whole = message(&event(2), r#"{"chunk":"c"}"#);
        for end in [1, 5, 20, whole.len() - 14, whole.len() - 1] {
            let mut weed = place.connect();
            weed.ask(&event(1));
            weed.send(&whole.as_bytes()[..end]);
        }
        let mut weed = place.connect();
        weed.send(whole.as_bytes());
        weed.expect_ack("c");
        hook.wait_for_events(6);
        end_with(agent, &hook, &events([1, 1, 1, 1, 1, 2]));
    }
}

#[test]
fn what_is_no_message_costs_itself_alone_and_never_the_connection() {
    for place in [Place::tcp(), Place::unix()] {
        let hook = Webhook::start();
        let agent = start(&hook, &[&place.option(), "--report-interval", "1h"]);
        let mut idle = place.connect();
        let mut weed = place.connect();
        let mut lost = 0;
        for garbage in [
            "geheim",
            "[]",
            r#"["s3.access",1795326382]"#,
            r#"["s3.access",1795326382,"geheim",{}]"#,
            r#"["s3.access",1795326382,{"n":geheim},{}]"#,
            r#"[{"n":1}]"#,
            r#"{"n":1}"#,
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            // There is no line's end anywhere in such a stream.
            weed.send(garbage.as_bytes());
            weed.ask(&event(lost));
            lost += 1;
            weed.ask(&event(lost));
        }
        idle.ask(&event(1000));
        hook.wait_for_events(2 * lost + 1);
        let expected: Vec<_> = (0..lost).flat_map(|number| [number, number + 1]).collect();
        assert_eq!(arrived(&hook), events(expected.into_iter().chain([1000])));
        let line = " sends something that is no fluent message";
        let logged = agent.wait_for_log(line);
        let is_named = logged.contains("a client at 127.");
        assert_eq!(is_named, matches!(place, Place::Tcp(_)), "{logged}");
        let log = agent.log();
        assert_eq!(log.matches(line).count(), 1, "{log}");
        assert!(!log.contains("geheim"), "{log}");
        let balance = end(agent, &hook);
        assert_eq!(balance.dropped, balance.by_reason["malformed"]);
        assert_eq!(balance.dropped, lost as u64, "{balance:?}");
        // Only now are they closed.
        for weed in [&mut weed, &mut idle] {
            assert_eq!(weed.0.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_message_in_json_may_carry_many_events() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option()]);
    let mut weed = place.connect();
    weed.send(br#"["t",[[1,{"n":1}],[2,{"n":2}]],{"chunk":"a","size":2}]"#);
    weed.expect_ack("a");
    weed.send(br#"["t",[[3,{"n":3}]]]["t",[[4],[5,{"n":5}]]]"#);
    hook.wait_for_events(4);
    assert_eq!(arrived(&hook), events([1, 2, 3, 5]));
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 1));
}

#[test]
fn a_record_that_is_too_large_is_counted_and_acknowledged_all_the_same() {
    let (hook, place) = (Webhook::start(), Place::tcp());
    let agent = start(&hook, &[&place.option(), "--max-event-bytes", "1000"]);
    let of_length = |bytes: usize| format!(r#"{{"n":"{}"}}"#, "x".repeat(bytes - 8));
    let mut weed = place.connect();
    let fits = of_length(1000);
    weed.ask(&fits);
    // A server that gets no word for a message never sends another.
    for bytes in [1001, 4000, 6000, 100_000, 1_000_000] {
        weed.ask(&of_length(bytes));
    }
    weed.ask(&fits);
    hook.wait_for_events(2);
    assert_eq!(arrived(&hook), [fits.clone(), fits]);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["too large"]), (7, 5));
}
