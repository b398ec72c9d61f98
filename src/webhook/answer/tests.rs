//! Answers, and what they mean.

mod pages;

use proptest::prelude::*;

use super::*;
use crate::webhook::endpoint::Endpoint;

const URL: &str =
    "https://hec/hooks/webhook2/ABCDEFGHIJKLMNOPQRSTUVWXYZ?key=k3y-of-some&b=1&c=s3cr";
const NOW: u64 = 1_795_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn meant(answer: &Answer, is_splunk: bool, is_compressed: bool, body: &Batch) -> Outcome {
    let endpoint = Endpoint::parse(URL).unwrap();
    let mut secrets = Secrets::default();
    endpoint.add_secrets(&mut secrets);
    secrets.add_credential("Splunk B5A79AAD-D822");
    secrets.add_header_value("h3ader-s3cret");
    let question = Question {
        wants_id: false,
        is_splunk,
        token: Some(&Token::parse("Splunk B5A79AAD-D822").unwrap()),
        secrets: &secrets,
        is_compressed,
        body,
    };
    answer.outcome(&question, now())
}

fn answer(status: u16, text: &str) -> Answer {
    Answer {
        status,
        retry_after: Some("7".into()),
        text: text.into(),
        events: 1,
        ..Answer::default()
    }
}

fn outcome_of(answer: &Answer, is_splunk: bool, sent: &str) -> Outcome {
    let line = format!("{sent}\n");
    meant(answer, is_splunk, false, &Batch::of(line.as_bytes()))
}

/// What an answer of Splunk's means.
fn outcome(status: u16, text: &str) -> Outcome {
    outcome_of(&answer(status, text), true, "{}")
}

/// What another webhook's answer means.
fn others(status: u16, text: &str) -> Outcome {
    outcome_of(&answer(status, text), false, "{}")
}

fn hec(status: u16, code: u64) -> Outcome {
    outcome(status, &format!("{{\"text\":\"?\",\"code\":{code}}}"))
}

/// The error of an outcome in which nothing is delivered.
#[track_caller]
fn error(outcome: Outcome) -> DeliveryError {
    match outcome {
        Outcome::Failed(error) | Outcome::Rejected(error) | Outcome::TooLarge(error) => error,
        outcome => panic!("{outcome:?}"),
    }
}

#[track_caller]
fn assert_settings(outcome: Outcome, what: &str) {
    let Outcome::Failed(error) = outcome else {
        panic!("{what}: {outcome:?}")
    };
    assert!(
        error.cause == Cause::Settings && error.fix.is_some(),
        "{what}: {error:?}"
    );
}

#[test]
fn success_is_a_status_of_success() {
    for (status, text) in [
        (200, r#"{"text":"Success","code":0}"#),
        (200, ""),
        (200, "ok"),
        (201, "{}"),
        (202, r#"{"code":17}"#),
        (204, ""),
        (206, "x"),
        (299, "[]"),
    ] {
        assert_eq!(outcome(status, text), Outcome::Delivered, "{status} {text}");
        assert_eq!(others(status, text), Outcome::Delivered, "{status} {text}");
    }
    let created = Answer {
        location: Some("/events/1".into()),
        ..answer(201, "")
    };
    assert_eq!(outcome_of(&created, false, "{}"), Outcome::Delivered);
    assert!(matches!(hec(503, 0), Outcome::Failed(_)));
}

#[test]
fn splunks_codes_are_splunks_alone() {
    for code in 0..30 {
        let text = format!(r#"{{"code":{code},"msg":"ok"}}"#);
        assert_eq!(others(200, &text), Outcome::Delivered, "{text}");
        assert!(
            matches!(others(503, &text), Outcome::Failed(error) if error.cause == Cause::Answer)
        );
        assert!(matches!(others(400, &text), Outcome::Rejected(_)));
    }
}

#[test]
fn without_splunks_id_of_the_body_it_is_not_known_unless_the_answer_broke_off() {
    for (text, cut_off, is_setting) in [
        (r#"{"text":"Success","code":0}"#, false, true),
        ("", false, true),
        (r#"{"text":"Succ"#, true, false),
        ("", true, false),
    ] {
        let mut answer = answer(200, text);
        answer.cut_off = cut_off;
        let question = Question {
            wants_id: true,
            is_splunk: true,
            token: None,
            secrets: &Secrets::default(),
            is_compressed: false,
            body: &Batch::of(b""),
        };
        let error = error(answer.outcome(&question, now()));
        assert!(error.may_have_arrived, "{text}");
        assert_eq!(error.cause == Cause::Settings, is_setting, "{text}");
        assert_eq!(error.fix.is_some(), is_setting, "{text}");
    }
}

#[test]
fn a_known_code_says_more_than_the_status() {
    let failed = error(hec(200, 9));
    assert_eq!((failed.cause, failed.fix), (Cause::Answer, None));
    assert_eq!(failed.message, "HTTP 200 Server is busy");
    for code in [1, 2, 3, 4, 7, 10, 11, 14, 16] {
        assert_settings(hec(400, code), &code.to_string());
    }
    for code in [8, 9, 18, 19, 20, 23] {
        let failed = error(hec(503, code));
        assert_eq!((failed.cause, failed.fix), (Cause::Answer, None), "{code}");
    }
    for code in [5, 6, 12, 13, 15] {
        assert!(matches!(hec(400, code), Outcome::Rejected(_)), "{code}");
    }
    assert_eq!(error(hec(400, 6)).message, "HTTP 400 Invalid data format");
    assert_settings(hec(403, 4), "403 of Splunk");
}

#[test]
fn otherwise_the_status_decides() {
    assert!(matches!(others(413, ""), Outcome::TooLarge(_)));
    for status in [400, 415, 422] {
        assert!(
            matches!(others(status, ""), Outcome::Rejected(_)),
            "{status}"
        );
    }
    for status in [408, 425, 429, 500, 501, 502, 503, 504, 599] {
        let Outcome::Failed(error) = others(status, "") else {
            panic!("{status}")
        };
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        assert!(error.cause == Cause::Answer && error.fix.is_none() && error.hint.is_some());
        assert_eq!(error.may_have_arrived, [502, 504].contains(&status));
        assert_eq!(error.is_overload, [429, 503].contains(&status));
    }
    // These may be about the settings, or may be a firewall's answer to one event.
    for status in [402, 403, 404, 405, 410, 451, 101, 600] {
        for outcome in [others(status, "<html>"), outcome(status, "<html>")] {
            let Outcome::Failed(error) = outcome else {
                panic!("{status}")
            };
            assert!(
                error.cause == Cause::Answer && error.fix.is_some(),
                "{status}"
            );
        }
    }
    for status in [300, 301, 302, 307, 308, 401] {
        assert_settings(others(status, ""), &status.to_string());
    }
    assert_eq!(error(hec(429, 26)).fix, None);
}

#[test]
fn what_a_web_server_says_of_the_settings_is_not_about_the_events() {
    assert_settings(
        others(400, "Client sent an HTTP request to an HTTPS server.\n"),
        "TLS",
    );
    assert_settings(others(400, "error: invalid 'Content-Type'\n"), "Fluent Bit");
    let gzip = meant(&answer(415, ""), false, true, &Batch::of(b""));
    assert_settings(gzip, "gzip");
    let hec = r#"{"text":"no HTTPS port","code":6}"#;
    assert!(matches!(outcome(400, hec), Outcome::Rejected(_)));
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    for (retry_after, date, seconds) in [
        ("7", None, Some(7)),
        (" 0 ", None, Some(0)),
        ("99999999999999999999999", None, Some(u64::MAX)),
        ("Wed, 18 Nov 2026 11:06:50 GMT", None, Some(10)),
        ("Wednesday, 18-Nov-26 11:06:50 GMT", None, Some(10)),
        ("Wed Nov 18 11:06:50 2026", None, Some(10)),
        ("Wed, 18 Nov 2026 11:06:30 GMT", None, Some(0)),
        (
            "Wed, 18 Nov 2026 12:00:30 GMT",
            Some("Wed, 18 Nov 2026 12:00:00 GMT"),
            Some(30),
        ),
        ("Wed, 18 Nov 2026 11:06:50 GMT", Some("now"), Some(10)),
        ("soon", None, None),
        ("-7", None, None),
        ("7.5", None, None),
        ("", None, None),
    ] {
        let answer = Answer {
            retry_after: Some(retry_after.into()),
            date: date.map(str::to_owned),
            ..answer(503, "")
        };
        let wait = error(outcome_of(&answer, true, "{}")).retry_after;
        assert_eq!(wait, seconds.map(Duration::from_secs), "{retry_after}");
    }
}

#[test]
fn a_foreign_text_is_one_short_line() {
    let message = error(others(
        400,
        &format!("no\nsuch\u{1b}[2J \u{202e}thing {}", "x".repeat(500)),
    ))
    .message;
    let start = r"HTTP 400 no such\u{1b}[2J \u{202e}thing xxx";
    assert!(
        message.starts_with(start) && message.chars().count() < 112,
        "{message}"
    );
}

#[test]
fn a_status_is_not_doubled() {
    for (status, text, expected) in [
        (
            413,
            "<!DOCTYPE html>\n<head><Title>413 Too\nLarge</tiTle></head>\u{130}",
            "HTTP 413 Too Large",
        ),
        (404, "404 page not found", "HTTP 404 page not found"),
        (404, "404: Not Found", "HTTP 404 Not Found"),
        (404, "HTTP/1.1 404 Not Found", "HTTP 404 Not Found"),
        (404, "HTTP Status 404 – Not Found", "HTTP 404 Not Found"),
        (404, "Error 404: Not Found", "HTTP 404 Not Found"),
        (404, "no event 404 here", "HTTP 404 no event 404 here"),
        (404, "404", "HTTP 404 Not Found"),
        (404, "4040 x", "HTTP 404 4040 x"),
        (503, "", "HTTP 503 Service Unavailable"),
        (599, "", "HTTP 599"),
    ] {
        assert_eq!(error(others(status, text)).message, expected);
    }
    let redirect = Answer {
        location: Some("/en-US/account/login?return_to=s3cret".into()),
        ..answer(303, "")
    };
    let message = error(outcome_of(&redirect, true, "{}")).message;
    assert_eq!(
        message,
        "HTTP 303 See Other, which leads to /en-US/account/login?…"
    );
}

#[test]
fn neither_a_secret_nor_an_event_is_shown() {
    let hidden = format!("HTTP 400 {HIDDEN}");
    for text in [
        "no such token: B5A79AAD-D822",
        "no such token: b5a79aadd822",
        "no such token: B5A79AAD%2DD822",
        "no such token: U3BsdW5rIEI1QTc5QUFELUQ4MjI=",
        r"no such token: \u00425A79AAD\u002dD822",
        "no such token: 42354137394141442d44383232",
        "no /ABCDEFGHIJKLMNOPQRSTUVWXYZ here",
        "Cannot POST /hooks/webhook2/",
        r"Cannot POST \/hooks\/webhook%32",
        "Cannot POST /?c=s3cr",
        "no such key: k3y-of-some",
        "no such key: h3ader-s3cret",
    ] {
        assert_eq!(error(others(400, text)).message, hidden, "{text}");
    }
    assert_eq!(
        error(others(400, "no webhook")).message,
        "HTTP 400 no webhook"
    );
    let event = r#"{"object":"payroll-2026.xlsx"}"#;
    for text in [
        "bad: payroll-2026.xlsx",
        r#"{"text":"bad: payroll-2026.xlsx"}"#,
    ] {
        let message = error(outcome_of(&answer(400, text), true, event)).message;
        assert_eq!(message, hidden);
    }
    let message = error(outcome_of(&answer(400, "bad object"), true, event)).message;
    assert_eq!(message, "HTTP 400 bad object");
}

proptest! {
    #[test]
    fn every_repetition_is_found(
        text in "[ab]{0,40}|[a-c]{10,16}",
        start in "[abc]{0,20}",
        end in "[abc]{0,20}",
        cut in 0_usize..40,
    ) {
        let cut = cut.min(text.len());
        let lines = format!("{start}{}{end}", &text[cut..text.len().min(cut + 14)]);
        let naive = text.as_bytes().windows(MIN_LEAK_LEN).any(|run| {
            memmem::find(lines.as_bytes(), run).is_some()
        });
        prop_assert_eq!(repeats(text.as_bytes(), lines.as_bytes()), naive);
    }

    #[test]
    fn no_answer_panics_or_shows_much(status: u16, text: Vec<u8>, header: String, is_splunk: bool) {
        let answer = Answer {
            status,
            content_type: Some(header.clone()),
            location: Some(header.clone()),
            server: None,
            date: Some(header.clone()),
            retry_after: Some(header.clone()),
            firewall: (status % 2 == 0).then_some(header),
            items: Items::read(text.as_slice()),
            cut_off: text.len() % 2 == 0,
            late: false,
            events: 1,
            text,
        };
        if let Outcome::Rejected(error) = meant(&answer, is_splunk, false, &Batch::of(b"")) {
            prop_assert!(error.message.chars().count() <= MAX_SHOWN + 9);
        }
    }
}

#[test]
fn splunk_says_which_event_is_wrong() {
    for (text, wrong) in [
        (r#"{"text":"?","code":6,"invalid-event-number":3}"#, Some(3)),
        (
            r#"{"text":"?","code":12,"invalid-event-number":0}"#,
            Some(0),
        ),
        (r#"{"text":"?","code":6,"invalid-event-number":-1}"#, None),
        (r#"{"text":"?","code":6}"#, None),
        // Not the content, but the settings or the server.
        (r#"{"text":"?","code":7,"invalid-event-number":3}"#, Some(3)),
        (r#"{"text":"?","code":8,"invalid-event-number":3}"#, Some(3)),
        (r#"{"text":"?","code":7}"#, None),
    ] {
        match outcome(400, text) {
            Outcome::Rejected(error) | Outcome::Failed(error) => {
                assert_eq!(error.wrong, wrong, "{text}")
            }
            outcome => panic!("{text}: {outcome:?}"),
        }
    }
}

#[test]
fn an_answer_to_a_bulk_that_does_not_say_what_became_of_the_events_is_no_success() {
    let of = |text: &[u8]| {
        let items = Items::read(text).demanded(2);
        outcome_of(
            &Answer {
                items,
                events: 2,
                ..answer(200, "")
            },
            false,
            "{}",
        )
    };
    for text in [
        &b"\x28\xb5\x2f\xfd"[..],
        b"",
        b"upstream is warming up, try later",
        b"[]",
        b"{}",
        br#"{"errors":"true","items":[]}"#,
        br#"{"errors":null}"#,
        br#"{"error":{"type":"cluster_block_exception"},"status":503}"#,
        br#"{"items":[{"create":{"status":201}}]}"#,
        br#"{"items":[{"create":{"status":201}},{"create":{}}]}"#,
        br#"{"errors":true,"items":[]}"#,
        br#"{"errors":true,"items":[{"create":{"status":201}}]}"#,
        br#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":"429"}}]}"#,
    ] {
        let shown = String::from_utf8_lossy(text);
        match of(text) {
            Outcome::Failed(error) => {
                assert!(
                    error.fix.is_some() && error.may_have_arrived,
                    "{shown} {error:?}"
                );
            }
            outcome => panic!("{shown} {outcome:?}"),
        }
    }
    for text in [
        // Elasticsearch, with and without a filter_path; VictoriaLogs; Fluent Bit.
        r#"{"errors":false,"took":30,"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#,
        r#"{"errors":false}"#,
        r#"{"took":0,"errors":false,"items":[]}"#,
        r#"{"items":[{"create":{"status":201}},{"create":{"status":409,"error":{"type":"x"}}}]}"#,
        r#"{"items":[{"create":{"status":201}},{"create":{"status":200}}]}"#,
    ] {
        assert_eq!(of(text.as_bytes()), Outcome::Delivered, "{text}");
    }
}
