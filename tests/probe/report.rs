//! What is told: the event and each step with its time, in short lines and without secrets.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use serde_json::Value;

use crate::support::{Answer, Authority, Webhook};

use super::{HERE, SECRET, TOKEN, answered, test, text, tls};

#[test]
fn one_marked_event_is_posted_and_told_so_that_it_can_be_found() {
    let hook = Webhook::start();
    let url = hook.url();
    let tested = test(&url, &[]).delivered();
    assert_eq!(tested.said, "");

    let requests = hook.requests();
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(request.method, "POST");
    assert_eq!(request.header("Authorization"), Some(TOKEN));
    let events = request.events();
    assert_eq!(events.len(), 1);
    let event = std::str::from_utf8(&events[0]).unwrap();
    assert_eq!(tested.step("event"), Some(event));
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!(event["s3_audit_webhook_test"], true);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(event["host"], host.trim());
    assert!(event["time"].as_str().unwrap().ends_with('Z'));
    let id = event["id"].as_str().unwrap();
    assert_eq!(tested.step("delivered"), Some(&*format!("search for {id}")));

    assert_eq!(
        tested.timed("connect"),
        format!("{}: connected", hook.address())
    );
    assert_eq!(
        tested.timed("answer"),
        r#"HTTP 200 {"text":"Success","code":0}"#
    );
    assert_eq!((tested.step("name"), tested.step("TLS")), (None, None));

    let again = test(&url, &[]).delivered();
    assert_ne!(again.step("delivered"), tested.step("delivered"));
}

#[test]
fn name_connection_and_handshake_are_told_as_steps() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = authority.write_pem(dir.path(), "ca");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let identity = authority.server(HERE);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.private_key())
            .unwrap();
        let hook = tls(Arc::new(config));
        let url = hook.url().replace("127.0.0.1", "localhost");
        let tested = test(&url, &["--ca-file", text(&ca)]).delivered();
        assert!(
            tested.timed("name").starts_with("localhost: "),
            "{tested:#?}"
        );
        assert!(tested.timed("name").contains("127.0.0.1"), "{tested:#?}");
        // What is measured is the request itself.
        assert_eq!(hook.connections(), 1);
        assert_eq!(tested.timed("TLS"), "established");
        let steps: Vec<_> = tested
            .told
            .lines()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let expected = [
            "webhook",
            "token",
            "event",
            "name",
            "connect",
            "subject",
            "issuer",
            "names",
            "expires",
            "sha256",
            "sha256",
            "TLS",
            "answer",
            "delivered",
        ];
        let connects = steps.iter().filter(|step| **step == "connect").count();
        // localhost may have more addresses, which were tried before.
        assert_eq!(steps.len(), expected.len() - 1 + connects, "{tested:#?}");
        assert!(
            expected.iter().all(|step| steps.contains(step)),
            "{tested:#?}"
        );
    }
}

#[test]
fn what_may_be_secret_is_not_shown_whoever_repeats_it() {
    let hook = Webhook::start();
    let url = hook.url().replace(
        "/services/collector/raw",
        "/hooks/s3cret-s3cret-s3cret-s3cret?key=s3cret-key",
    );
    let shown = hook.url().replace("/services/collector/raw", "/hooks/");
    for (status, body) in [
        (403, format!("no such token: {TOKEN}")),
        (403, format!("no such token: {SECRET}")),
        (
            404,
            "no such page: /hooks/s3cret-s3cret-s3cret-s3cret".to_owned(),
        ),
        (404, "no such key: s3cret-key".to_owned()),
        (403, SECRET.to_lowercase()),
        (403, SECRET.replace('-', "")),
        (403, SECRET[..18].to_owned()),
        (403, SECRET.replace('-', "%2D")),
        (
            403,
            "U3BsdW5rIEI1QTc5QUFELUQ4MjItNDZDQy04MEQxLTgxOUY4MEQ3QkZCMA==".to_owned(),
        ),
        (
            403,
            SECRET.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ),
        (
            403,
            SECRET
                .bytes()
                .map(|byte| format!("\\u{byte:04x}"))
                .collect(),
        ),
        (200, format!(r#"{{"token":"{SECRET}"}}"#)),
    ] {
        hook.script([Answer::status(status).body(body)]);
        let tested = test(&url, &[]);
        assert_eq!(tested.code, Some(i32::from(status != 200)), "{tested:#?}");
        assert!(
            tested.step("webhook").unwrap().starts_with(&shown),
            "{tested:#?}"
        );
        let answer = format!("HTTP {status} (text not shown: it repeats what was sent)");
        assert_eq!(tested.timed("answer"), answer);
    }
    // But for the event, which is none.
    let hook = Webhook::start();
    hook.answer_by(|request| Answer::status(200).body(request.body.clone()));
    let tested = test(&hook.url(), &[]).delivered();
    assert!(
        tested.timed("answer").contains("s3_audit_webhook_test"),
        "{tested:#?}"
    );
}

#[test]
fn a_foreign_text_is_told_in_one_short_line() {
    let evil = format!("\u{1b}[2Jno\r\nsuch\u{7} thing {}", "x".repeat(9999));
    let tested = answered(Answer::status(404).body(evil))
        .failed(r"HTTP 404 \u{1b}[2Jno such\u{7} thing xxx", "path");
    assert!(
        tested.told.lines().all(|line| line.len() < 200),
        "{tested:#?}"
    );
    let page = "<!DOCTYPE html>\n<html><head><title>Log\nin</title></head><body>…";
    let tested = answered(Answer::status(200).body(page));
    assert_eq!(tested.timed("answer"), "HTTP 200 Log in");
    tested.failed(
        "a web page, not the webhook",
        "check that the --endpoint's path",
    );
}

#[test]
fn a_slow_answer_is_waited_for_and_its_time_told() {
    let hook = Webhook::start();
    hook.script([Answer::ok().after(Duration::from_millis(1200))]);
    let tested = test(&hook.url(), &["--request-timeout=50s"]).delivered();
    let time = tested.step("answer").unwrap().rsplit(' ').next().unwrap();
    let seconds = time.strip_suffix('s').and_then(|time| time.parse().ok());
    assert!(seconds.is_some_and(|time: f64| time >= 1.2), "{tested:#?}");
}
