//! `--status-listen`: `/healthz` for probes and `/metrics` for Prometheus. Its figures are those of the log's last line,
//! and of the webhook.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::source_http::{TokenFile, events, free_address, free_port_everywhere, start};
use crate::support::control::Settings;
use crate::support::{Agent, Answer, Client, Metrics, Webhook, end, event, eventually};

/// Sends a request and gives the answer, head and body.
fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut client = Client::connect(address);
    client.send(request.as_bytes()).unwrap();
    let answer = client.read_to_end().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The status and the body of a page.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (head, body) = exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}");
    (head["HTTP/1.1 ".len()..][..3].parse().unwrap(), body)
}

/// An agent that tells its status, and has an `http:` source.
struct Told {
    hook: Webhook,
    agent: Agent,
    status: SocketAddr,
    source: SocketAddr,
}

impl Told {
    fn start(options: &[&str]) -> Self {
        let (hook, status, source) = (Webhook::start(), free_address(), free_address());
        let places = [
            format!("--status-listen={status}"),
            format!("--source=http:{source}"),
        ];
        let agent = start(
            &hook,
            &[&[places[0].as_str(), &places[1]], options].concat(),
        );
        Told {
            hook,
            agent,
            status,
            source,
        }
    }

    #[track_caller]
    fn post(&self, body: &str) -> u16 {
        Client::connect(self.source).post(body).unwrap().0
    }

    #[track_caller]
    fn metrics(&self) -> Metrics {
        Metrics::parse(&self.page())
    }

    fn page(&self) -> String {
        let (status, page) = get(self.status, "/metrics");
        assert_eq!(status, 200);
        page
    }

    /// Waits for this health.
    #[track_caller]
    fn wait_for_health(&self, wanted: u16) -> String {
        eventually("another health", || {
            let (status, text) = get(self.status, "/healthz");
            (status == wanted).then_some(text)
        })
    }
}

#[test]
fn the_agent_is_healthy_until_the_webhook_has_failed_for_too_long() {
    let told = Told::start(&["--unhealthy-after", "300ms"]);
    let healthy = (200, "ok\n".to_owned());
    assert_eq!(get(told.status, "/healthz"), healthy);
    assert_eq!(told.post(&event(0)), 200);
    told.hook.wait_for_events(1);
    assert_eq!(get(told.status, "/healthz"), healthy);

    // It is away; nobody notices before there is something to send.
    told.hook.stop();
    assert_eq!(get(told.status, "/healthz"), healthy);
    assert_eq!(told.post(&event(1)), 200);
    let text = told.wait_for_health(503);
    assert!(text.starts_with("delivery failing for "), "{text}");
    assert!(text.ends_with(": connection refused\n"), "{text}");
    assert_eq!(told.metrics().value("webhook_up"), 0);
    told.hook.restart();
    assert_eq!(told.wait_for_health(200), "ok\n");
    assert_eq!(told.metrics().value("webhook_up"), 1);

    // It is there, and wants another token.
    told.hook.always(Answer::status(403));
    assert_eq!(told.post(&event(2)), 200);
    let text = told.wait_for_health(503);
    assert!(text.contains("403"), "{text}");
    told.hook.always(Answer::ok());
    assert_eq!(told.wait_for_health(200), "ok\n");

    // Refused events are no fault of the webhook's.
    told.hook.always(Answer::status(400));
    assert_eq!(told.post(&event(3)), 200);
    eventually("the event is refused", || {
        (told.metrics().value("events_rejected_total") == 1).then_some(())
    });
    assert_eq!(get(told.status, "/healthz"), healthy);
    assert_eq!(end(told.agent, &told.hook).received, 4);
}

#[test]
fn a_webhook_that_has_failed_for_a_short_time_is_not_unhealthy() {
    let told = Told::start(&["--unhealthy-after", "1h"]);
    told.hook.always(Answer::status(500));
    told.post(&event(1));
    eventually("it has failed several times", || {
        let metrics = told.metrics();
        (metrics.of("requests_total", "result", "retried") > 3).then_some(())
    });
    assert_eq!(told.metrics().value("webhook_up"), 0);
    assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
    told.hook.always(Answer::ok());
    told.hook.wait_for_events(1);
    end(told.agent, &told.hook);
}

#[test]
fn the_figures_are_those_of_the_log_and_of_the_webhook() {
    let told = Told::start(&["--buffer-events", "10", "--max-event-bytes", "100"]);
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
    told.hook.script([Answer::status(503)]);
    told.post(&event(7));
    told.hook.wait_for_events(7);
    told.hook.hold();
    told.post(&events(0..8).concat());
    told.post(&events(0..8).concat());
    told.hook.release();
    told.hook.wait_for_events(15);

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
    assert_eq!(last.value("events_delivered_total"), 15);
    // What was refused with an answer is in no count of events.
    assert_eq!(last.sum("events_dropped_total"), 0);
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
    assert!(took("sum") <= 600);
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
    for (reason, events) in balance.by_reason {
        assert_eq!(
            last.of("events_dropped_total", "reason", &reason.replace(' ', "_")),
            events
        );
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

#[test]
fn only_its_pages_are_served_and_only_to_be_read() {
    let told = Told::start(&[]);
    let ask = |method: &str, path: &str| {
        let (head, body) = exchange(
            told.status,
            &format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"),
        );
        assert!(head.contains("\r\nConnection: close"), "{head}");
        (head, body)
    };
    for (method, path, status) in [
        ("GET", "/healthz?verbose", "200 OK"),
        ("GET", "/metrics?a=b", "200 OK"),
        ("GET", "/", "404 Not Found"),
        ("GET", "/healthz/", "404 Not Found"),
        ("GET", "/metricss", "404 Not Found"),
        ("GET", "/../metrics", "404 Not Found"),
        ("HEAD", "/", "404 Not Found"),
        ("POST", "/metrics", "405 Method Not Allowed"),
        ("DELETE", "/healthz", "405 Method Not Allowed"),
        ("get", "/healthz", "405 Method Not Allowed"),
    ] {
        let (head, body) = ask(method, path);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{method} {path}: {head}"
        );
        assert_eq!(body.is_empty(), method == "HEAD", "{method} {path}: {body}");
    }
    // A head is what it would be with a body.
    for path in ["/healthz", "/metrics"] {
        assert_eq!(ask("HEAD", path), (ask("GET", path).0, String::new()));
    }
    assert!(
        ask("GET", "/metrics")
            .0
            .contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n")
    );

    let (head, _) = exchange(told.status, "GET /healthz HTTP/1.0\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let long = format!(
        "GET /healthz HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    // Not all of it is read: that is what may be seen behind the answer.
    let mut client = Client::connect(told.status);
    client.send(long.as_bytes()).unwrap();
    assert_eq!(client.read_answer().unwrap().0, 400);
    for bad in ["geheim\r\n\r\n", "GET /healthz\r\n\r\n"] {
        let (head, body) = exchange(told.status, bad);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(!body.contains("geheim"));
    }
    end(told.agent, &told.hook);
}

#[test]
fn a_client_that_says_nothing_does_not_keep_probes_waiting_for_long() {
    let told = Told::start(&[]);
    let silent = Client::connect(told.status);
    let mut slow = Client::connect(told.status);
    slow.send(b"GET /healthz HTTP/1.1\r\nX: ").unwrap();
    let gone = Client::connect(told.status);
    drop(gone);
    assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
    // They are not kept for ever either, whatever they send.
    let mut silent = silent.stream.into_inner();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    let dripped = (0..500).any(|_| {
        // As slow as a client can be that is never idle.
        thread::sleep(Duration::from_millis(20));
        slow.send(b"x").is_err()
    });
    assert!(dripped, "a client that drips is kept");
    end(told.agent, &told.hook);
}

#[test]
fn a_probe_waits_for_none_of_many_silent_clients() {
    let told = Told::start(&[]);
    let mut silent: Vec<_> = (0..8)
        .map(|_| Client::connect(told.status).stream.into_inner())
        .collect();
    assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
    for client in &mut silent {
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "it was waited for");
    }
    end(told.agent, &told.hook);
}

/// More than a restart would help against: kubelet gives a probe a second.
#[test]
fn a_probe_is_answered_within_a_second_beside_400_silent_clients() {
    let told = Told::start(&[]);
    let open = || TcpStream::connect(told.status).unwrap();
    let mut silent: Vec<_> = (0..400).map(|_| open()).collect();
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let started = std::time::Instant::now();
        assert_eq!(get(told.status, "/healthz"), (200, "ok\n".into()));
        assert_eq!(get(told.status, "/metrics").0, 200);
        fastest = fastest.min(started.elapsed());
        // They come again as soon as they were ended.
        silent = silent.into_iter().skip(200).collect();
        silent.extend((0..200).map(|_| open()));
    }
    // A loaded machine may take longer now and then.
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    end(told.agent, &told.hook);
}

#[test]
fn figures_are_for_those_who_have_the_token() {
    let token = TokenFile::new("Bearer s3cret\n");
    let option = token.option().replace("--listen-", "--status-");
    let told = Told::start(&[&option, "--unhealthy-after=10ms"]);
    let ask = |path: &str, header: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
        let (head, body) = exchange(told.status, &request);
        (head["HTTP/1.1 ".len()..][..3].parse::<u16>().unwrap(), body)
    };
    let right = "Authorization: bearer s3cret\r\n";
    assert_eq!(ask("/metrics", "").0, 401);
    assert_eq!(ask("/metrics", "Authorization: Bearer other\r\n").0, 403);
    assert_eq!(ask("/metrics", right).0, 200);
    assert_eq!(ask("/healthz", ""), (200, String::new()));
    assert_eq!(ask("/healthz", right), (200, "ok\n".into()));
    told.hook.always(Answer::status(503));
    told.post(&event(1));
    eventually("it is unhealthy", || {
        (ask("/healthz", "").0 == 503).then_some(())
    });
    assert_eq!(ask("/healthz", "").1, "");
    assert!(ask("/healthz", right).1.contains("delivery failing"));
    told.hook.always(Answer::ok());
    end(told.agent, &told.hook);
}

#[test]
fn figures_for_all_the_network_are_warned_of() {
    let hook = Webhook::start();
    let port = free_port_everywhere();
    let listen = format!("--status-listen=0.0.0.0:{port}");
    let agent = start(&hook, &[&listen, "--source=stdin"]);
    let warning = agent.wait_for_log("can read the metrics; use --status-token-file");
    assert!(warning.contains("WARN"), "{warning}");
    end(agent, &hook);
}

#[test]
fn an_agent_that_was_told_to_forward_nothing_is_healthy_and_says_so() {
    let told = Told::start(&["--enabled", "false"]);
    assert_eq!(told.post("{\"n\":1}"), 200);
    let text = told.wait_for_health(200);
    assert!(text.contains("webhook disabled by --enabled"), "{text}");
    let dropped = eventually("the event is thrown away", || {
        let page = told.page();
        let metrics = Metrics::parse(&page);
        let dropped = metrics.of("events_dropped_total", "reason", "disabled");
        (dropped == 1).then_some(page)
    });
    assert_eq!(Metrics::parse(&dropped).value("webhook_enabled"), 0);
    told.agent.signal(libc::SIGTERM);
    let balance = told.agent.wait().balance();
    assert_eq!((balance.received, balance.by_reason["disabled"]), (1, 1));

    let told = Told::start(&[]);
    assert_eq!(told.metrics().value("webhook_enabled"), 1);
    end(told.agent, &told.hook);
}

#[test]
fn an_agent_that_nobody_has_configured_is_unhealthy_until_somebody_does() {
    let (hook, settings) = (Webhook::start(), Settings::of("# nothing yet\n"));
    let address = free_address();
    let status = format!("--status-listen={address}");
    let agent = Agent::command().args(["run", &status, "--config"]);
    let agent = agent
        .arg(settings.path())
        .source("unix-listen:s")
        .in_dir(settings.dir.path());
    let agent = agent.spawn();
    agent.wait_for_log("started:");
    let health = || get(address, "/healthz");
    let (status, body) = health();
    let expected = "never configured: webhook not enabled yet";
    assert!(
        status == 503 && body.starts_with(expected),
        "{status} {body}"
    );
    settings.must(&[
        "enable",
        "--no-test",
        "--endpoint",
        &hook.url(),
        "--auth-token",
        "Splunk x",
    ]);
    eventually("it is healthy", || (health().0 == 200).then_some(()));
    settings.must(&["disable"]);
    agent.wait_for_log("webhook disabled by");
    // Somebody wanted it so.
    assert_eq!(health().0, 200);
}

#[test]
fn an_agent_that_waits_for_a_file_of_the_webhook_is_unhealthy_after_a_while() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let token = dir.path().join("token");
    for (patience, expected) in [("1h", "ok; webhook unavailable"), ("10ms", "webhook un")] {
        let address = free_address();
        let agent = Agent::command().args(["run", "--source=unix-listen:s"]);
        let agent = agent.in_dir(dir.path()).endpoint(&hook.url()).args([
            format!("--status-listen={address}"),
            format!("--unhealthy-after={patience}"),
            format!("--auth-token-file={}", token.display()),
        ]);
        let agent = agent.spawn();
        agent.wait_for_log("started:");
        let health = || get(address, "/healthz");
        let is_as_expected = || health().1.starts_with(expected).then(health);
        let (status, body) = eventually(expected, is_as_expected);
        assert_eq!(status, if patience == "1h" { 200 } else { 503 }, "{body}");
        assert!(body.contains("token can't be read"), "{body}");
        fs::write(&token, "Splunk x").unwrap();
        eventually("it is healthy", || (health().1 == "ok\n").then_some(()));
        fs::remove_file(&token).unwrap();
    }
}

#[test]
fn an_address_that_another_process_has_is_an_error_at_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |address: &str| {
        Agent::command()
            .args(["run", "--dry-run", "--status-listen", address])
            .run()
    };
    let ended = run(&address);
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let line = format!("--status-listen: {address}: can't listen: ");
    assert!(ended.log.contains(&line), "{}", ended.log);
    let elsewhere = run("192.0.2.7:9108");
    assert_eq!(elsewhere.code, Some(1), "{}", elsewhere.log);
    let nowhere = run("localhost");
    assert_eq!(nowhere.code, Some(2), "{}", nowhere.log);
    assert!(
        nowhere.log.contains("fix: use one such as 127.0.0.1:9108"),
        "{}",
        nowhere.log
    );
}
