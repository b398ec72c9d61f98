//! `/metrics`: figures that are right, never go back, and always add up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::source_http::{events, free_address};
use crate::support::{Answer, Client, end, event, eventually};

use super::Told;

#[test]
fn the_figures_are_those_of_the_log_and_of_the_webhook() {
    let options = ["--buffer-events", "10", "--max-event-bytes", "100"];
    let mut told = Told::start(&[&options[..], &["--source", "stdin"]].concat());
    let before = told.metrics();
    assert_eq!(
        (
            before.sum("events_received_total"),
            before.sum("events_dropped_total")
        ),
        (0, 0)
    );
    assert_eq!(before.value("last_delivery_timestamp_seconds"), 0);

    told.post(&events(0..5).concat());
    told.hook.wait_for_events(5);
    told.post("{\"n\":1}\nnonsense");
    told.post(&format!("{{\"n\":\"{}\"}}", "x".repeat(100)));
    told.hook.script([Answer::status(400), Answer::status(400)]);
    told.post(&events([0, 1]).concat());
    eventually("one of two is refused", || {
        (told.hook.event_count() == 6).then_some(())
    });
    const SLOW: Duration = Duration::from_secs(1);
    told.hook
        .script([Answer::status(503), Answer::ok().after(SLOW)]);
    told.post(&event(7));
    told.hook.wait_for_events(7);
    // What comes without an answer is dropped, one for each reason.
    let too_large = format!("{{\"n\":\"{}\"}}", "x".repeat(100));
    let lines = format!("nonsense\n{too_large}\n{}\n", event(8));
    told.agent.stdin().write_all(lines.as_bytes()).unwrap();
    told.hook.wait_for_events(8);
    told.hook.hold();
    told.post(&events(0..8).concat());
    told.post(&events(0..8).concat());
    told.hook.release();
    told.hook.wait_for_events(16);

    let last = eventually("all has ended", || {
        let metrics = told.metrics();
        metrics.hold();
        (metrics.value("buffered_events") == 0).then_some(metrics)
    });
    let source = format!("http:{}", told.source);
    assert_eq!(
        last.of("events_received_total", "source", &source),
        5 + 2 + 1 + 8
    );
    assert_eq!(last.of("events_received_total", "source", "stdin"), 3);
    assert_eq!(last.value("events_delivered_total"), 16);
    // What was refused with an answer is in no count of events.
    assert_eq!(last.sum("events_dropped_total"), 2);
    for reason in ["buffer_full", "malformed_events", "too_large"] {
        assert_eq!(
            last.of("requests_refused_total", "reason", reason),
            1,
            "{reason}"
        );
    }
    assert_eq!(last.value("events_rejected_total"), 1);
    assert_eq!(last.sum("requests_refused_total"), 3);
    let requests = told.hook.requests();
    let answered = |status: u16| {
        let matching = requests
            .iter()
            .filter(|request| request.answered == Some(status));
        matching.count() as u64
    };
    for (result, status) in [("delivered", 200), ("retried", 503), ("rejected", 400)] {
        assert_eq!(
            last.of("requests_total", "result", result),
            answered(status),
            "{result}"
        );
    }
    let took = |part| last.of("request_duration_seconds", "part", part);
    assert_eq!(took("count"), requests.len() as u64);
    assert!((SLOW.as_secs()..600).contains(&took("sum")));
    assert_eq!(
        last.of("request_failures_total", "cause", "answer"),
        answered(503)
    );
    let taken = requests
        .iter()
        .filter(|request| request.answered == Some(200));
    let bytes: usize = taken.map(|request| request.body.len()).sum();
    assert_eq!(last.value("delivered_bytes_total"), bytes as u64);
    let since = last.value("start_time_seconds");
    assert!((since..since + 600).contains(&last.value("last_delivery_timestamp_seconds")));
    assert_eq!(
        last.of("build_info", "version", env!("CARGO_PKG_VERSION")),
        1
    );

    let balance = end(told.agent, &told.hook);
    assert_eq!(balance.received, last.sum("events_received_total"));
    assert_eq!(balance.delivered, last.value("events_delivered_total"));
    for (reason, name) in [("malformed", "malformed"), ("too large", "too_large")] {
        let dropped = last.of("events_dropped_total", "reason", name);
        assert_eq!((balance.by_reason[reason], dropped), (1, 1), "{reason}");
    }
}

#[test]
fn each_sources_events_are_counted_by_themselves_whatever_its_name() {
    let directory = tempfile::tempdir().unwrap();
    // What a label must escape.
    let odd = directory.path().join("a\"b\\c\nd{e}=.log");
    std::fs::write(&odd, "{}\n{}\n{}\n").unwrap();
    let fluent = free_address();
    let (file, fluent_source) = (
        format!("file:{}", odd.display()),
        format!("fluent:{fluent}"),
    );
    let mut told = Told::start(&[
        "--source",
        &file,
        "--source",
        &fluent_source,
        "--source",
        "stdin",
    ]);
    told.agent.stdin().write_all(b"{}\n").unwrap();
    TcpStream::connect(fluent)
        .unwrap()
        .write_all(br#"["t",1,{},{}]["t",1,{},{}]"#)
        .unwrap();
    for _ in 0..4 {
        told.post("{\"n\":1}");
    }
    told.hook.wait_for_events(10);

    let metrics = told.metrics();
    let http = format!("http:{}", told.source);
    for (source, events) in [
        (http, 4),
        (file, 3),
        (fluent_source, 2),
        ("stdin".into(), 1),
    ] {
        let received = metrics.of("events_received_total", "source", &source);
        assert_eq!(received, events, "{source}");
    }
    check_with_promtool(&told.page());
    end(told.agent, &told.hook);
}

#[test]
fn prometheus_own_checker_has_nothing_to_say() {
    let told = Told::start(&[]);
    check_with_promtool(&told.page());
    told.post(&event(1));
    told.hook.wait_for_events(1);
    check_with_promtool(&told.page());
    end(told.agent, &told.hook);
}

/// `promtool check metrics`, which also knows how metrics are named. Debian's package `prometheus` has it.
#[track_caller]
fn check_with_promtool(page: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("skipped: promtool can't be run: {error}");
            return;
        }
    };
    let mut input = child.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "{said}\nto\n{page}"
    );
}

#[test]
fn what_is_held_while_the_webhook_is_away_can_be_seen() {
    let told = Told::start(&["--buffer-events", "100", "--buffer-bytes", "1MiB"]);
    told.hook.stop();
    let mut bytes = 0;
    for count in [1, 10, 50] {
        let lines: String = events(0..count)
            .iter()
            .map(|event| format!("{event}\n"))
            .collect();
        assert_eq!(told.post(&lines), 200);
        bytes += lines.len() as u64;
    }
    let metrics = told.metrics();
    metrics.hold();
    assert_eq!(metrics.value("buffered_events"), 61);
    assert_eq!(metrics.value("buffered_bytes"), bytes);
    assert_eq!(metrics.value("buffer_limit_events"), 100);
    assert_eq!(metrics.value("buffer_limit_bytes"), 1 << 20);
    assert_eq!(told.post(&events(0..50).concat()), 503);
    assert_eq!(told.metrics().value("buffered_events"), 61);

    told.hook.restart();
    told.hook.wait_for_events(61);
    eventually("nothing is held any more", || {
        let metrics = told.metrics();
        let held = metrics.value("buffered_events") + metrics.value("buffered_bytes");
        (held == 0).then_some(())
    });
    end(told.agent, &told.hook);
}

#[test]
fn counters_never_go_back_and_always_add_up() {
    let told = Told::start(&["--buffer-events", "20"]);
    let turn = AtomicUsize::new(0);
    let answer = move || match turn.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => Answer::status(503),
        1 => Answer::status(400),
        _ => Answer::ok(),
    };
    told.hook.answer_by(move |_| answer());
    let mut seen = BTreeMap::new();
    let scrapes = AtomicUsize::new(0);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (told, scrapes) = (&told, &scrapes);
                scope.spawn(move || {
                    let mut connection = Client::connect(told.source);
                    for number in 0..50_000 {
                        if number >= 200 && scrapes.load(Ordering::Relaxed) > 5 {
                            return;
                        }
                        // Of all lengths, and bad ones among them.
                        let mut body = events(client..client + number % 5).concat();
                        body += &" ".repeat(number % 7);
                        body += &"x".repeat(number % 2);
                        connection.post(&body).unwrap();
                    }
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            let metrics = told.metrics();
            metrics.hold();
            assert!(metrics.value("buffered_events") <= metrics.sum("events_received_total"));
            for (name, family) in &metrics.0 {
                if family.kind != "counter" {
                    continue;
                }
                for (labels, value) in &family.samples {
                    let before = seen.insert((name.clone(), labels.clone()), *value);
                    assert!(before.unwrap_or(0) <= *value, "{name} {labels:?}");
                }
            }
            scrapes.fetch_add(1, Ordering::Relaxed);
        }
    });
    let names: BTreeSet<_> = seen.keys().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 14, "{names:?}");
    told.hook.always(Answer::ok());
    end(told.agent, &told.hook);
}
