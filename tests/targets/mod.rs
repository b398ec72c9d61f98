//! What requests look like: every format, compressed or not, holds the events unchanged; headers and Splunk's metadata;
//! what can't work together is refused at start; and all of it changes while the agent runs.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::delivery::{feed, lines_of, numbered, start};
use super::support::{Agent, Answer, Webhook};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
const SECRET: &str = "7f3a-api-key-0042";

/// A path that no service knows.
fn plain(hook: &Webhook) -> String {
    format!("http://{}/hook", hook.address())
}

/// What Splunk's event endpoint is given for an event, if it tells no time.
fn envelope(event: &str) -> String {
    format!("{{\"event\":{event},\"host\":\"h\"}}\n")
}

/// Bodies of these events, and how each format makes them of them.
fn expected(format: &str, events: &[String]) -> Vec<String> {
    match format {
        "ndjson" => vec![events.iter().map(|event| format!("{event}\n")).collect()],
        "single" => events.iter().map(|event| format!("{event}\n")).collect(),
        "array" => vec![format!("[{}]", events.join(","))],
        _ => vec![events.iter().map(|event| envelope(event)).collect()],
    }
}

/// Ends the agent's input, and gives its log. Its balance must say this.
#[track_caller]
fn end(mut agent: Agent, delivered: u64, rejected: u64) -> String {
    agent.close_stdin();
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (balance.delivered, balance.rejected, balance.left),
        (delivered, rejected, 0),
        "{}",
        ended.log
    );
    ended.log
}

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
fn what_can_not_work_together_is_refused_at_start() {
    for (path, args, parts) in [
        (
            "/services/collector/raw",
            &["--format=hec"][..],
            &["--format: ", "/services/collector/event"][..],
        ),
        (
            "/services/collector/event",
            &[],
            &["--endpoint: ", "--format hec", "/services/collector/raw"],
        ),
        (
            "/services/collector",
            &["--format=array"],
            &["--endpoint: ", "--format hec"],
        ),
        (
            "/s3/_bulk?pipeline=x",
            &[],
            &["--endpoint: ", r#"--event-prefix '{"create":{}}'"#],
        ),
        (
            "/",
            &["--event-prefix={}", "--format=array"],
            &["--event-prefix: ", "--format ndjson"],
        ),
        (
            "/",
            &["--event-prefix=a\nb"],
            &["--event-prefix: ", "line break"],
        ),
        (
            "/",
            &["--hec-index=a"],
            &["--hec-index: ", "--format hec", "/services/collector/raw"],
        ),
        ("/", &["--hec-host=a", "--format=array"], &["--hec-host: "]),
    ] {
        for command in ["run", "test"] {
            let url = format!("http://127.0.0.1:9{path}");
            let config = ["--config", "/dev/null", "--auth-token", TOKEN];
            let command = Agent::command()
                .arg(command)
                .endpoint(&url)
                .args(config)
                .args(args);
            let ended = command.input("").run();
            assert_eq!(ended.code, Some(2), "{path} {args:?}: {}", ended.log);
            for part in parts {
                assert!(
                    ended.log.contains(part),
                    "{path} {args:?}: no {part} in {}",
                    ended.log
                );
            }
            assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);
        }
    }
}

#[test]
fn headers_go_out_with_each_request_and_are_shown_nowhere() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("key");
    fs::write(&file, format!("{SECRET}\n")).unwrap();
    let hook = Webhook::start();
    // It repeats what it was given.
    hook.script([Answer::status(403).body(format!("no key {SECRET} here"))]);
    let from_file = format!("X-Key: @{}", file.display());
    let more = [
        "--header",
        "X-Sumo-Category: a/b, c",
        "--header",
        &from_file,
        "--header=content-type: text/plain",
    ];
    let mut agent = start(&plain(&hook), &more);
    feed(&mut agent, &numbered(0..1));
    let requests = hook.wait_for_requests(2);
    for request in &requests {
        assert_eq!(request.header("X-Sumo-Category"), Some("a/b, c"));
        assert_eq!(request.header("X-Key"), Some(SECRET));
        assert_eq!(request.header("Content-Type"), Some("text/plain"));
        let names = request.headers.iter().map(|(name, _)| name.to_lowercase());
        assert_eq!(names.filter(|name| name == "content-type").count(), 1);
    }

    // Another key, as who rotates keys writes it.
    fs::write(dir.path().join("new"), "another-key").unwrap();
    fs::rename(dir.path().join("new"), &file).unwrap();
    agent.wait_for_log(&format!("changed ({})", file.display()));
    feed(&mut agent, &numbered(1..2));
    assert_eq!(
        hook.wait_for_requests(3)[2].header("X-Key"),
        Some("another-key")
    );
    let log = end(agent, 2, 0);
    assert!(log.contains("text not shown"), "{log}");
    assert!(
        !log.contains(SECRET) && !log.contains("another-key"),
        "{log}"
    );
}

#[test]
fn a_webhook_may_want_no_authorization() {
    let hook = Webhook::start();
    hook.script([Answer::status(401)]);
    let mut agent = start(&plain(&hook), &["--auth-token", "none"]);
    feed(&mut agent, &numbered(0..1));
    let requests = hook.wait_for_requests(2);
    assert!(
        requests
            .iter()
            .all(|request| request.header("Authorization").is_none())
    );
    let log = end(agent, 1, 0);
    let errors = lines_of("ERROR", &log);
    assert!(errors[0].contains("--auth-token or --header"), "{log}");
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

#[test]
fn another_format_is_in_force_with_the_next_request() {
    let hook = Webhook::start();
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("webhook.env");
    let set = |settings: &str| {
        let new = dir.path().join("new");
        fs::write(&new, settings).unwrap();
        fs::rename(new, &file).unwrap();
    };
    set("");
    let mut agent = start(
        &plain(&hook),
        &["--config", file.to_str().unwrap(), "--batch-age", "50ms"],
    );
    let events = numbered(0..40);
    let mut requests = 0;
    for (place, (settings, bodies)) in [
        ("# nothing yet\n", None),
        ("S3_AUDIT_WEBHOOK_FORMAT=array\nS3_AUDIT_WEBHOOK_COMPRESS=gzip\n", None),
        ("S3_AUDIT_WEBHOOK_FORMAT=single\n", Some(10)),
        ("S3_AUDIT_WEBHOOK_FORMAT=hec\nS3_AUDIT_WEBHOOK_HEC_HOST=h\nS3_AUDIT_WEBHOOK_HEADER='X-A: 1 | X-B: 2'\n", None),
    ]
    .into_iter()
    .enumerate()
    {
        set(settings);
        if place > 0 {
            agent.wait_for_nth_log(place, "changed (");
        }
        let events = &events[place * 10..][..10];
        feed(&mut agent, events);
        let format = ["ndjson", "array", "single", "hec"][place];
        let all = hook.wait_for_requests(requests + bodies.unwrap_or(1));
        let texts: Vec<_> = all[requests..].iter().map(|request| request.text()).collect();
        assert_eq!(texts, expected(format, events));
        requests = all.len();
        if format == "hec" {
            assert_eq!((all[requests - 1].header("X-A"), all[requests - 1].header("X-B")), (Some("1"), Some("2")));
        }
    }
    end(agent, 40, 0);
}

#[test]
fn a_dry_run_prints_bodies_of_the_format() {
    let events = numbered(0..2).join("\n");
    for (format, printed) in [
        ("array", "[{\"number\":0},{\"number\":1}]\n".to_owned()),
        ("single", "{\"number\":0}\n{\"number\":1}\n".to_owned()),
        (
            "hec",
            format!(
                "{}{}",
                envelope("{\"number\":0}"),
                envelope("{\"number\":1}")
            ),
        ),
    ] {
        let mut command =
            Agent::command().args(["run", "--dry-run", "--compress=gzip", "--format", format]);
        if format == "hec" {
            command = command.args(["--hec-host", "h"]);
        }
        let ended = command.input(events.clone()).run();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert_eq!(String::from_utf8(ended.stdout).unwrap(), printed);
    }
}

#[test]
fn a_test_event_is_posted_as_all_others() {
    let hook = Webhook::start();
    let args = [
        "--config",
        "/dev/null",
        "--auth-token=none",
        "--format=array",
        "--compress=gzip",
        "--header=X-Key: a",
    ];
    let ended = Agent::command()
        .arg("test")
        .endpoint(&plain(&hook))
        .args(args)
        .input("")
        .run();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(
        told.contains("token     none (from --auth-token)"),
        "{told}"
    );
    let requests = hook.requests();
    assert_eq!(
        (requests.len(), requests[0].header("X-Key")),
        (1, Some("a"))
    );
    let text = requests[0].text();
    assert!(
        text.starts_with("[{\"s3_audit_webhook_test\":true") && text.ends_with("}]"),
        "{text}"
    );
}

#[test]
fn headers_are_written_into_the_settings_file_and_not_shown() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("key"), SECRET).unwrap();
    let file = dir.path().join("webhook.env");
    let key = format!("X-Key: @{}/./key", dir.path().display());
    let enable = |args: &[&str]| {
        let command = Agent::command()
            .arg("enable")
            .arg("--no-test")
            .arg("--config")
            .arg(&file);
        let ended = command
            .endpoint("http://127.0.0.1:9/")
            .args(["--auth-token", "none"])
            .args(args)
            .input("")
            .run();
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        let told = format!("{}{}", String::from_utf8(ended.stdout).unwrap(), ended.log);
        assert!(!told.contains(SECRET) && !told.contains("s3cret"), "{told}");
        fs::read_to_string(&file).unwrap()
    };
    let text = enable(&[
        "--header",
        "X-Other: s3cret, 2",
        "--header",
        &key,
        "--format",
        "array",
    ]);
    let line = format!(
        "S3_AUDIT_WEBHOOK_HEADER=\"X-Other: s3cret, 2 | X-Key: @{}/./key\"",
        dir.path().display()
    );
    assert!(
        text.lines().any(|found| found == line.replace("/./", "/")),
        "{text}"
    );
    assert!(text.contains("S3_AUDIT_WEBHOOK_FORMAT=array\n"), "{text}");
    // What stays is told, but for its value.
    enable(&[]);
    let show = Agent::command().args(["show", "--config"]).arg(&file);
    let show = show.arg("--state-dir").arg(dir.path()).input("").run();
    let shown = String::from_utf8(show.stdout).unwrap();
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name));
    assert!(
        line("header").is_some_and(|line| line.contains('…')),
        "{shown}"
    );
    assert!(
        line("auth-token").is_some_and(|line| line.contains(" none ")),
        "{shown}"
    );
    assert!(
        !shown.contains(SECRET) && !shown.contains("s3cret"),
        "{shown}"
    );

    let hook = Webhook::start();
    let command = Agent::command()
        .args(["run", "--config"])
        .arg(&file)
        .endpoint(&plain(&hook));
    assert_eq!(command.input("{}").run().code, Some(0));
    let request = &hook.requests()[0];
    assert_eq!(
        (request.header("X-Other"), request.header("X-Key")),
        (Some("s3cret, 2"), Some(SECRET))
    );
    assert_eq!(request.text(), "[{}]");
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
