//! What the log tells: where every event went, what is wrong and what to do about it, in few lines, and never what is
//! secret.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::Instant;

use super::delivery::{feed, finish, finish_in_any_order, numbered, start, taken};
use super::support::{Agent, Answer, Authority, Request, Webhook, eventually};

/// Refuses what has `poison` in it.
fn refuse_poison(request: &mut Request) -> Answer {
    if request.contains("poison") {
        Answer::status(400)
    } else {
        Answer::ok()
    }
}

/// All drops that the log has told of, by reason.
fn told_drops(log: &str) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    for line in log.lines() {
        let (count, reason) = if let Some((_, rest)) = line.split_once(" dropped ") {
            // dropped 5 events in 10s (buffer full); 7 since start
            let count = rest.split(' ').next().unwrap();
            (count, rest.split(['(', ')']).nth(1).unwrap())
        } else if let Some((_, rest)) = line.split_once(" rejected ") {
            (rest.split(' ').next().unwrap(), "rejected")
        } else {
            continue;
        };
        // The balance has `dropped` too, after its first word.
        if !line.contains(" stopped: ") {
            *told.entry(reason.to_owned()).or_default() += count.parse::<u64>().unwrap();
        }
    }
    told
}

/// What the log's last line but the balance says was dropped for this reason since the start.
fn total_told(log: &str, reason: &str) -> u64 {
    let mut lines = log.lines().rev();
    let line = lines
        .find(|line| line.contains(&format!("({reason})")) && line.contains(" since start"))
        .unwrap();
    let total = line.strip_suffix(" since start").unwrap();
    total.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn every_event_is_accounted_for_whatever_became_of_it() {
    let hook = Webhook::start();
    hook.answer_by(refuse_poison);
    let limits = [
        "--buffer-events=20",
        "--max-event-bytes=100",
        "--shutdown-timeout=100ms",
    ];
    let mut agent = start(&hook.url(), &limits);

    let malformed = ["no JSON at all", r#"{"a":}"#, r#"{"a":1"#].map(str::to_owned);
    let too_large = ["x".repeat(100), "y".repeat(4000)].map(|pad| format!(r#"{{"pad":"{pad}"}}"#));
    let refused = [1, 2].map(|number| format!(r#"{{"poison":{number}}}"#));
    let good = numbered(0..10);
    feed(&mut agent, &malformed);
    feed(&mut agent, &refused);
    feed(&mut agent, &too_large);
    feed(&mut agent, &good);
    hook.wait_for_events(10);
    // One event is under way, 19 more find room, 81 don't.
    hook.hold();
    feed(&mut agent, &numbered(10..11));
    eventually("it is under way", || {
        let requests = hook.requests();
        requests.last()?.contains(":10}").then_some(())
    });
    feed(&mut agent, &numbered(11..111));
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();

    assert_eq!(taken(&hook), good);
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (balance.received, balance.delivered, balance.left),
        (3 + 2 + 2 + 10 + 101, 10, 0),
        "{}",
        ended.log
    );
    let reasons = [
        ("buffer full", 81),
        ("malformed", 3),
        ("shutdown", 20),
        ("too large", 2),
    ];
    let reasons = BTreeMap::from(reasons.map(|(reason, count)| (reason.to_owned(), count)));
    assert_eq!(balance.by_reason, reasons, "{}", ended.log);
    assert_eq!(balance.rejected, 2, "{}", ended.log);
    let mut told = told_drops(&ended.log);
    assert_eq!(told.remove("rejected"), Some(2), "{}", ended.log);
    assert_eq!(told, reasons, "{}", ended.log);
}

#[test]
fn the_log_begins_with_what_was_started_and_ends_with_the_balance() {
    let hook = Webhook::start();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("audit.sock");
    let sources = format!("--source=stdin,unix-listen:{}", socket.display());
    let endpoint = format!("{}?index=audit", hook.url());
    let buffer = ["--buffer-events=500", "--buffer-bytes=2MiB"];
    let mut agent = start(&endpoint, &[&[sources.as_str()], &buffer[..]].concat());
    feed(&mut agent, &numbered(0..3));
    hook.wait_for_events(3);
    agent.signal(libc::SIGTERM);
    let log = agent.wait().log;

    let mut words: Vec<_> = log
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    // Whether the last answer has been read by now is a matter of moments.
    let draining = words.remove(1);
    let buffered = ["0", "3"].map(|number| format!("draining {number} buffered events"));
    assert!(
        buffered.iter().any(|text| draining.contains(text)),
        "{draining}"
    );
    assert!(draining.ends_with("(timeout 5s)"), "{draining}");
    let started = format!(
        "INFO  started: source stdin, unix-listen:{}; buffer 500 events, 2 MiB; webhook {}",
        socket.display(),
        hook.url().strip_suffix("/services/collector/raw").unwrap()
    );
    assert_eq!(
        words,
        [
            started.as_str(),
            "INFO  stopped: received 3, delivered 3, dropped 0, buffered 0"
        ]
    );
}

#[test]
fn an_outage_is_told_at_once_then_once_an_interval_and_at_its_end() {
    let hook = Webhook::start();
    hook.always(Answer::status(503));
    let began = Instant::now();
    let mut agent = start(
        &hook.url(),
        &["--report-interval=100ms", "--buffer-events=5"],
    );
    feed(&mut agent, &numbered(0..5));
    let line = agent.wait_for_log("delivery failed");
    assert!(
        line.contains("HTTP 503 Server is busy; retrying in ") && line.contains("ms; "),
        "{line}"
    );
    assert!(line.ends_with(" buffered"), "{line}");
    let line = agent.wait_for_log(" attempts): HTTP 503 Server is busy; 5 events buffered");
    assert!(line.contains("delivery failing for "), "{line}");
    eventually("events that find no room are mentioned too", || {
        feed(&mut agent, &numbered(5..6));
        let told = agent.log().contains("; 5 events buffered, others dropped");
        told.then_some(())
    });
    hook.always(Answer::ok());
    hook.wait_for_events(5);
    let took = began.elapsed();
    let line = agent.wait_for_log("delivery restored after");
    let failed = hook.requests().iter().filter(|r| !r.delivered()).count();
    assert!(line.ends_with(&format!(" ({failed} attempts)")), "{line}");

    agent.close_stdin();
    let log = agent.wait().log;
    // A webhook that fails is tried with single events, in any order.
    let mut first = taken(&hook)[..5].to_vec();
    first.sort();
    assert_eq!(first, numbered(0..5));
    let lines = log.matches(" delivery fail").count();
    let intervals = took.as_millis() / 100;
    assert!(lines as u128 <= intervals + 2, "{took:?}: {log}");
    assert_eq!(log.matches("delivery restored").count(), 1, "{log}");
}

#[test]
fn the_first_drop_is_told_at_once_and_many_more_in_few_lines_that_add_up() {
    let hook = Webhook::start();
    let mut agent = start(&hook.url(), &["--report-interval=100ms"]);
    let began = Instant::now();
    feed(&mut agent, &["{nonsense}".to_owned()]);
    let line = agent.wait_for_log("dropped 1 event (malformed); 1 since start");
    assert!(line.contains("WARN"), "{line}");
    let mut fed = 1;
    eventually("three summaries", || {
        feed(&mut agent, &["{nonsense}".to_owned()]);
        fed += 1;
        (agent.log().matches("in 100ms (malformed)").count() >= 3).then_some(())
    });
    // What no summary has told of, the end tells.
    feed(&mut agent, &vec!["{nonsense}".to_owned(); 500]);
    let (balance, log) = finish(agent, &hook, &[]);
    let took = began.elapsed();

    assert_eq!(balance.by_reason["malformed"], fed + 500);
    assert_eq!(told_drops(&log), balance.by_reason, "{log}");
    assert_eq!(total_told(&log, "malformed"), fed + 500, "{log}");
    let lines = log.matches("(malformed)").count() as u128;
    assert!(lines <= took.as_millis() / 100 + 3, "{took:?}: {log}");
}

#[test]
fn nothing_secret_is_logged_at_any_level() {
    const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
    const OBJECT: &str = "payroll-of-the-board-2026.xlsx";
    let event = format!(r#"{{"object":"{OBJECT}"}}"#);
    let hook = Webhook::start();
    let echoes = |status| {
        let answer = move || Answer::status(status);
        [
            answer().body(format!("no such token: {TOKEN}")),
            answer().body("no such token: B5A79AAD-D822-46CC-80D1-819F80D7BFB0"),
            answer().body(format!(r#"{{"text":"token {TOKEN}","code":99}}"#)),
            answer().body(format!("cannot take {event}")),
            answer().body(format!(
                r#"{{"text":"cannot take {{\"object\":\"{OBJECT}\"}}"}}"#
            )),
            answer().body(format!(r#"{{"error":{{"key":"{OBJECT}"}}}}"#)),
            answer()
                .header("Location", &format!("/{OBJECT}"))
                .header("X-Echo", TOKEN),
        ]
    };
    let statuses = [400, 403, 404, 302, 413, 503];
    hook.script(statuses.into_iter().flat_map(echoes));
    hook.script([Answer::garbage(), Answer::ok().half_a_head()]);
    let authority = Authority::new("unknown");
    let tls = Webhook::builder()
        .tls(authority.server(&["127.0.0.1"]).server_config())
        .start();

    for endpoint in [hook.url(), tls.url()] {
        // Every outage and every refusal is told.
        let mut agent = Agent::command()
            .arg("run")
            .endpoint(&format!("{endpoint}?key=s3cret-of-the-query"))
            .token(TOKEN)
            .args(["--batch-age=0", "--backoff-min=10ms", "--backoff-max=10ms"])
            .args(["--report-interval=1ms", "--shutdown-timeout=50ms"])
            .arg("--max-event-bytes=100")
            .env("S3_AUDIT_WEBHOOK_LOG", "trace")
            .spawn();
        let lines = [
            event.clone(),
            format!(r#"{{"object":"{OBJECT}""#),
            OBJECT.to_owned(),
            format!(r#"{{"object":"{}"}}"#, OBJECT.repeat(10)),
        ];
        feed(&mut agent, &lines.map(|line| vec![line; 30]).concat());
        if endpoint == hook.url() {
            hook.wait_for_events(1);
        } else {
            agent.wait_for_log("unknown CA");
        }
        agent.signal(libc::SIGTERM);
        let log = agent.wait().log;

        for secret in ["B5A79AAD", "D822", "payroll", "s3cret"] {
            assert!(!log.contains(secret), "{secret}: {log}");
        }
        if endpoint == hook.url() {
            for told in [
                "rejected 1 event (HTTP 400 (text not shown: it repeats what was sent)); ",
                "HTTP 403 (text not shown",
                "HTTP 503 (text not shown",
                "(malformed)",
                "(too large)",
            ] {
                assert!(log.contains(told), "{told}: {log}");
            }
        }
    }
    assert_eq!(tls.request_count(), 0);
}

#[test]
fn a_token_from_a_file_is_not_in_the_process_list() {
    let hook = Webhook::start();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "Splunk 0123456789").unwrap();
    let mut agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .arg("--auth-token-file")
        .arg(file.path())
        .arg("--batch-age=0")
        .spawn();
    feed(&mut agent, &numbered(0..1));
    let requests = hook.wait_for_requests(1);
    assert_eq!(
        requests[0].header("Authorization"),
        Some("Splunk 0123456789")
    );
    let line = fs::read(format!("/proc/{}/cmdline", agent.id())).unwrap();
    let line = String::from_utf8_lossy(&line);
    assert!(
        line.contains("--auth-token-file") && !line.contains("0123456789"),
        "{line}"
    );
}

#[test]
fn an_outage_of_any_kind_makes_few_lines() {
    let hook = Webhook::start();
    let answers = [
        Answer::status(401),
        Answer::status(503),
        Answer::garbage(),
        Answer::reset(),
        Answer::hec(400, "?", 7),
    ];
    // Each attempt fails in another way, and one in eleven is taken.
    for _ in 0..10 {
        hook.script(answers.iter().chain(&answers).cloned());
        hook.script([Answer::ok()]);
    }
    hook.always(Answer::status(503));
    let mut agent = start(&hook.url(), &["--batch-events=1", "--backoff-max=5ms"]);
    feed(&mut agent, &numbered(0..10));
    hook.wait_for_events(10);
    let (_, log) = finish_in_any_order(agent, &hook, &numbered(0..10));
    assert!(log.lines().count() < 10, "{log}");
}

#[test]
fn the_buffer_is_limited_by_its_bytes_alone() {
    let hook = Webhook::start();
    hook.hold();
    let mut agent = start(&hook.url(), &[]);
    let events = 150_000;
    feed(&mut agent, &numbered(0..events));
    agent.close_stdin();
    hook.release();
    let ended = agent.wait();
    let balance = ended.balance();
    assert_eq!(
        (balance.delivered, balance.dropped),
        (events as u64, 0),
        "{}",
        ended.log
    );
    assert!(
        ended.log.contains("; buffer 1048576 events, 64 MiB;"),
        "{}",
        ended.log
    );
}
