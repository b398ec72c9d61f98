//! Web pages, and what else only a browser is for.

use super::*;

#[test]
fn a_web_page_is_no_success() {
    let labelled = |label: &str, text: &[u8]| Answer {
        content_type: Some(label.into()),
        text: text.to_vec(),
        ..answer(200, "")
    };
    let html = |text: &[u8]| labelled("Text/HTML; charset=utf-8", text);
    for is_splunk in [true, false] {
        for text in [
            "<html>",
            "\u{feff} \r\n<!doctype html><title>Sign in</title>",
            "<?xml version=\"1.0\"?>",
        ] {
            let outcome = outcome_of(&answer(200, text), is_splunk, "{}");
            assert_settings(outcome, text);
        }
        for text in ["Please <a href=/login>sign in</a>", " <br>ok"] {
            assert_settings(outcome_of(&html(text.as_bytes()), is_splunk, "{}"), text);
        }
        let xhtml = labelled("application/xhtml+xml", b"<title>Sign in</title>");
        assert_settings(outcome_of(&xhtml, is_splunk, "{}"), "XHTML");
        for label in [
            "text/plain",
            "application/xml",
            "text/xml",
            "application/soap+xml",
        ] {
            for (text, is_page) in [
                ("<1> accepted", false),
                ("<?xml version=\"1.0\"?><ok/>", false),
                (
                    "<?xml version=\"1.0\"?><!DOCTYPE HTML PUBLIC \"x\"><p>",
                    true,
                ),
                ("\n<HTML lang=en>", true),
            ] {
                let outcome = outcome_of(&labelled(label, text.as_bytes()), is_splunk, "{}");
                assert_eq!(outcome != Outcome::Delivered, is_page, "{label} {text}");
            }
        }
        // What Flask, Express and PHP make of a webhook's own answer; also cut off, or in Latin-1.
        for text in ["", " ", "ok", "Thank you!\n", r#"{"ok":true}"#, "grüß"] {
            for cut_off in [false, !text.trim().is_empty()] {
                let answer = Answer {
                    cut_off,
                    ..html(text.as_bytes())
                };
                let outcome = outcome_of(&answer, is_splunk, "{}");
                assert_eq!(outcome, Outcome::Delivered, "{text}");
            }
        }
        let latin = html(b"gr\xfc\xdf");
        assert_eq!(outcome_of(&latin, is_splunk, "{}"), Outcome::Delivered);
        // A page that has not come, and compressed ones: zlib's, zstd's.
        for (text, cut_off) in [
            (&b""[..], true),
            (b" \r\n", true),
            (b"\x78\x9c\x4b\x03\x00", false),
            (b"\x28\xb5\x2f\xfd\x04", false),
        ] {
            let answer = Answer {
                cut_off,
                ..html(text)
            };
            let outcome = outcome_of(&answer, is_splunk, "{}");
            assert_settings(outcome, "not to be read");
        }
    }
    // What has no label, and no text, may be anybody's.
    let unknown = Answer {
        cut_off: true,
        ..answer(200, "")
    };
    assert_eq!(outcome_of(&unknown, false, "{}"), Outcome::Delivered);
    let message = error(others(200, "<title>Sign\nin</title>")).message;
    assert_eq!(
        message,
        "HTTP 200 with a web page, not the webhook's answer (Sign in)"
    );
}

#[test]
fn a_firewall_that_wants_a_browser_has_delivered_nothing() {
    for (status, action) in [(202, "challenge"), (405, "captcha")] {
        let answer = Answer {
            firewall: Some(action.into()),
            ..answer(status, "")
        };
        let error = error(outcome_of(&answer, status == 202, "{}"));
        assert_eq!(
            error.message,
            format!("HTTP {status} of AWS WAF, which wants a browser ({action})")
        );
        assert!(error.cause == Cause::Answer && error.fix.is_some());
    }
}
