//! What goes through a spool, how fast, and what there is no room for.

use std::fs;
use std::time::{Duration, Instant};

use crate::source_http::lines;
use crate::support::control::Settings;
use crate::support::{Agent, Answer, arrived, eventually};

use super::{Host, kill_and_serve, numbers, stop};

#[test]
fn streams_go_through_the_spool_and_an_input_that_ends_is_delivered() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.bare().source("stdin").arg("--spool-bytes=8MiB");
    let agent = agent.input(lines(0..5000)).spawn();
    agent.wait_for_log("started: ");
    eventually("all is in the spool", || {
        (host.metrics().sum("events_received_total") == 5000).then_some(())
    });
    eventually("it is written", || {
        (host.cli("cat", &[]).1.lines().count() == 5000).then_some(())
    });
    kill_and_serve(agent, &host.hook);
    let agent = host.bare().source("stdin").arg("--spool-bytes=8MiB");
    let ended = agent.input(lines(5000..6000)).spawn().wait();
    let balance = ended.done();
    assert_eq!(
        (balance.received, balance.recovered, balance.delivered),
        (1000, 5000, 6000)
    );
    assert_eq!(arrived(&host.hook), numbers(0..6000));
}

#[test]
fn an_event_that_takes_a_body_alone_and_a_body_of_many_records_come_through() {
    let host = Host::new();
    let agent = host.start(&["--spool-bytes=16MiB", "--max-event-bytes=3MiB"]);
    let large = format!("{{\"n\":\"{}\"}}\n", "x".repeat(2 << 20));
    assert_eq!(host.post(&large), 200);
    assert_eq!(host.post(&lines(0..100_000)), 200);
    let found = host.hook.wait_for_events(100_001);
    assert_eq!(found[0].len() + 1, large.len());
    assert_eq!(arrived(&host.hook)[1..], numbers(0..100_000));
    let too_large = format!("{{\"n\":\"{}\"}}\n", "x".repeat(4 << 20));
    assert_eq!(host.post(&too_large), 413);
    stop(agent);
}

#[test]
fn a_full_spool_refuses_the_newest_and_says_so_and_says_when_there_is_room() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&["--spool-bytes=1MiB"]);
    let body = format!("{{\"pad\":\"{}\"}}\n", "x".repeat(20_000));
    let mut taken = 0;
    while host.post(&body) == 200 {
        taken += 1;
        assert!(taken < 100);
    }
    assert!(taken > 40, "{taken}");
    agent.wait_for_log("the spool is full (1 MiB)");
    let metrics = eventually("the metrics say so", || {
        let metrics = host.metrics();
        (metrics.value("spool_bytes") > 900 << 10).then_some(metrics)
    });
    assert_eq!(metrics.value("spool_limit_bytes"), 1 << 20);
    assert!(metrics.value("spool_bytes") <= 1 << 20);
    let on_disk: u64 = host
        .segments()
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(on_disk <= 1 << 20, "{on_disk}");
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(taken);
    agent.wait_for_log("the spool takes events again after");
    assert_eq!(host.post(&body), 200);
    host.hook.wait_for_events(taken + 1);
    let (balance, _) = stop(agent);
    assert_eq!((balance.received as usize, balance.dropped), (taken + 1, 0));
}

#[test]
fn what_a_stream_can_not_put_into_a_full_spool_is_dropped_and_counted() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let pad = "x".repeat(1000);
    let input: String = (0..3000)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}\n"))
        .collect();
    let agent = host
        .bare()
        .source("stdin")
        .args(["--spool-bytes=1MiB", "--shutdown-timeout=0s"]);
    let agent = agent.input(input).spawn();
    agent.wait_for_log("started: ");
    eventually("the rest is dropped", || {
        let metrics = host.metrics();
        let dropped = metrics.of("events_dropped_total", "reason", "spool_full");
        (metrics.sum("events_received_total") == 3000 && dropped > 1500).then_some(())
    });
    let (balance, log) = stop(agent);
    assert_eq!(
        balance.by_reason.keys().collect::<Vec<_>>(),
        ["spool full"],
        "{log}"
    );
    host.hook.serve_what_comes();
    let ended = host
        .bare()
        .source("stdin")
        .arg("--spool-bytes=1MiB")
        .input("")
        .spawn()
        .wait();
    let next = ended.done();
    assert_eq!(
        (next.recovered, next.delivered),
        (balance.left, balance.left)
    );
}

#[test]
fn a_webhook_that_is_disabled_and_enabled_again_gets_all() {
    let host = Host::new();
    let control = Settings::new();
    let url = host.hook.url();
    let enable = [
        "enable",
        "--no-test",
        "--endpoint",
        &url,
        "--auth-token=Splunk test",
    ];
    control.must(&enable);
    let agent = Agent::command()
        .args(["run", "--batch-age=5ms", "--spool-bytes=8MiB", "--config"])
        .arg(control.path())
        .arg("--state-dir")
        .arg(host.dir.path())
        .source(&format!("http:{}", host.address))
        .spawn();
    agent.wait_for_log("started: ");
    assert_eq!(host.post(&lines(0..10)), 200);
    host.hook.wait_for_events(10);
    // Some are in flight when it is disabled, and some in memory.
    host.hook.hold();
    assert_eq!(host.post(&lines(10..20)), 200);
    host.hook.wait_for_requests(2);
    assert_eq!(host.post(&lines(20..200)), 200);
    control.must(&["disable"]);
    agent.wait_for_log("files and the spool wait");
    host.hook.release();
    assert_eq!(host.post(&lines(200..400)), 200);
    control.must(&enable);
    host.hook.wait_for_events(400);
    assert_eq!(arrived(&host.hook), numbers(0..400));
    let (balance, _) = stop(agent);
    assert_eq!((balance.received, balance.dropped), (400, 0));
}

#[test]
fn no_more_is_sent_a_second_than_max_rate() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    let pad = "x".repeat(1000);
    let body: String = (0..100)
        .map(|n| format!("{{\"n\":{n},\"pad\":\"{pad}\"}}\n"))
        .collect();
    assert_eq!(host.post(&body), 200);
    kill_and_serve(agent, &host.hook);
    let began = Instant::now();
    let agent = host.start(&["--max-rate=50KiB"]);
    host.hook.wait_for_events(100);
    // 100 KB: the first body at once, the last after more than a second.
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    // The first agent had no limit.
    let requests = host.hook.requests();
    let of_second = requests.iter().filter(|request| request.delivered());
    let largest = of_second.map(|request| request.text().len()).max();
    assert!(largest.unwrap() <= 50 << 10);
    stop(agent);
}
