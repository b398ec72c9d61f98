//! Answers, and what they mean.

use proptest::prelude::*;

use super::*;

fn answered(answer: &Answer, body: &Body<'_>) -> Outcome {
    let url = "https://hec/hooks/ABCDEFGHIJKLMNOPQRSTUVWXYZ?key=k3y-of-some&b=1";
    answer.verdict(&Question {
        endpoint: &Endpoint::parse(url).unwrap(),
        token: Some(&Token::parse("Splunk B5A79AAD-D822").unwrap()),
        headers: &[header::parse("X-Key: h3ader-s3cret").unwrap()],
        is_compressed: false,
        body,
    })
}

fn verdict_on(status: u16, text: &str, sent: &str) -> Outcome {
    let line = format!("{sent}\n");
    let answer = Answer {
        status,
        retry_after: Some("7".into()),
        location: None,
        text: text.into(),
        events: 1,
        items: Items::default(),
    };
    answered(&answer, &Body::of(line.as_bytes()))
}

fn refused(why: &str) -> Outcome {
    Outcome::Rejected(DeliveryError::transient(Cause::Answer, why).hint(RAW))
}

fn verdict(status: u16, text: &str) -> Outcome {
    verdict_on(status, text, "{}")
}

fn hec(status: u16, code: u64) -> Outcome {
    verdict(status, &format!("{{\"text\":\"?\",\"code\":{code}}}"))
}

#[test]
fn success_is_a_status_of_success() {
    assert_eq!(
        verdict(200, r#"{"text":"Success","code":0}"#),
        Outcome::Delivered
    );
    assert_eq!(verdict(204, ""), Outcome::Delivered);
    assert_eq!(verdict(200, "<html>"), Outcome::Delivered);
    assert!(matches!(hec(503, 0), Outcome::Failed(_)));
}

#[test]
fn a_known_code_says_more_than_the_status() {
    assert!(matches!(
        hec(200, 9),
        Outcome::Failed(DeliveryError { fix: None, .. })
    ));
    for code in [1, 2, 3, 4, 7, 10, 11, 14, 16] {
        let verdict = hec(400, code);
        assert!(
            matches!(verdict, Outcome::Failed(DeliveryError { fix: Some(_), .. })),
            "{code}"
        );
    }
    for code in [8, 9, 18, 19, 20, 23] {
        let verdict = hec(503, code);
        assert!(
            matches!(verdict, Outcome::Failed(DeliveryError { fix: None, .. })),
            "{code}"
        );
    }
    for code in [5, 6, 12, 13, 15] {
        assert!(matches!(hec(400, code), Outcome::Rejected(_)), "{code}");
    }
    assert_eq!(hec(400, 6), refused("400 Invalid data format"));
}

#[test]
fn else_the_status_decides() {
    assert!(matches!(verdict(413, ""), Outcome::TooLarge(_)));
    for status in [400, 415, 422] {
        assert!(
            matches!(verdict(status, ""), Outcome::Rejected(_)),
            "{status}"
        );
    }
    for status in [408, 429, 500, 502, 503, 504, 599] {
        let Outcome::Failed(trouble) = verdict(status, "") else {
            panic!("{status}")
        };
        assert_eq!(trouble.message, format!("answered {status}"));
        assert_eq!(trouble.retry_after, Some(Duration::from_secs(7)));
        assert!(trouble.fix.is_none() && trouble.hint.is_some());
    }
    for status in [301, 302, 307, 401, 403, 404, 405, 410] {
        let verdict = verdict(status, "");
        assert!(
            matches!(verdict, Outcome::Failed(DeliveryError { fix: Some(_), .. })),
            "{status}"
        );
    }
    assert!(matches!(
        hec(429, 26),
        Outcome::Failed(DeliveryError { fix: None, .. })
    ));
}

#[test]
fn a_web_servers_400_about_tls_is_not_about_the_events() {
    for text in [
        "<center>The plain HTTP request was sent to HTTPS port</center>",
        "Client sent an HTTP request to an HTTPS server.\n",
        "You're speaking plain HTTP to an SSL-enabled server port.",
        "<center>No required SSL certificate was sent</center>",
    ] {
        let verdict = verdict(400, text);
        assert!(
            matches!(verdict, Outcome::Failed(DeliveryError { fix: Some(_), .. })),
            "{text}"
        );
    }
    let hec = r#"{"text":"no HTTPS port","code":6}"#;
    assert!(matches!(verdict(400, hec), Outcome::Rejected(_)));
    let page = "bad field, see https://docs.example.com/ssl";
    assert!(matches!(verdict(400, page), Outcome::Rejected(_)));
}

#[test]
fn a_foreign_text_is_told_in_one_short_line() {
    let verdict = verdict(400, &format!("no\nsuch\u{7} thing {}", "x".repeat(500)));
    let Outcome::Rejected(DeliveryError { message: why, .. }) = verdict else {
        panic!("{verdict:?}")
    };
    assert!(
        why.starts_with("400 no such thing xxx") && why.len() < 110,
        "{why}"
    );
}

#[test]
fn of_a_page_its_title_is_told() {
    let page =
        "<!DOCTYPE html>\n<html>\n<head><Title>413 Too\nLarge</tiTle></head><body>\u{130}…</body>";
    let Outcome::TooLarge(trouble) = verdict(413, page) else {
        panic!("413 is refused")
    };
    assert_eq!(trouble.message, "413 413 Too Large");
    assert_eq!(title("\u{130}<title>\u{130}</title>"), Some("\u{130}"));
    assert_eq!(title("<title>no end"), None);
}

#[test]
fn neither_a_secret_nor_an_event_is_told() {
    let hidden = refused("400 (text not shown: it repeats what was sent)");
    assert_eq!(verdict(400, "no such token: B5A79AAD-D822"), hidden);
    assert_eq!(
        verdict(400, "no /hooks/ABCDEFGHIJKLMNOPQRSTUVWXYZ here"),
        hidden
    );
    assert_eq!(verdict(400, "no such key: k3y-of-some"), hidden);
    let event = r#"{"object":"payroll-2026.xlsx"}"#;
    assert_eq!(verdict_on(400, "bad: payroll-2026.xlsx", event), hidden);
    assert_eq!(
        verdict_on(400, r#"{"text":"bad: payroll-2026.xlsx"}"#, event),
        hidden
    );
    let told = refused("400 bad object");
    assert_eq!(verdict_on(400, "bad object", event), told);
}

proptest! {
    #[test]
    fn no_answer_panics_or_tells_much(status: u16, text: Vec<u8>, retry_after: String) {
        let answer = Answer {
            status,
            location: Some(retry_after.clone()),
            retry_after: Some(retry_after),
            items: Items::read(text.as_slice()),
            events: 1,
            text,
        };
        if let Outcome::Rejected(DeliveryError { message: why, .. }) = answered(&answer, &Body::of(b"")) {
            prop_assert!(why.chars().count() < TOLD + 10);
        }
    }
}
