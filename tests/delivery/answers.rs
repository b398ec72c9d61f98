//! What each answer means, and what is said and done about it.

use std::time::Duration;

use crate::support::{Answer, Webhook};

use super::{feed, finish, finish_in_any_order, lines_of, numbered, start, taken};

#[test]
fn a_busy_webhook_gets_one_event_at_a_time_until_it_takes_it() {
    let by_status = [408, 425, 429, 500, 502, 503, 504, 599]
        .map(|status| (Answer::status(status).body("busy"), status));
    let by_code = [0, 8, 9, 18, 19, 20, 23].map(|code| (Answer::hec(503, "?", code), 503));
    for (answer, status) in by_status.into_iter().chain(by_code) {
        let hook = Webhook::start();
        hook.script([answer.clone(), answer.clone(), answer]);
        let mut agent = start(&hook.url(), &[]);
        let events = numbered(0..10);
        feed(&mut agent, &events[..1]);
        hook.wait_for_requests(2);
        feed(&mut agent, &events[1..]);
        hook.wait_for_events(10);

        let requests = hook.requests();
        assert!(
            // The oldest twice; then one at a time, until one is taken.
            requests[..2]
                .iter()
                .all(|request| request.events() == [events[0].as_bytes()])
                && requests[..4]
                    .iter()
                    .all(|request| request.event_count() == 1),
            "{requests:#?}"
        );
        let (_, log) = finish_in_any_order(agent, &hook, &events);
        assert_eq!(lines_of("ERROR", &log), [""; 0], "nobody has to mend it");
        assert_eq!(log.matches("delivery failed").count(), 1, "{log}");
        let told = format!("delivery failed: HTTP {status} ");
        assert!(log.contains(&told), "{log}");
        assert!(log.contains("(3 attempts)"), "{log}");
    }
}

#[test]
fn a_code_that_tells_of_failure_says_more_than_a_status_that_tells_of_success() {
    let hook = Webhook::start();
    hook.script([Answer::hec(200, "Server is busy", 9)]);
    let mut agent = start(&hook.url(), &[]);
    feed(&mut agent, &numbered(0..1));
    agent.wait_for_log("delivery failed: HTTP 200 Server is busy");
    agent.close_stdin();
    let balance = agent.wait().balance();
    assert_eq!((balance.received, balance.delivered), (1, 1));
    assert_eq!(hook.request_count(), 2);
}

#[test]
fn what_an_operator_must_mend_is_said_once_as_an_error_with_the_remedy_and_tried_until_mended() {
    let token = "give the token that the webhook expects with --auth-token";
    let url = "check the --endpoint";
    let channel = "turn indexer acknowledgement off";
    for (answer, why, remedy) in [
        (Answer::hec(401, "?", 2), "401 Token is required", token),
        (
            Answer::status(401).body(""),
            "401 Unauthorized",
            "scheme included",
        ),
        (Answer::hec(401, "?", 3), "401 Invalid authorization", token),
        (
            Answer::hec(403, "?", 1),
            "403 Token disabled",
            "enable this token in Splunk",
        ),
        (Answer::hec(403, "?", 4), "403 Invalid token", token),
        (Answer::status(404), "404 The requested URL", url),
        (Answer::status(405), "405 Method Not Allowed", url),
        (
            Answer::status(301).header("Location", "https://u:pw@other/x?key=s3cret"),
            "301 Moved Permanently, which leads to https://other/x?…",
            url,
        ),
        (Answer::status(302), "302 Found", url),
        (
            Answer::hec(400, "?", 7),
            "400 Incorrect index",
            "allow the index for this token",
        ),
        (
            Answer::hec(400, "?", 10),
            "400 Data channel is missing",
            channel,
        ),
        (
            Answer::hec(400, "?", 11),
            "400 Invalid data channel",
            channel,
        ),
        (
            Answer::hec(400, "?", 14),
            "400 ACK is disabled",
            "turn indexer acknowledgement on",
        ),
        (Answer::hec(400, "?", 16), "400 Query string auth", token),
    ] {
        let hook = Webhook::start();
        hook.script([answer.clone(), answer.clone(), answer]);
        let mut agent = start(&hook.url(), &[]);
        feed(&mut agent, &numbered(0..3));
        hook.wait_for_events(3);
        let (_, log) = finish_in_any_order(agent, &hook, &numbered(0..3));

        let errors = lines_of("ERROR", &log);
        assert_eq!(errors.len(), 1, "{log}");
        assert!(
            errors[0].contains(why) && errors[0].contains(remedy),
            "{why}: {log}"
        );
        assert!(errors[0].contains("; events are buffered; fix: "), "{log}");
        assert!(log.contains("delivery restored after"), "{log}");
    }
}

#[test]
fn an_outage_that_becomes_an_operators_matter_is_said_with_the_remedy() {
    let hook = Webhook::start();
    hook.always(Answer::status(503));
    let mut agent = start(&hook.url(), &["--report-interval", "100ms"]);
    feed(&mut agent, &numbered(0..1));
    agent.wait_for_log("delivery failed: HTTP 503");
    // Splunk is up again, but no longer knows the token.
    hook.always(Answer::status(403));
    let line = agent.wait_for_log("HTTP 403 Invalid token");
    assert!(
        line.contains("ERROR") && line.contains("give the token"),
        "{line}"
    );
    hook.always(Answer::ok());
    finish(agent, &hook, &numbered(0..1));
}

#[test]
fn a_redirect_is_not_followed_so_that_the_token_stays_with_its_host() {
    let elsewhere = Webhook::start();
    let hook = Webhook::start();
    hook.script(
        [301, 302, 303, 307, 308]
            .map(|status| Answer::status(status).header("Location", &elsewhere.url())),
    );
    let mut agent = start(&hook.url(), &[]);
    feed(&mut agent, &numbered(0..1));
    hook.wait_for_events(1);

    assert_eq!(elsewhere.connections(), 0);
    assert_eq!(hook.request_count(), 6);
    finish(agent, &hook, &numbered(0..1));
}

#[test]
fn what_a_webhook_makes_of_events_unasked_is_said_once() {
    let hec = &["--format", "hec"][..];
    let wrong_time = &["--format", "hec", "--time-field", "nope.when"];
    for (path, format, server, why) in [
        ("collector/raw", &[][..], "Fluent Bit v3.2.1", "one record"),
        ("collector/event", hec, "Splunkd", "give --time-field"),
        (
            "collector/event",
            wrong_time,
            "Splunkd",
            "correct --time-field",
        ),
    ] {
        let hook = Webhook::start();
        hook.always(Answer::ok().header("Server", server));
        let url = format!("{}/services/{path}", hook.url());
        let mut agent = start(&url, &[format, &["--batch-events", "1"]].concat());
        feed(&mut agent, &numbered(0..3));
        agent.close_stdin();
        let log = agent.wait().log;
        let advice: Vec<_> = log
            .lines()
            .filter(|l| l.contains("WARN  webhook: "))
            .collect();
        assert!(advice.len() == 1 && advice[0].contains(why), "{log}");
    }
}

#[test]
fn an_event_that_the_webhook_refuses_costs_only_itself_and_a_few_requests() {
    let is_poison = |event: &String| event.contains("poison");
    for (refusal, places) in [
        (Answer::status(400), &[0][..]),
        (Answer::status(413), &[637]),
        (Answer::status(415), &[999]),
        (Answer::status(422), &[0, 999]),
        (Answer::hec(400, "?", 5), &[500, 501]),
        (Answer::hec(400, "?", 12), &[3]),
        (Answer::hec(400, "?", 13), &[4]),
        (Answer::hec(400, "?", 15), &[5]),
    ] {
        let hook = Webhook::start();
        hook.answer_by(move |request| {
            if request.contains("poison") {
                refusal.clone()
            } else {
                Answer::ok()
            }
        });
        let mut events = numbered(0..1000);
        for place in places {
            events[*place] = format!(r#"{{"poison":{place}}}"#);
        }
        // All in one batch, since it is not sent before the end of the input.
        let mut agent = start(&hook.url(), &["--batch-age", "1h"]);
        feed(&mut agent, &events);
        agent.close_stdin();
        let good: Vec<_> = events.iter().filter(|e| !is_poison(e)).cloned().collect();
        hook.wait_for_events(good.len());
        let (balance, log) = finish(agent, &hook, &good);

        let requests = hook.requests();
        assert_eq!(requests[0].event_count(), 1000);
        assert!(
            requests.len() <= 4 + 20 * places.len(),
            "{places:?}: {} requests",
            requests.len()
        );
        assert_eq!(
            (balance.received, balance.rejected),
            (1000, places.len() as u64)
        );
        assert!(log.contains("rejected 1 event (HTTP 4"), "{log}");
        assert!(!log.contains("delivery fail"), "it was there: {log}");
    }
}

#[test]
fn a_webhook_that_refuses_everything_is_not_stormed() {
    let hook = Webhook::start();
    hook.always(Answer::status(400));
    let backoff = ["--backoff-min", "100ms", "--backoff-max", "100ms"];
    let mut agent = start(&hook.url(), &backoff);
    feed(&mut agent, &numbered(0..500));
    let requests = hook.wait_for_requests(60);
    // Ten requests find one event at most. From the second event on there is a wait after each.
    let took = requests[59].at - requests[0].at;
    assert!(took >= Duration::from_millis(400), "{took:?}");

    // Once it has come to its senses, the rest is delivered.
    hook.always(Answer::ok());
    agent.close_stdin();
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert_eq!((balance.received, balance.left), (500, 0));
    assert_eq!(balance.delivered, taken(&hook).len() as u64);
    assert_eq!(balance.dropped, 0, "{balance:?}");
}

/// The pause between the first two requests, where the first is answered so.
fn pause_after(answer: Answer, more: &[&str]) -> (Duration, String) {
    let hook = Webhook::start();
    hook.script([answer]);
    let mut agent = start(&hook.url(), more);
    feed(&mut agent, &numbered(0..1));
    let requests = hook.wait_for_requests(2);
    let (_, log) = finish(agent, &hook, &numbered(0..1));
    (requests[1].at - requests[0].at, log)
}

#[test]
fn retry_after_is_obeyed_within_the_bounds_of_the_backoff() {
    let millis = Duration::from_millis;
    for status in [429, 503] {
        let asked = Answer::status(status).header("Retry-After", "1");
        let (pause, log) = pause_after(asked, &["--backoff-max", "1h"]);
        // And up to half as long again, so that not all agents come back at once.
        assert!(pause >= millis(1000), "{pause:?}");
        let delays = ["1s", "1.1s", "1.2s", "1.3s", "1.4s", "1.5s"];
        let is_one = |delay| log.contains(&format!("retrying in {delay};"));
        assert!(delays.iter().any(is_one), "{log}");
    }
    for (asked, said) in [("86400", "retrying in 1"), ("0", "retrying in 1")] {
        let answer = Answer::status(503).header("Retry-After", asked);
        let bounds = ["--backoff-min", "10ms", "--backoff-max", "20ms"];
        let (pause, log) = pause_after(answer, &bounds);
        assert!(pause >= millis(10), "{asked}: {pause:?}");
        assert!(log.contains(said), "{log}");
    }
    for nonsense in ["Wed, 21 Oct 2093 07:28:00 GMT", "-5", "soon", ""] {
        let answer = Answer::status(503).header("Retry-After", nonsense);
        let (pause, _) = pause_after(answer, &["--backoff-min", "20ms"]);
        assert!(pause >= millis(20), "{nonsense}: {pause:?}");
    }
}

#[test]
fn an_answer_counts_by_its_status_however_badly_it_ends() {
    let hook = Webhook::start();
    let answers = [
        Answer::ok(),
        Answer::status(201).body("thanks"),
        Answer::status(204),
        Answer::ok().after(Duration::from_millis(50)),
        Answer::ok().slowly(20, Duration::from_millis(5)),
        Answer::ok().body(vec![b'x'; 200_000]),
        Answer::ok().endless(),
        Answer::ok().half_a_body(),
        Answer::ok().close(),
        // As a server does that has tired of an idle connection.
        Answer::ok().close_silently(),
        Answer::ok().close_silently(),
    ];
    hook.script(answers.clone());
    let mut agent = start(&hook.url(), &[]);
    let events = numbered(0..answers.len() + 1);
    for (count, event) in events.iter().enumerate() {
        feed(&mut agent, std::slice::from_ref(event));
        hook.wait_for_events(count + 1);
        if answers.get(count).is_some_and(Answer::ends_connection) {
            // What is posted before that may have arrived, and would be sent twice.
            hook.wait_until_closed();
        }
    }
    let (_, log) = finish(agent, &hook, &events);
    let requests = hook.requests();
    assert_eq!(requests.len(), events.len(), "none was sent twice");
    let endless = requests[7].at - requests[6].at;
    assert!(
        endless < Duration::from_secs(20),
        "it is read for {endless:?}"
    );
    assert_eq!(
        (lines_of("WARN", &log), lines_of("ERROR", &log)),
        (vec![], vec![]),
        "{log}"
    );
}
