//! What a webhook's answer means: delivered, try again, or refused.
//!
//! By Splunk's own table of HEC codes where the answer has one
//! (<https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector>), else by
//! the HTTP status. What an operator must do stands beside each, once for the log and for `test`.

use std::time::Duration;

use memchr::memmem;

use crate::delivery::body::Body;
use crate::delivery::outcome::{Cause, DeliveryError, Outcome};
use crate::text::token::Token;
use crate::webhook::bulk::Items;
use crate::webhook::endpoint::{self, Endpoint};
use crate::webhook::header::{self, Header};

const NEW_TOKEN: &str = "give the token that the webhook expects with --auth-token, scheme included \
                         ('Splunk <token>')";
const SCHEME: &str = "the token has no scheme before it: give the token that the webhook expects with \
                      --auth-token, scheme included ('Splunk <token>')";
const OTHER_URL: &str = "check the --endpoint";
const PATH: &str = "check the --endpoint's path; Splunk's collector takes events at /services/collector/raw, and with \
     --format hec at /services/collector/event";
const REDIRECT: &str = "check the --endpoint: give the URL that this leads to, if it is a collector's \
                        (Splunk's has port 8088, its web pages have 8000)";
const OTHER_SCHEME: &str = "check the --endpoint's https:// or http://, and whether it wants a client certificate (--client-cert)";
const INDEX: &str = "allow the index for this token, or name another one";
const CHANNEL: &str = "turn indexer acknowledgement off for this token, or add ?channel=<GUID> to the \
                       --endpoint";
const ENABLE: &str = "enable this token in Splunk (Settings, Data inputs, HTTP Event Collector), or give \
                      another with --auth-token";

const BUSY: &str = "look into the webhook's log; agents try again by themselves";
const GATEWAY: &str = "what is before the webhook answers, but not the webhook: see that it runs";
const RAW: &str = "check that the --endpoint's path takes any JSON, as /services/collector/raw does and \
                   /services/collector does not";
const CREDENTIAL: &str =
    "give the credential that the webhook expects with --auth-token or --header";
const COMPRESSION: &str = "the webhook may not take compressed bodies: set --compress none";
const LIMIT: &str = "raise the webhook's limit for the size of a request";

enum Class {
    Taken,
    /// With what to look at if it lasts.
    Busy(&'static str),
    /// With the remedy.
    Mend(&'static str),
    /// The token is wrong: the remedy depends on how it looks.
    Token,
    /// With what to look at if it is not the events' fault.
    BadEvents(&'static str),
}

/// Splunk's codes, with Splunk's words for them.
fn hec_class(code: u64) -> Option<(&'static str, Class)> {
    Some(match code {
        0 => ("Success", Class::Taken),
        1 => ("Token disabled", Class::Mend(ENABLE)),
        2 => ("Token is required", Class::Token),
        3 => ("Invalid authorization", Class::Token),
        4 => ("Invalid token", Class::Token),
        5 => ("No data", Class::BadEvents(RAW)),
        6 => ("Invalid data format", Class::BadEvents(RAW)),
        7 => ("Incorrect index", Class::Mend(INDEX)),
        8 => ("Internal server error", Class::Busy(BUSY)),
        9 => ("Server is busy", Class::Busy(BUSY)),
        10 => ("Data channel is missing", Class::Mend(CHANNEL)),
        11 => ("Invalid data channel", Class::Mend(CHANNEL)),
        12 => ("Event field is required", Class::BadEvents(RAW)),
        13 => ("Event field cannot be blank", Class::BadEvents(RAW)),
        14 => ("ACK is disabled", Class::Mend(CHANNEL)),
        15 => ("Error in handling indexed fields", Class::BadEvents(RAW)),
        16 => ("Query string authorization is not enabled", Class::Token),
        17 => ("HEC is healthy", Class::Taken),
        18..=20 => ("HEC is unhealthy", Class::Busy(BUSY)),
        23 => ("Server is shutting down", Class::Busy(BUSY)),
        _ => return None,
    })
}

fn status_class(status: u16) -> Class {
    match status {
        200..=299 => Class::Taken,
        // They are not followed: the token must not travel to another host.
        300..=399 => Class::Mend(REDIRECT),
        401 | 403 => Class::Token,
        404 | 405 | 410 => Class::Mend(PATH),
        413 => Class::BadEvents(LIMIT),
        400 | 415 | 422 => Class::BadEvents(RAW),
        502 | 504 => Class::Busy(GATEWAY),
        501 => Class::Busy(PATH),
        408 | 425 | 429 | 500..=599 => Class::Busy(BUSY),
        _ => Class::Mend(OTHER_URL),
    }
}

/// What was asked, and what no word of the answer may give away.
#[derive(Debug)]
pub struct Question<'a> {
    /// Of whom.
    pub endpoint: &'a Endpoint,
    /// With this token.
    pub token: Option<&'a Token>,
    /// And these headers.
    pub headers: &'a [Header],
    /// To take what is compressed.
    pub is_compressed: bool,
    /// To take this.
    pub body: &'a Body<'a>,
}

/// One answer of the webhook, as far as it was read.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The value of `Retry-After`, if there is one.
    pub retry_after: Option<String>,
    /// The value of `Location`, if there is one.
    pub location: Option<String>,
    /// The beginning of the body.
    pub text: Vec<u8>,
    /// How many events it is about.
    pub events: usize,
    /// What it tells of each of them, if it is the answer of a `_bulk`.
    pub items: Items,
}

impl Answer {
    /// What it means for the body.
    pub fn verdict(&self, question: &Question<'_>) -> Outcome {
        let hec: Option<serde_json::Value> = serde_json::from_slice(&self.text).ok();
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
            None if self.status == 400 && speaks_of_tls(&self.text) => Class::Mend(OTHER_SCHEME),
            None if self.status == 415 && question.is_compressed => Class::Mend(COMPRESSION),
            _ => status_class(self.status),
        };
        let words = match (
            code.and_then(hec_class),
            hec.as_ref().and_then(|hec| hec.get("text")),
        ) {
            (Some((words, _)), _) => words.to_owned(),
            (None, Some(serde_json::Value::String(text))) => question.tellable(text),
            (None, _) => question.tellable(&String::from_utf8_lossy(&self.text)),
        };
        let mut why = match words.as_str() {
            "" => self.status.to_string(),
            words => format!("{} {words}", self.status),
        };
        if let Some(location) = self.location.as_ref().filter(|_| self.status < 400) {
            let location = question.tellable(&endpoint::shown(location));
            why += &format!(", which leads to {location}");
        }
        let lasting = |remedy| {
            Outcome::Failed(DeliveryError {
                retry_after: self.wait(),
                ..DeliveryError::permanent(format!("answered {why}"), remedy)
            })
        };
        match class {
            Class::Taken => parts::verdict(self, question),
            Class::BadEvents(hint) if self.status == 413 => {
                Outcome::TooLarge(DeliveryError::transient(Cause::Answer, why).hint(hint))
            }
            Class::BadEvents(hint) => {
                Outcome::Rejected(DeliveryError::transient(Cause::Answer, why).hint(hint))
            }
            Class::Mend(remedy) => lasting(remedy),
            Class::Token if question.token.is_none() => lasting(CREDENTIAL),
            Class::Token if !question.token.is_some_and(Token::has_scheme) => lasting(SCHEME),
            Class::Token => lasting(NEW_TOKEN),
            Class::Busy(hint) => Outcome::Failed(DeliveryError {
                retry_after: self.wait(),
                ..DeliveryError::transient(Cause::Answer, format!("answered {why}")).hint(hint)
            }),
        }
    }

    /// The answer as the webhook gave it, in one short line.
    pub fn shown(&self, question: &Question<'_>) -> String {
        let text = question.tellable(&String::from_utf8_lossy(&self.text));
        format!("{} {text}", self.status).trim_end().into()
    }

    /// Whether it is a page for people, as web servers give at many a path.
    pub fn is_page(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        ["<html", "<!doctype html"]
            .iter()
            .any(|tag| memmem::find(&text, tag.as_bytes()).is_some())
    }

    /// `Retry-After` in seconds. Its other form, a date, is left to the backoff.
    fn wait(&self) -> Option<Duration> {
        self.retry_after
            .as_ref()?
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
const MIN_LEAK_LEN: usize = 12;

impl Question<'_> {
    /// What may be logged of a text that the webhook sent: one short line, of a page its title, and
    /// nothing of it if it repeats the token, what may be secret in the URL, or events.
    fn tellable(&self, text: &str) -> String {
        let line: String = title(text)
            .unwrap_or(text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(TOLD)
            .collect();
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        let told_secret = [text, &line].iter().any(|text| {
            self.token.is_some_and(|token| token.appears_in(text))
                || self.endpoint.appears_in(text)
                || self
                    .headers
                    .iter()
                    .any(|header| header::appears_in(header, text))
        });
        let slices = self.body.slices();
        let told_events = line
            .as_bytes()
            .windows(MIN_LEAK_LEN)
            .map(memmem::Finder::new)
            .any(|run| slices.iter().any(|lines| run.find(lines).is_some()));
        if told_secret || told_events {
            "(text not shown: it repeats what was sent)".into()
        } else {
            line
        }
    }
}

fn title(page: &str) -> Option<&str> {
    // As long as the page, so that places in it are places in the page.
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(&page[start..end])
}

mod parts;
#[cfg(test)]
mod tests;
