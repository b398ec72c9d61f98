//! Several `--endpoint`s. Which one is used is tested beside the state machine; here, that the agent, its commands and its
//! figures are wired to it.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use super::delivery::{feed, numbered, start, taken};
use super::source_http::free_address;
use super::support::control::Settings;
use super::support::{
    Agent, Answer, Metrics, STATE_DIR, Webhook, Wire, WireFault, eventually, own_loopback,
};

fn hooks(count: usize) -> Vec<Webhook> {
    (0..count).map(|_| Webhook::start()).collect()
}

fn urls(hooks: &[Webhook]) -> String {
    hooks.iter().map(Webhook::url).collect::<Vec<_>>().join(" ")
}

/// Ends the agent's input, and checks that the webhooks have these events between them.
#[track_caller]
fn finish(mut agent: Agent, hooks: &[Webhook], events: usize) -> String {
    agent.close_stdin();
    let ended = agent.wait();
    let log = ended.log.clone();
    let balance = ended.balance();
    assert_eq!(
        (balance.delivered, balance.dropped),
        (events as u64, 0),
        "{log}"
    );
    let taken: BTreeSet<_> = hooks.iter().flat_map(taken).collect();
    let expected: BTreeSet<_> = numbered(0..events).into_iter().collect();
    assert_eq!(taken, expected, "{log}");
    log
}

#[test]
fn the_next_endpoint_takes_over_and_the_first_is_used_again() {
    let hooks = hooks(2);
    let status = free_address();
    let state = tempfile::tempdir().unwrap();
    let mut agent = start(
        &urls(&hooks),
        &[
            "--failback=100ms",
            // What is not told of at once would be told of later.
            "--report-interval=1ms",
            &format!("--status-listen={status}"),
            &format!("--state-dir={}", state.path().display()),
        ],
    );
    agent.wait_for_log("started");
    let up = |place: usize| {
        let metrics = Metrics::at(status);
        let name = hooks[place].url();
        let name = name.split('/').take(3).collect::<Vec<_>>().join("/");
        let up = &metrics.0["s3_audit_webhook_webhook_up"].samples;
        assert_eq!(up[&Vec::new()], 1, "{up:?}");
        up[&vec![("endpoint".to_owned(), name)]]
    };
    feed(&mut agent, &numbered(0..10));
    hooks[0].wait_for_events(10);
    assert_eq!((hooks[1].request_count(), up(0), up(1)), (0, 1, 1));

    hooks[0].stop();
    hooks[0].wait_until_closed();
    feed(&mut agent, &numbered(10..20));
    hooks[1].wait_for_events(10);
    let log = agent.wait_for_log("until it works again");
    assert!(
        log.contains("connection refused; the other endpoints are used"),
        "{log}"
    );
    assert!(!log.contains("delivery failed"), "{log}");
    assert_eq!((up(0), up(1)), (0, 1));
    let shown = eventually("the status file has it", || {
        let shown = Agent::command().args(["show", "--config=/dev/null"]);
        let shown = shown.env(STATE_DIR, state.path()).run();
        let shown = String::from_utf8(shown.stdout).unwrap();
        shown
            .contains("endpoint    ")
            .then_some(shown)
            .filter(|text| text.contains("refused"))
    });
    assert!(
        shown.contains(" failing for ") && shown.contains(" works\n"),
        "{shown}"
    );

    hooks[0].restart();
    let mut next = 20;
    eventually("the first is used again", || {
        feed(&mut agent, &numbered(next..next + 2));
        next += 2;
        (agent.log().contains("works again after") && hooks[0].request_count() > 10).then_some(())
    });
    assert_eq!(up(0), 1);
    let log = finish(agent, &hooks, next);
    assert!(!log.contains("delivery failed"), "{log}");
}

#[test]
fn one_that_does_not_answer_is_left_alone_for_most_of_the_time() {
    let hooks = hooks(2);
    let mut wire = Wire::to(hooks[0].address(), own_loopback());
    wire.set(WireFault::BlackHole);
    let endpoints = format!("http://{}/ {}", wire.address(), hooks[1].url());
    let mut agent = start(
        &endpoints,
        &["--connect-timeout=100ms", "--batch-events=10"],
    );
    feed(&mut agent, &numbered(0..1000));
    let log = finish(agent, &hooks[1..], 1000);
    assert_eq!(log.matches("until it works again").count(), 1, "{log}");
    assert!(!log.contains("delivery failed"), "{log}");
}

#[test]
fn while_one_answers_nobody_waits_for_those_that_went_silent_in_turns() {
    let hooks = hooks(3);
    let to_hook = |hook: &Webhook| Wire::to(hook.address(), own_loopback());
    let mut wires: Vec<_> = hooks.iter().map(to_hook).collect();
    let url = |wire: &Wire| format!("http://{}/", wire.address());
    let endpoints: Vec<_> = wires.iter().map(url).collect();
    // Whoever waits for a backoff waits longer than this test.
    let options = [
        "--request-timeout=1s",
        "--backoff-min=1h",
        "--backoff-max=1h",
    ];
    let mut agent = start(&endpoints.join(" "), &options);
    for turn in 0..4 {
        wires[turn % 3].set(WireFault::Stall);
        feed(&mut agent, &numbered(turn * 10..turn * 10 + 10));
        let arrived = || hooks.iter().flat_map(taken).collect::<BTreeSet<_>>();
        eventually("another endpoint has them", || {
            (arrived().len() == turn * 10 + 10).then_some(())
        });
        wires[turn % 3].set(WireFault::None);
        // One that failed is tried again when that can't cost much of the time: after twice the time it took.
        std::thread::sleep(Duration::from_millis(1500));
    }
    let log = finish(agent, &hooks, 40);
    assert!(!log.contains("delivery failed"), "{log}");
}

#[test]
fn a_failure_of_all_is_an_outage() {
    let hooks = hooks(2);
    hooks
        .iter()
        .for_each(|hook| hook.always(Answer::status(503)));
    let mut agent = start(&urls(&hooks), &["--connections=3"]);
    feed(&mut agent, &numbered(0..100));
    hooks
        .iter()
        .for_each(|hook| drop(hook.wait_for_requests(5)));
    hooks[1].always(Answer::ok());
    let log = finish(agent, &hooks, 100);
    assert_eq!(log.matches("delivery failed").count(), 1, "{log}");
    assert_eq!(log.matches("delivery restored").count(), 1, "{log}");
}

#[test]
fn what_one_rejects_is_rejected() {
    let hooks = hooks(2);
    hooks[0].answer_by(|request| match request.contains(r#"{"number":5}"#) {
        true => Answer::status(400),
        false => Answer::ok(),
    });
    let mut agent = start(&urls(&hooks), &[]);
    feed(&mut agent, &numbered(0..10));
    agent.close_stdin();
    let ended = agent.wait();
    assert_eq!(ended.balance().rejected, 1, "{}", ended.log);
    assert_eq!((taken(&hooks[0]).len(), hooks[1].request_count()), (9, 0));
}

#[test]
fn spread_uses_all_at_the_same_time() {
    let hooks = hooks(3);
    hooks.iter().for_each(Webhook::hold);
    let options = [
        "--endpoint-mode=spread",
        "--connections=3",
        "--batch-events=10",
    ];
    let mut agent = start(&urls(&hooks), &options);
    feed(&mut agent, &numbered(0..100));
    for hook in &hooks {
        hook.wait_for_requests(1);
    }
    hooks.iter().for_each(Webhook::release);
    finish(agent, &hooks, 100);
}

#[test]
fn another_list_is_taken_over() {
    let hooks = hooks(3);
    let settings = Settings::new();
    let enable = |hooks: &[Webhook]| {
        let endpoints = hooks
            .iter()
            .flat_map(|hook| ["--endpoint".to_owned(), hook.url()]);
        let args = [
            "enable",
            "--no-test",
            "--auth-token",
            "token",
            "--failback=0",
        ]
        .map(str::to_owned);
        let args: Vec<_> = args.into_iter().chain(endpoints).collect();
        settings.must(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = enable(&hooks[..2]);
    let [one, two] = [&hooks[0], &hooks[1]].map(|hook| hook.address());
    assert!(
        said.contains(&format!("audit events go to http://{one}, http://{two}\n")),
        "{said}"
    );
    assert!(
        settings.has(&format!("S3_AUDIT_WEBHOOK_ENDPOINT={}", urls(&hooks[..2])))
            || settings.has(&format!(
                "S3_AUDIT_WEBHOOK_ENDPOINT=\"{}\"",
                urls(&hooks[..2])
            )),
        "{}",
        settings.text()
    );
    let shown = settings.run(&["show"]).stdout;
    assert!(shown.contains(&urls(&hooks[..2])), "{shown}");
    let mut agent = Agent::command()
        .args(["run", "--connections=2", "--batch-age=0"])
        .arg("--config")
        .arg(settings.path())
        .spawn();
    let log = agent.wait_for_log("started");
    assert!(
        log.contains(&format!("http://{one}, http://{two} (failover)")),
        "{log}"
    );
    hooks[0].stop();
    feed(&mut agent, &numbered(0..10));
    hooks[1].wait_for_events(10);
    enable(&hooks[1..]);
    agent.wait_for_log("settings changed");
    hooks[1].stop();
    feed(&mut agent, &numbered(10..20));
    hooks[2].wait_for_events(10);
    finish(agent, &hooks, 20);
}

#[test]
fn each_is_tested() {
    let hooks = hooks(2);
    hooks[1].always(Answer::status(503));
    let ended = Agent::command()
        .args(["test", "--config=/dev/null", "--auth-token=token"])
        .endpoint(&urls(&hooks))
        .run();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.code, Some(1), "{said}");
    assert_eq!(said.matches("\nwebhook").count() + 1, 2, "{said}");
    assert_eq!(said.matches("\ndelivered").count(), 1, "{said}");
    let failed = format!("http://{}: not delivered: HTTP 503", hooks[1].address());
    assert!(ended.log.contains(&failed), "{}", ended.log);
    assert!(hooks.iter().all(|hook| hook.request_count() == 1));
}

#[test]
fn one_that_is_given_twice_is_refused() {
    let ended = Agent::command()
        .args([
            "run",
            "--auth-token=token",
            "--endpoint=http://127.0.0.1:9/",
        ])
        .endpoint("http://127.0.0.1:9/")
        .run();
    assert_eq!(ended.code, Some(2));
    assert!(
        ended
            .log
            .contains("--endpoint: http://127.0.0.1:9 is given twice"),
        "{}",
        ended.log
    );
}

/// One of three is killed and brought back, over and over, under load.
fn killed_over_and_over(mode: &str) {
    let hooks = hooks(3);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("events");
    fs::write(&log, "").unwrap();
    let mode = format!("--endpoint-mode={mode}");
    let source = format!("--source=file:{}", log.display());
    let state = format!("--state-dir={}", dir.path().display());
    let options = [
        &*mode,
        &source,
        &state,
        "--connections=3",
        "--batch-age=50ms",
    ];
    let more = [
        "--backoff-min=100ms",
        "--backoff-max=1s",
        "--failback=500ms",
    ];
    let agent = start(&urls(&hooks), &[&options[..], &more[..]].concat());
    agent.wait_for_log("started");
    let mut next = 0;
    for kills in 0..6 {
        let victim = &hooks[kills % 3];
        victim.stop();
        for _ in 0..5 {
            next = write(&log, next, 1000);
            let delivered = || hooks.iter().map(|hook| hook.event_count()).sum::<usize>();
            eventually("they are delivered", || (delivered() >= next).then_some(()));
        }
        victim.restart();
        next = write(&log, next, 1000);
    }
    let delivered = || hooks.iter().flat_map(taken).collect::<BTreeSet<_>>().len();
    eventually("all are delivered", || (delivered() == next).then_some(()));
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    assert_eq!(
        (balance.delivered, balance.dropped, balance.rejected),
        (next as u64, 0, 0)
    );
    assert!(!ended.log.contains("delivery failed"), "{}", ended.log);
}

fn write(log: &std::path::Path, first: usize, count: usize) -> usize {
    let lines: String = numbered(first..first + count)
        .iter()
        .map(|event| format!("{event}\n"))
        .collect();
    let mut file = fs::OpenOptions::new().append(true).open(log).unwrap();
    std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
    first + count
}

#[test]
fn one_of_three_that_comes_and_goes_costs_nothing() {
    killed_over_and_over("failover");
    killed_over_and_over("spread");
}
