//! `/healthz`: when an agent is healthy, and when it no longer is.

use std::fs;

use crate::source_http::free_address;
use crate::support::control::Settings;
use crate::support::{Agent, Answer, Metrics, Webhook, end, event, eventually};

use super::{Told, get};

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
