//! Bodies of every format: they hold the events unchanged, compressed or not, and keep to their limits.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::delivery::{feed, numbered, start};
use crate::support::{Answer, Webhook};

use super::{end, expected, plain};

#[test]
fn every_format_holds_odd_events_unchanged_compressed_or_not() {
    let odd = [
        "{}".to_owned(),
        r#"{"k":"ü \u00fc 漢字 🦀 \ud83e\udd80"}"#.to_owned(),
        r#"{ "a" : [1, 2.50, -0e1, null, true] , "b" : {"c":{}} }"#.to_owned(),
        r#"{"q":"\"time\":1774075049,\\","x":"],[{}\n\t/\/"}"#.to_owned(),
        format!(r#"{{"long":"{}"}}"#, "é".repeat(150_000)),
        r#"{"last":1}"#.to_owned(),
    ];
    for format in ["ndjson", "array", "single", "hec"] {
        for compress in ["none", "gzip", "gzip:9"] {
            for events in [&odd[..], &odd[1..2], &odd[4..5]] {
                let hook = Webhook::start();
                let more = [
                    "--format",
                    format,
                    "--compress",
                    compress,
                    "--batch-age",
                    "1h",
                ];
                let host: &[&str] = if format == "hec" {
                    &["--hec-host", "h"]
                } else {
                    &[]
                };
                let mut agent = start(&plain(&hook), &[&more[..], host].concat());
                feed(&mut agent, events);
                end(agent, events.len() as u64, 0);

                let requests = hook.requests();
                let bodies: Vec<_> = requests.iter().map(|request| request.text()).collect();
                assert!(
                    bodies == expected(format, events),
                    "{format}, {compress}: {requests:?}"
                );
                for request in &requests {
                    let coding = (compress != "none").then_some("gzip");
                    assert_eq!(request.header("Content-Encoding"), coding);
                    let length = request.body.len().to_string();
                    assert_eq!(request.header("Content-Length"), Some(&*length));
                    let content_type = match format {
                        "ndjson" => "application/x-ndjson",
                        _ => "application/json",
                    };
                    assert_eq!(request.header("Content-Type"), Some(content_type));
                    if compress != "none" && events.len() == 1 && events[0].len() > 1000 {
                        assert!(request.body.len() < 10_000, "{request:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn many_batches_are_compressed_one_by_one() {
    for format in ["ndjson", "array", "hec"] {
        let hook = Webhook::start();
        let more = [
            "--format",
            format,
            "--compress",
            "gzip:6",
            "--batch-bytes",
            "2000",
        ];
        let mut agent = start(&plain(&hook), &more);
        let events = numbered(0..5000);
        feed(&mut agent, &events);
        end(agent, 5000, 0);
        let mut found = Vec::new();
        for request in hook.requests() {
            let text = request.text();
            let values = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
            let values: Vec<_> = values.map(Result::unwrap).collect();
            match format {
                "array" => found.extend(values[0].as_array().unwrap().clone()),
                "hec" => found.extend(values.iter().map(|value| value["event"].clone())),
                _ => found.extend(values),
            }
        }
        let found: Vec<_> = found.iter().map(Value::to_string).collect();
        assert!(found == events, "{format}");
    }
}

#[test]
fn batch_raw_bytes_count_the_encoded_bytes_before_compression() {
    let hook = Webhook::start();
    // Nine events of 13 bytes each, newlines included, and a bracket.
    let more = [
        "--format",
        "array",
        "--compress",
        "gzip",
        "--batch-raw-bytes",
        "40",
        "--batch-age",
        "1h",
    ];
    let mut agent = start(&plain(&hook), &more);
    feed(&mut agent, &numbered(0..9));
    end(agent, 9, 0);
    let counts: Vec<_> = hook
        .requests()
        .iter()
        .map(|request| request.text().matches("number").count())
        .collect();
    assert_eq!(counts, [3, 3, 3]);
}

#[test]
fn batch_bytes_count_what_is_sent() {
    for connections in ["1", "4"] {
        let hook = Webhook::start();
        let more = [
            "--compress=gzip",
            "--batch-bytes=20000",
            "--batch-age=1h",
            "--connections",
            connections,
        ];
        let mut agent = start(&plain(&hook), &more);
        let events: Vec<_> = (0..20_000u64)
            .map(|number| {
                let random = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                format!(r#"{{"number":{number},"id":"{random:016x}","operation":"get_object"}}"#)
            })
            .collect();
        feed(&mut agent, &events);
        end(agent, 20_000, 0);
        let requests = hook.requests();
        let sizes: Vec<_> = requests.iter().map(|request| request.body.len()).collect();
        assert!(sizes.iter().all(|size| *size <= 20_000), "{sizes:?}");
        let plain: usize = events.iter().map(|event| event.len() + 1).sum();
        // With several, how soon bodies grow depends on how soon the webhook answers the first large one.
        let is_steady = connections == "1";
        assert!(
            !is_steady || sizes.len() < plain / 30_000,
            "{sizes:?} of {plain}"
        );
        // 20,000 bytes of events are some 6,000 bytes compressed.
        let large = sizes.iter().filter(|size| **size > 15_000).count();
        assert!(large > 3, "{sizes:?}");
    }
}

#[test]
fn a_refused_event_is_found_in_every_format() {
    for (format, compress) in [
        ("ndjson", "gzip"),
        ("array", "none"),
        ("array", "gzip"),
        ("hec", "none"),
        ("single", "gzip"),
    ] {
        let hook = Webhook::start();
        hook.answer_by(|request| match request.text().contains("\"number\":27}") {
            true => Answer::status(400),
            false => Answer::ok(),
        });
        let more = [
            "--format",
            format,
            "--compress",
            compress,
            "--batch-age",
            "1h",
        ];
        let mut agent = start(&plain(&hook), &more);
        feed(&mut agent, &numbered(0..100));
        end(agent, 99, 1);
        let requests = hook.requests();
        let most = if format == "single" { 100 } else { 16 };
        assert!(
            requests.len() <= most,
            "{format}: {} requests",
            requests.len()
        );
        let taken = requests.iter().filter(|request| request.delivered());
        let taken: String = taken.map(|request| request.text()).collect();
        for number in 0..100 {
            let times = taken.matches(&format!("\"number\":{number}}}")).count();
            assert_eq!(times, usize::from(number != 27), "{format}: {number}");
        }
    }
}

#[test]
fn single_sends_each_event_at_once() {
    let hook = Webhook::start();
    let mut agent = start(&plain(&hook), &["--format", "single", "--batch-age", "1h"]);
    feed(&mut agent, &numbered(0..3));
    // Nothing else would fill the batch.
    let requests = hook.wait_for_requests(3);
    assert_eq!(requests[2].text(), "{\"number\":2}\n");
    end(agent, 3, 0);
}

#[test]
fn splunks_envelope_has_the_time_that_the_event_tells() {
    let hook = Webhook::start();
    let url = format!("http://{}/services/collector/event", hook.address());
    let more = [
        "--format",
        "hec",
        "--hec-source",
        "s\"3",
        "--hec-sourcetype",
        "_json",
        "--hec-index",
        "audit",
    ];
    let mut agent = start(&url, &[&more[..], &["--batch-age", "1h"]].concat());
    let times = [
        ("\"2026-03-21T06:37:27.347712782Z\"", "1774075047.347"),
        ("\"2026-11-22T05:45:48.119166Z\"", "1795326348.119"),
        ("1774075049", "1774075049.000"),
        ("1774075049171", "1774075049.171"),
    ];
    let events: Vec<_> = times
        .iter()
        .map(|(time, _)| format!("{{\"time\":{time}}}"))
        .collect();
    feed(&mut agent, &events);
    end(agent, 4, 0);
    let text = hook.requests()[0].text();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    for ((line, event), (_, time)) in text.lines().zip(&events).zip(times) {
        let members = format!(
            "\"host\":\"{}\",\"source\":\"s\\\"3\",\"sourcetype\":\"_json\",\"index\":\"audit\"",
            host.trim()
        );
        assert_eq!(
            line,
            format!("{{\"time\":{time},\"event\":{event},{members}}}")
        );
    }
    assert_eq!(text.lines().count(), 4);
}

#[test]
fn to_the_raw_endpoint_splunks_metadata_goes_as_its_query() {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let host = format!("host={}", host.trim());
    for (path, more, expected) in [
        ("/services/collector/raw", &[][..], format!("/services/collector/raw?{host}")),
        ("/services/collector/raw?host=mine&b", &[], "/services/collector/raw?host=mine&b".into()),
        (
            "/x/services/collector/raw/1.0?index=a",
            &["--hec-host", "s3 é&=", "--hec-source", "a/b", "--hec-sourcetype", "_json", "--hec-index", "other"],
            "/x/services/collector/raw/1.0?index=a&host=s3%20%C3%A9%26%3D&source=a%2Fb&sourcetype=_json".into(),
        ),
        ("/other?x=1", &[], "/other?x=1".into()),
    ] {
        let hook = Webhook::start();
        let mut agent = start(&format!("http://{}{path}", hook.address()), more);
        feed(&mut agent, &numbered(0..1));
        end(agent, 1, 0);
        assert_eq!(hook.requests()[0].path, expected);
    }
}

#[test]
fn a_webhook_that_takes_no_gzip_is_told_of_and_nothing_is_lost() {
    let hook = Webhook::start();
    hook.answer_by(|request| match request.header("Content-Encoding") {
        Some(_) => Answer::status(415),
        None => Answer::ok(),
    });
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let settings = |more: &str| {
        let new = dir.path().join("new");
        fs::write(&new, format!("S3_AUDIT_WEBHOOK_FORMAT=array\n{more}")).unwrap();
        fs::rename(new, &file).unwrap();
    };
    settings("S3_AUDIT_WEBHOOK_COMPRESS=gzip:4\n");
    let mut agent = start(&plain(&hook), &["--config", file.to_str().unwrap()]);
    feed(&mut agent, &numbered(0..10));
    let line = agent.wait_for_log("ERROR");
    assert!(line.contains("--compress none"), "{line}");
    settings("");
    hook.wait_for_events(1);
    let log = end(agent, 10, 0);
    assert!(log.contains("(S3_AUDIT_WEBHOOK_COMPRESS removed)"), "{log}");
}

/// What is around events may be much more than they are.
#[test]
fn no_more_is_sent_a_second_than_max_rate_with_all_that_is_around_events() {
    let hook = Webhook::start();
    let long = "x".repeat(250);
    let began = Instant::now();
    let options = ["--format=hec", "--hec-source", &long, "--max-rate=50KiB"];
    let mut agent = start(&plain(&hook), &options);
    feed(&mut agent, &numbered(0..500));
    hook.wait_for_events(500);
    let took = began.elapsed();
    let requests = hook.requests();
    let (_, others) = requests.split_last().unwrap();
    let sent: usize = others.iter().map(|request| request.body.len()).sum();
    assert!(sent > 50 << 10, "{sent}");
    let least = Duration::from_secs_f64(sent as f64 / 51_200.0);
    assert!(took >= least, "{took:?} for {sent} bytes");
    end(agent, 500, 0);
}
