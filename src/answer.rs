//! What a webhook's answer means: delivered, try again, or refused.
//!
//! By Splunk's own table of HEC codes where the answer has one
//! (<https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector>), else by
//! the HTTP status.

use std::time::Duration;

use memchr::memmem;

use crate::batch::Body;
use crate::token::Token;

/// What became of a posted body.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The webhook has it.
    Delivered,
    /// The webhook is away, busy or set up wrongly: the same body may be taken later.
    Retry(Trouble),
    /// The webhook won't have this body, for this reason.
    Refused(String),
}

/// Why a body was not taken though nothing is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What happened, in words for the log.
    pub why: String,
    /// What an operator must do, if it will not pass by itself.
    pub remedy: Option<&'static str>,
    /// How long the webhook asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    /// Something that may pass by itself.
    pub fn passing(why: impl Into<String>) -> Self {
        Trouble {
            why: why.into(),
            remedy: None,
            retry_after: None,
        }
    }

    /// Something that stays until an operator mends it.
    pub fn lasting(why: impl Into<String>, remedy: &'static str) -> Self {
        Trouble {
            why: why.into(),
            remedy: Some(remedy),
            retry_after: None,
        }
    }
}

const NEW_TOKEN: &str = "give the token that the webhook expects with --auth-token, scheme included \
                         ('Splunk <token>')";
const OTHER_URL: &str = "check the --endpoint";
const OTHER_SCHEME: &str =
    "check the --endpoint's https:// or http://, and whether it wants a client certificate";
const INDEX: &str = "allow the index for this token, or name another one";
const CHANNEL: &str = "turn indexer acknowledgement off for this token";

enum Class {
    Taken,
    Busy,
    Mend(&'static str),
    BadEvents,
}

/// Splunk's codes, with Splunk's words for them.
fn hec_class(code: u64) -> Option<(&'static str, Class)> {
    Some(match code {
        0 => ("Success", Class::Taken),
        1 => ("Token disabled", Class::Mend(NEW_TOKEN)),
        2 => ("Token is required", Class::Mend(NEW_TOKEN)),
        3 => ("Invalid authorization", Class::Mend(NEW_TOKEN)),
        4 => ("Invalid token", Class::Mend(NEW_TOKEN)),
        5 => ("No data", Class::BadEvents),
        6 => ("Invalid data format", Class::BadEvents),
        7 => ("Incorrect index", Class::Mend(INDEX)),
        8 => ("Internal server error", Class::Busy),
        9 => ("Server is busy", Class::Busy),
        10 => ("Data channel is missing", Class::Mend(CHANNEL)),
        11 => ("Invalid data channel", Class::Mend(CHANNEL)),
        12 => ("Event field is required", Class::BadEvents),
        13 => ("Event field cannot be blank", Class::BadEvents),
        14 => ("ACK is disabled", Class::Mend(CHANNEL)),
        15 => ("Error in handling indexed fields", Class::BadEvents),
        16 => (
            "Query string authorization is not enabled",
            Class::Mend(NEW_TOKEN),
        ),
        17 => ("HEC is healthy", Class::Taken),
        18..=20 => ("HEC is unhealthy", Class::Busy),
        23 => ("Server is shutting down", Class::Busy),
        _ => return None,
    })
}

fn status_class(status: u16) -> Class {
    match status {
        200..=299 => Class::Taken,
        401 | 403 => Class::Mend(NEW_TOKEN),
        400 | 413 | 415 | 422 => Class::BadEvents,
        408 | 425 | 429 | 500..=599 => Class::Busy,
        // Redirects among them: the token must not travel to another host.
        _ => Class::Mend(OTHER_URL),
    }
}

/// One answer of the webhook, as far as it was read.
#[derive(Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// The value of `Retry-After`, if there is one.
    pub retry_after: Option<&'a str>,
    /// The beginning of the body.
    pub text: &'a [u8],
}

impl Answer<'_> {
    /// The verdict on `sent`, which this answers. `token` is what the words for the log must not
    /// give away.
    pub fn verdict(&self, token: Option<&Token>, sent: &Body<'_>) -> Verdict {
        let hec: Option<serde_json::Value> = serde_json::from_slice(self.text).ok();
        let code = hec
            .as_ref()
            .and_then(|hec| hec.get("code"))
            .and_then(|code| code.as_u64());
        let known = code.and_then(hec_class);
        let class = match known {
            Some((_, class)) if self.status < 600 && (200..600).contains(&self.status) => {
                // A code of success under another status is no success.
                match (class, status_class(self.status)) {
                    (Class::Taken, by_status) => by_status,
                    (by_code, _) => by_code,
                }
            }
            // What web servers say on a port with TLS to a client without: nothing is wrong with the
            // events, and all of them would be lost one by one.
            None if self.status == 400 && speaks_of_tls(self.text) => Class::Mend(OTHER_SCHEME),
            _ => status_class(self.status),
        };
        let words = match (
            code.and_then(hec_class),
            hec.as_ref().and_then(|hec| hec.get("text")),
        ) {
            (Some((words, _)), _) => words.to_owned(),
            (None, Some(serde_json::Value::String(text))) => tellable(text, token, sent),
            (None, _) => tellable(&String::from_utf8_lossy(self.text), token, sent),
        };
        let why = match words.as_str() {
            "" => self.status.to_string(),
            words => format!("{} {words}", self.status),
        };
        match class {
            Class::Taken => Verdict::Delivered,
            Class::BadEvents => Verdict::Refused(why),
            Class::Mend(remedy) => Verdict::Retry(Trouble {
                retry_after: self.wait(),
                ..Trouble::lasting(format!("answered {why}"), remedy)
            }),
            Class::Busy => Verdict::Retry(Trouble {
                retry_after: self.wait(),
                ..Trouble::passing(format!("answered {why}"))
            }),
        }
    }

    /// `Retry-After` in seconds. Its other form, a date, is left to the backoff.
    fn wait(&self) -> Option<Duration> {
        self.retry_after?
            .trim()
            .parse()
            .ok()
            .map(Duration::from_secs)
    }
}

/// The words of nginx, Go and Apache; whole phrases, since many a 400 names a page on https://.
fn speaks_of_tls(text: &[u8]) -> bool {
    let phrases = [
        "https port",
        "https server",
        "ssl-enabled",
        "ssl certificate",
    ];
    let text = text.to_ascii_lowercase();
    phrases
        .iter()
        .any(|phrase| memmem::find(&text, phrase.as_bytes()).is_some())
}

/// Characters of a foreign text that are logged at most.
const TOLD: usize = 100;
/// So many bytes in a row that were also in the body betray an event.
const BETRAYAL: usize = 12;

/// What may be logged of a text that the webhook sent: one short line, nothing of it if it repeats
/// the token or events.
fn tellable(text: &str, token: Option<&Token>, sent: &Body<'_>) -> String {
    let line: String = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(TOLD)
        .collect();
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    let told_token = token.is_some_and(|token| token.is_told_by(text) || token.is_told_by(&line));
    let told_events = line
        .as_bytes()
        .windows(BETRAYAL)
        .map(memmem::Finder::new)
        .any(|run| sent.slices().iter().any(|lines| run.find(lines).is_some()));
    if told_token || told_events {
        "(text not shown: it repeats what was sent)".into()
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::batch::Batch;
    use crate::chunk::{Chunk, Extent};

    fn verdict_on(status: u16, text: &str, sent: &str) -> Verdict {
        let mut batch = Batch::default();
        batch.push(
            Chunk {
                bytes: format!("{sent}\n").into_bytes(),
                events: 1,
            },
            Instant::now(),
        );
        let token = Token::parse("Splunk B5A79AAD-D822").unwrap();
        Answer {
            status,
            retry_after: Some("7"),
            text: text.as_bytes(),
        }
        .verdict(Some(&token), &batch.body(batch.cut(Extent::MAX)))
    }

    fn verdict(status: u16, text: &str) -> Verdict {
        verdict_on(status, text, "{}")
    }

    fn hec(status: u16, code: u64) -> Verdict {
        verdict(status, &format!("{{\"text\":\"?\",\"code\":{code}}}"))
    }

    #[test]
    fn success_is_a_status_of_success() {
        assert_eq!(
            verdict(200, r#"{"text":"Success","code":0}"#),
            Verdict::Delivered
        );
        assert_eq!(verdict(204, ""), Verdict::Delivered);
        assert_eq!(verdict(200, "<html>"), Verdict::Delivered);
        assert!(matches!(hec(503, 0), Verdict::Retry(_)));
    }

    #[test]
    fn a_known_code_says_more_than_the_status() {
        assert!(matches!(
            hec(200, 9),
            Verdict::Retry(Trouble { remedy: None, .. })
        ));
        for code in [1, 2, 3, 4, 7, 10, 11, 14, 16] {
            let verdict = hec(400, code);
            assert!(
                matches!(
                    verdict,
                    Verdict::Retry(Trouble {
                        remedy: Some(_),
                        ..
                    })
                ),
                "{code}"
            );
        }
        for code in [8, 9, 18, 19, 20, 23] {
            let verdict = hec(503, code);
            assert!(
                matches!(verdict, Verdict::Retry(Trouble { remedy: None, .. })),
                "{code}"
            );
        }
        for code in [5, 6, 12, 13, 15] {
            assert!(matches!(hec(400, code), Verdict::Refused(_)), "{code}");
        }
        assert_eq!(
            hec(400, 6),
            Verdict::Refused("400 Invalid data format".into())
        );
    }

    #[test]
    fn else_the_status_decides() {
        for status in [400, 413, 415, 422] {
            assert!(
                matches!(verdict(status, ""), Verdict::Refused(_)),
                "{status}"
            );
        }
        for status in [408, 429, 500, 502, 503, 504, 599] {
            let expected = Trouble {
                retry_after: Some(Duration::from_secs(7)),
                ..Trouble::passing(format!("answered {status}"))
            };
            assert_eq!(verdict(status, ""), Verdict::Retry(expected));
        }
        for status in [301, 302, 307, 401, 403, 404, 405, 410] {
            let verdict = verdict(status, "");
            assert!(
                matches!(
                    verdict,
                    Verdict::Retry(Trouble {
                        remedy: Some(_),
                        ..
                    })
                ),
                "{status}"
            );
        }
        assert!(matches!(
            hec(429, 26),
            Verdict::Retry(Trouble { remedy: None, .. })
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
                matches!(
                    verdict,
                    Verdict::Retry(Trouble {
                        remedy: Some(_),
                        ..
                    })
                ),
                "{text}"
            );
        }
        let hec = r#"{"text":"no HTTPS port","code":6}"#;
        assert!(matches!(verdict(400, hec), Verdict::Refused(_)));
        let page = "bad field, see https://docs.example.com/ssl";
        assert!(matches!(verdict(400, page), Verdict::Refused(_)));
    }

    #[test]
    fn a_foreign_text_is_told_in_one_short_line() {
        let refused = verdict(400, &format!("no\nsuch\u{7} thing {}", "x".repeat(500)));
        let Verdict::Refused(why) = refused else {
            panic!("{refused:?}")
        };
        assert!(
            why.starts_with("400 no such thing xxx") && why.len() < 110,
            "{why}"
        );
    }

    #[test]
    fn neither_the_token_nor_an_event_is_told() {
        let hidden = Verdict::Refused("400 (text not shown: it repeats what was sent)".into());
        assert_eq!(verdict(400, "no such token: B5A79AAD-D822"), hidden);
        let event = r#"{"object":"payroll-2026.xlsx"}"#;
        assert_eq!(verdict_on(400, "bad: payroll-2026.xlsx", event), hidden);
        assert_eq!(
            verdict_on(400, r#"{"text":"bad: payroll-2026.xlsx"}"#, event),
            hidden
        );
        let told = Verdict::Refused("400 bad object".into());
        assert_eq!(verdict_on(400, "bad object", event), told);
    }

    proptest! {
        #[test]
        fn no_answer_panics_or_tells_much(status: u16, text: Vec<u8>, retry_after: String) {
            let batch = Batch::default();
            let answer = Answer { status, retry_after: Some(&retry_after), text: &text };
            if let Verdict::Refused(why) = answer.verdict(None, &batch.body(Extent::default())) {
                prop_assert!(why.chars().count() < TOLD + 10);
            }
        }
    }
}
