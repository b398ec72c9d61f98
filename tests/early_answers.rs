//! Webhooks that answer a body which they have not read, and close: the answer is heard all the same, plain and
//! over TLS.

use super::delivery::{feed, finish, lines_of, start};
use super::support::{Answer, Authority, Webhook};

/// More than any socket's buffers hold, so that sending it must fail.
fn large_events() -> Vec<String> {
    let filler = "x".repeat(4000);
    (0..4000)
        .map(|number| format!(r#"{{"number":{number},"filler":"{filler}"}}"#))
        .collect()
}

/// Both kinds, with what their agents need, to send all events in one body when the input ends, too.
fn webhooks() -> [(Webhook, Vec<&'static str>); 2] {
    let server = Authority::new("ours").server(&["127.0.0.1"]);
    let secure = Webhook::builder().tls(server.server_config()).start();
    let at_once = vec!["--batch-bytes", "16MiB", "--batch-age", "1m"];
    let insecure = [&["--insecure"], &at_once[..]].concat();
    [(Webhook::start(), at_once), (secure, insecure)]
}

#[test]
fn an_early_413_halves_the_body() {
    for (hook, options) in webhooks() {
        hook.script([Answer::status(413).without_reading()]);
        let mut agent = start(&hook.url(), &options);
        let events = large_events();
        feed(&mut agent, &events);
        let (_, log) = finish(agent, &hook, &events);
        assert!(!log.contains("delivery fail"), "{log}");
        assert!(hook.request_count() >= 3, "{log}");
    }
}

#[test]
fn an_early_refusal_is_heard_over_a_connection_that_stays_open() {
    for answer in [Answer::status(413), Answer::status(503)] {
        let hook = Webhook::start();
        hook.script([answer.without_reading_or_closing()]);
        // No answer to wait for: the time for a request is longer than the test has.
        let options = [
            "--batch-bytes=16MiB",
            "--batch-age=1m",
            "--request-timeout=10m",
            "--backoff-max=1s",
        ];
        let mut agent = start(&hook.url(), &options);
        let events = large_events();
        feed(&mut agent, &events);
        let (balance, log) = finish(agent, &hook, &events);
        assert_eq!(balance.delivered, events.len() as u64, "{log}");
        assert!(
            !log.contains("no answer") && !log.contains("redelivered"),
            "{log}"
        );
        assert!(hook.request_count() >= 2, "{log}");
    }
}

#[test]
fn an_early_401_is_an_operators_matter() {
    for (hook, options) in webhooks() {
        hook.script([Answer::hec(401, "Invalid authorization", 3).without_reading()]);
        let mut agent = start(&hook.url(), &options);
        let events = large_events();
        feed(&mut agent, &events);
        let (_, log) = finish(agent, &hook, &events);
        let errors = lines_of("ERROR", &log);
        assert!(
            errors.len() == 1 && errors[0].contains("HTTP 401 Invalid authorization"),
            "{log}"
        );
    }
}

#[test]
fn an_early_success_is_none() {
    for (hook, options) in webhooks() {
        hook.script([Answer::ok().without_reading()]);
        let mut agent = start(&hook.url(), &options);
        let events = large_events();
        feed(&mut agent, &events);
        let (_, log) = finish(agent, &hook, &events);
        assert!(log.contains("connection closed by the webhook"), "{log}");
    }
}
