//! The way to the webhook: one connection that is kept, and what happens when it fails.

use std::fs;
use std::io::Write;
use std::time::Duration;

use crate::support::{Answer, BlackHole, Request, Webhook, eventually};

use super::{TOKEN, feed, finish, numbered, start, start_seeing, taken, texts};

#[test]
fn events_are_posted_as_lines_with_the_token_over_one_connection() {
    let hook = Webhook::start();
    let path = "/services/collector/raw?index=audit&channel=7f&host=h";
    let mut agent = start(&format!("http://{}{path}", hook.address()), &[]);
    let events = numbered(0..20);
    for (count, event) in events.iter().enumerate() {
        feed(&mut agent, std::slice::from_ref(event));
        hook.wait_for_events(count + 1);
    }

    let requests = hook.requests();
    assert_eq!((requests.len(), hook.connections()), (20, 1));
    for (request, event) in requests.iter().zip(&events) {
        assert_eq!(
            (request.method.as_str(), request.path.as_str()),
            ("POST", path)
        );
        assert_eq!(request.body, format!("{event}\n").as_bytes());
        let length = request.body.len().to_string();
        let agent = concat!("s3-audit-webhook/", env!("CARGO_PKG_VERSION"));
        let host = hook.address().to_string();
        for (name, value) in [
            ("Authorization", Some(TOKEN)),
            ("Content-Length", Some(length.as_str())),
            ("Transfer-Encoding", None),
            ("Content-Type", Some("application/x-ndjson")),
            ("User-Agent", Some(agent)),
            ("Host", Some(host.as_str())),
            // Without it, answers might come in any coding.
            ("Accept-Encoding", Some("identity")),
            ("Expect", None),
        ] {
            assert_eq!(request.header(name), value, "{name}");
        }
    }
    finish(agent, &hook, &events);
}

#[test]
fn a_webhook_that_is_down_at_start_or_goes_away_is_found_again() {
    let hook = Webhook::start();
    hook.stop();
    let mut agent = start(&hook.url(), &["--report-interval", "50ms"]);
    let events = numbered(0..3);
    for (outage, event) in (1..).zip(&events) {
        let told = agent.log().len();
        feed(&mut agent, std::slice::from_ref(event));
        eventually("the outage is told", || {
            let news = agent.log().split_off(told);
            news.contains(": connection refused; ").then_some(())
        });
        hook.restart();
        agent.wait_for_nth_log(outage, "delivery restored after");
        hook.stop();
    }
    finish(agent, &hook, &events);
}

#[test]
fn a_request_that_fails_on_its_way_is_sent_again() {
    let minute = Duration::from_secs(60);
    let (late, closed) = (
        "no answer within 300ms",
        "connection closed by the webhook; ",
    );
    for (answer, why) in [
        (Answer::hang(), late),
        (Answer::ok().after(minute), late),
        (Answer::ok().slowly(1, minute), late),
        (Answer::hang_up(), closed),
        (Answer::reset(), closed),
        (Answer::reset_mid_body(5000), closed),
        (Answer::ok().half_a_head(), closed),
        (Answer::garbage(), "the answer is not HTTP"),
    ] {
        let hook = Webhook::start();
        hook.script([answer.clone()]);
        let timeout = if why == late { "300ms" } else { "30s" };
        let mut agent = start(&hook.url(), &["--request-timeout", timeout]);
        let events = numbered(0..1000);
        feed(&mut agent, &events);
        hook.wait_for_events(events.len());
        let (_, log) = finish(agent, &hook, &events);

        assert!(log.contains(why), "{answer:?}: {log}");
        assert!(log.contains("delivery restored after"), "{log}");
        assert!(!hook.requests()[0].delivered(), "{answer:?}");
    }
}

#[test]
fn a_lost_answer_costs_a_duplicate_and_never_an_event() {
    let hook = Webhook::start();
    let mut agent = start(&hook.url(), &[]);
    feed(&mut agent, &numbered(0..1));
    hook.wait_for_events(1);
    // Nobody can tell whether a webhook that closes a connection has taken what it has read: each is a failure.
    hook.script([Answer::reset(), Answer::hang_up()]);
    feed(&mut agent, &numbered(1..2));
    hook.wait_for_events(2);

    let bodies: Vec<_> = hook.requests().iter().map(Request::events).collect();
    let [first, second] = [0, 1].map(|number| vec![numbered(0..2)[number].clone().into_bytes()]);
    assert_eq!(bodies, [first, second.clone(), second.clone(), second]);
    let (_, log) = finish(agent, &hook, &numbered(0..2));
    assert!(log.contains("(2 attempts)\n"), "{log}");
}

#[test]
fn an_address_where_connecting_never_ends_is_given_up_after_the_connect_timeout() {
    let hole = BlackHole::start();
    // The request's own time may be shorter.
    for timeout in ["--connect-timeout", "--request-timeout"] {
        let mut agent = start(&hole.url(), &[timeout, "150ms"]);
        feed(&mut agent, &numbered(0..1));
        let line = agent.wait_for_log("delivery failed");
        assert!(line.contains("not connected within 150ms"), "{line}");
    }
}

#[test]
fn a_webhook_that_returns_under_another_address_is_found_again() {
    let (old, new) = (Webhook::start(), Webhook::start());
    // The same port, as DNS changes no ports.
    let port = old.address().port();
    let new = {
        let address = (new.address().ip(), port).into();
        new.stop();
        Webhook::builder().address(address).start()
    };
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    let name_is_at = |hook: &Webhook| {
        fs::write(&hosts, format!("{} webhook.test\n", hook.address().ip())).unwrap();
    };
    name_is_at(&old);
    let endpoint = format!("http://webhook.test:{port}/");
    let Some(mut agent) = start_seeing(&hosts, "/etc/hosts", &endpoint, &[]) else {
        return;
    };
    let mut input = agent.take_stdin();
    let events = numbered(0..3);

    // The second request shows that the first one's answer has come.
    old.script([Answer::ok(), Answer::hang()]);
    writeln!(input, "{}", events[0]).unwrap();
    old.wait_for_events(1);
    writeln!(input, "{}", events[1]).unwrap();
    old.wait_for_requests(2);
    name_is_at(&new);
    old.stop();
    assert_eq!(texts(new.wait_for_events(1)), events[1..2]);
    writeln!(input, "{}", events[2]).unwrap();
    assert_eq!(texts(new.wait_for_events(2)), events[1..]);
    assert_eq!(taken(&old), events[..1]);
    drop(input);
    assert_eq!(agent.wait().code, Some(0));
}
