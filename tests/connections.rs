//! `--connections`: several requests at a time. What the state machine decides is tested beside it; here, that the threads
//! are wired to it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::delivery::{feed, numbered, start, taken};
use super::support::control::Settings;
use super::support::{Agent, Answer, Webhook, eventually};

const FOUR: &str = "--connections=4";

/// Ends the agent's input, and checks that the webhook has these events, each once, in whatever order.
#[track_caller]
fn finish(mut agent: Agent, hook: &Webhook, events: usize) -> String {
    agent.close_stdin();
    let ended = agent.wait();
    let log = ended.log.clone();
    let balance = ended.done();
    assert_eq!(balance.delivered, events as u64, "{log}");
    let taken = taken(hook);
    let different: BTreeSet<_> = taken.iter().cloned().collect();
    let expected: BTreeSet<_> = numbered(0..events).into_iter().collect();
    assert_eq!((taken.len(), different), (events, expected), "{log}");
    log
}

#[test]
fn requests_are_made_at_the_same_time_over_connections_of_their_own() {
    let hook = Webhook::start();
    hook.hold();
    let mut agent = start(&hook.url(), &[FOUR, "--batch-events=10"]);
    feed(&mut agent, &numbered(0..100));
    let held = hook.wait_for_requests(4);
    let connections: BTreeSet<_> = held.iter().map(|request| request.connection).collect();
    assert_eq!((held.len(), connections.len()), (4, 4), "and no more");
    hook.release();
    finish(agent, &hook, 100);
    assert_eq!(hook.connections(), 4, "they are kept");
}

#[test]
fn an_outage_is_one_outage() {
    let hook = Webhook::start();
    hook.always(Answer::status(503));
    let mut agent = start(&hook.url(), &[FOUR, "--batch-events=10"]);
    feed(&mut agent, &numbered(0..1000));
    agent.wait_for_log("delivery failed");
    let before = hook.request_count();
    // Each of the four may be about to send a body when the webhook is seen to be down.
    let probes = hook.wait_for_requests(before + 16).split_off(before + 8);
    assert!(
        probes.iter().all(|probe| probe.event_count() == 1),
        "{probes:#?}"
    );
    hook.always(Answer::ok());
    let log = finish(agent, &hook, 1000);
    assert_eq!(log.matches("delivery failed").count(), 1, "{log}");
    assert_eq!(log.matches("delivery restored").count(), 1, "{log}");
}

#[test]
fn all_go_to_another_webhook() {
    let (old, new) = (Webhook::start(), Webhook::start());
    let settings = Settings::new();
    let enable = |hook: &Webhook| {
        settings.must(&[
            "enable",
            "--no-test",
            "--endpoint",
            &hook.url(),
            "--auth-token",
            "token",
        ]);
    };
    enable(&old);
    let mut agent = Agent::command()
        .args(["run", FOUR, "--batch-age=0", "--batch-events=5"])
        .arg("--config")
        .arg(settings.path())
        .spawn();
    feed(&mut agent, &numbered(0..100));
    old.wait_for_events(100);
    enable(&new);
    agent.wait_for_log("settings changed");
    new.hold();
    feed(&mut agent, &numbered(0..100));
    new.wait_for_requests(4);
    new.release();
    new.wait_for_events(100);
    agent.close_stdin();
    assert_eq!(agent.wait().done().delivered, 200);
    assert_eq!((taken(&old).len(), taken(&new).len()), (100, 100));
}

#[test]
fn what_is_in_flight_is_waited_for_at_a_stop_and_left_at_its_deadline() {
    let hook = Webhook::start();
    hook.always(Answer::hang());
    let mut agent = start(
        &hook.url(),
        &[FOUR, "--batch-events=10", "--shutdown-timeout=300ms"],
    );
    feed(&mut agent, &numbered(0..100));
    hook.wait_for_requests(4);
    agent.signal(libc::SIGTERM);
    let balance = agent.wait().done();
    assert_eq!((balance.received, balance.delivered), (100, 0));
    assert_eq!(balance.dropped, 100);
    assert!(hook.request_count() <= 8);

    let hook = Webhook::start();
    hook.always(Answer::ok().after(Duration::from_millis(200)));
    let mut agent = start(&hook.url(), &[FOUR, "--batch-events=10"]);
    feed(&mut agent, &numbered(0..100));
    hook.wait_for_requests(4);
    agent.signal(libc::SIGTERM);
    let balance = agent.wait().done();
    assert_eq!((balance.received, balance.delivered), (100, 100));
}

#[test]
fn a_poison_event_costs_itself_only() {
    for (answer, said) in [
        (Answer::status(500), "HTTP 500"),
        (Answer::garbage(), "the answer is not HTTP"),
    ] {
        for connections in ["--connections=1", FOUR] {
            let (hook, answer) = (Webhook::start(), answer.clone());
            hook.answer_by(move |request| match request.contains(r#"{"number":123}"#) {
                true => answer.clone(),
                false => Answer::ok(),
            });
            let mut agent = start(&hook.url(), &[connections]);
            feed(&mut agent, &numbered(0..1000));
            hook.wait_for_events(999);
            let log = eventually("it is rejected beside others", || {
                feed(&mut agent, &numbered(1000..1010));
                let log = agent.log();
                log.contains("rejected 1 event").then_some(log)
            });
            assert!(log.contains(said), "{log}");
        }
    }
}
