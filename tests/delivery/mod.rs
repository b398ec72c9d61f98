//! How events reach the webhook: what a request looks like, what each answer means, and what becomes of events while
//! the webhook fails in one of its many ways. Whatever happens, what the agent counts as delivered is what the webhook
//! has answered with 2xx.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::support::{
    Agent, AgentCommand, Answer, BINARY, Balance, BlackHole, Request, STATE_DIR, Webhook,
    eventually,
};

pub(crate) const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

/// An agent that reads a pipe, sends at once and tries again soon, unless `more` says otherwise. It sums up so rarely
/// that a test sees only what is logged at once.
pub(crate) fn start(endpoint: &str, more: &[&str]) -> Agent {
    let mut command = Agent::command();
    // By the environment, so that a test's own flags win.
    for (name, value) in [
        ("BATCH_AGE", "0"),
        ("BACKOFF_MIN", "5ms"),
        ("BACKOFF_MAX", "20ms"),
        ("REPORT_INTERVAL", "1h"),
        ("AUTH_TOKEN", TOKEN),
    ] {
        command = command.env(&format!("S3_AUDIT_WEBHOOK_{name}"), value);
    }
    command.arg("run").endpoint(endpoint).args(more).spawn()
}

/// Events with these numbers.
pub(crate) fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers
        .map(|number| format!(r#"{{"number":{number}}}"#))
        .collect()
}

/// Writes events to the agent's standard input, a line each.
pub(crate) fn feed(agent: &mut Agent, events: &[String]) {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    agent.stdin().write_all(lines.as_bytes()).unwrap();
}

/// What the webhook has taken, as text.
pub(crate) fn taken(hook: &Webhook) -> Vec<String> {
    texts(hook.delivered_events())
}

fn texts(events: Vec<Vec<u8>>) -> Vec<String> {
    events
        .into_iter()
        .map(|event| String::from_utf8(event).unwrap())
        .collect()
}

/// Ends the agent's input and waits for it to end well; the webhook must have `events` by then, each once and in order,
/// and the agent must say the same. Gives the balance and the log.
#[track_caller]
pub(crate) fn finish(agent: Agent, hook: &Webhook, events: &[String]) -> (Balance, String) {
    let ended = finish_in_any_order(agent, hook, events);
    assert_eq!(taken(hook), events, "{}", ended.1);
    ended
}

/// The same in any order: a webhook that is down is tried with other events than the oldest, too.
#[track_caller]
pub(crate) fn finish_in_any_order(
    mut agent: Agent,
    hook: &Webhook,
    events: &[String],
) -> (Balance, String) {
    agent.close_stdin();
    let ended = agent.wait();
    let (mut taken, mut events) = (taken(hook), events.to_vec());
    taken.sort();
    events.sort();
    assert_eq!(taken, events, "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    assert_eq!((ended.code, balance.left), (Some(0), 0), "{}", ended.log);
    assert_eq!(balance.delivered, events.len() as u64, "{}", ended.log);
    (balance, ended.log)
}

/// The log's lines of this level.
pub(crate) fn lines_of<'a>(level: &str, log: &'a str) -> Vec<&'a str> {
    log.lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(level))
        .collect()
}

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
    for (path, format, server, why) in [
        ("collector/raw", "ndjson", "Fluent Bit v3.2.1", "one record"),
        ("collector/event", "hec", "Splunkd", "no time was found"),
    ] {
        let hook = Webhook::start();
        hook.always(Answer::ok().header("Server", server));
        let url = format!("{}/services/{path}", hook.url());
        let options = ["--format", format, "--batch-events", "1"];
        let mut agent = start(&url, &options);
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
        // And up to a quarter more, so that not all agents come back at once.
        assert!(pause >= millis(1000), "{pause:?}");
        assert!(
            log.contains("retrying in 1s")
                || log.contains("retrying in 1.1s")
                || log.contains("retrying in 1.2s"),
            "{log}"
        );
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
    let mut agent = start(&hole.url(), &["--connect-timeout", "150ms"]);
    feed(&mut agent, &numbered(0..1));
    let line = agent.wait_for_log("delivery failed");
    assert!(line.contains("not connected within 150ms"), "{line}");
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
    let Some(mut agent) = start_seeing(&hosts, "/etc/hosts", &endpoint) else {
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

/// An agent that sees `file` where others see `place`, such as `/etc/hosts`; none where nobody may mount in a namespace
/// of his own.
pub(crate) fn start_seeing(file: &Path, place: &str, endpoint: &str) -> Option<Agent> {
    let unshare = |script: &str| {
        AgentCommand::of("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(file)
            .arg(place)
    };
    if unshare(r#"mount --bind "$1" "$2""#).run().code != Some(0) {
        eprintln!("skipped: nobody may mount in a namespace of his own here");
        return None;
    }
    let agent = unshare(r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#)
        .arg(BINARY)
        .args(["run", "--endpoint", endpoint, "--auth-token", TOKEN])
        .args(["--batch-age=0", "--backoff-min=5ms", "--backoff-max=20ms"])
        .args(["--shutdown-timeout=300ms", "--no-proxy"])
        .env(STATE_DIR, file.parent().unwrap());
    Some(agent.spawn())
}
