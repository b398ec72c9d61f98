//! What a webhook's answer means: delivered, try again, or rejected.

use std::time::{Duration, SystemTime};

use memchr::memmem;
use serde_json::Value;
use ureq::http::StatusCode;

use crate::delivery::batch::Batch;
use crate::delivery::outcome::{Cause, DeliveryError, Outcome};
use crate::text::escape;
use crate::text::secret::Secrets;
use crate::text::token::Token;
use crate::webhook::bulk::Items;
use crate::webhook::endpoint;
use crate::webhook::foreign;

mod meaning;
mod parts;
#[cfg(test)]
mod tests;

use meaning::{CREDENTIAL, ENDED, Meaning, NEW_TOKEN, PAGE, SCHEME};

/// The request, and what must not be given away when its answer is shown.
#[derive(Debug)]
pub struct Question<'a> {
    /// The endpoint is Splunk's, so its codes count.
    pub is_splunk: bool,
    /// The `Authorization` header.
    pub token: Option<&'a Token>,
    /// What may be secret in the request, the token included.
    pub secrets: &'a Secrets,
    /// The body is compressed.
    pub is_compressed: bool,
    /// Splunk's id of the body is needed, to ask later whether it is indexed.
    pub wants_id: bool,
    /// The events.
    pub body: &'a Batch,
}

/// One answer of the webhook, as far as it was read.
#[derive(Debug, Default)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The values of these headers, if present.
    pub content_type: Option<String>,
    /// Seconds or a date.
    pub retry_after: Option<String>,
    /// The webhook's clock.
    pub date: Option<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Which program answers.
    pub server: Option<String>,
    /// What AWS WAF wants instead of passing the request on.
    pub firewall: Option<String>,
    /// The beginning of the body; of a success perhaps only what is needed to recognise it.
    pub text: Vec<u8>,
    /// The body broke off, or was late.
    pub cut_off: bool,
    /// It was waited for in vain for long.
    pub late: bool,
    /// How many events it is about.
    pub events: usize,
    /// What became of each of them, if it is the answer of a `_bulk`.
    pub items: Items,
}

impl Answer {
    /// What it means for the body; `now` is the time by our clock.
    pub fn outcome(&self, question: &Question<'_>, now: SystemTime) -> Outcome {
        if let Some(action) = &self.firewall {
            let (status, action) = (self.status, question.shown(action));
            return Outcome::Failed(DeliveryError {
                fix: Some(meaning::BROWSER),
                ..DeliveryError::transient(
                    Cause::Answer,
                    format!("HTTP {status} of AWS WAF, which wants a browser ({action})"),
                )
            });
        }
        let is_success = (200..300).contains(&self.status);
        if is_success && self.is_page() {
            return self.page(question);
        }
        if is_success && !question.is_splunk {
            return self.parts(question, now);
        }
        let json: Option<Value> = serde_json::from_slice(&self.text).ok();
        let member = |name| json.as_ref().and_then(|json| json.get(name));
        let code = member("code").and_then(Value::as_u64);
        let known = code
            .filter(|_| question.is_splunk)
            .and_then(|code| meaning::of_code(code, question.wants_id));
        let meaning = match known {
            // A success code under another status is not a success.
            Some((_, Meaning::Delivered)) | None => self.meaning(question),
            Some((_, by_code)) => by_code,
        };
        if meaning == Meaning::Delivered && question.wants_id {
            return match member("ackId").and_then(Value::as_u64) {
                Some(id) => Outcome::Accepted(id),
                None if self.cut_off => Outcome::Failed(parts::broken_off(self.status)),
                None => Outcome::Failed(DeliveryError {
                    may_have_arrived: true,
                    ..DeliveryError::permanent(
                        self.message("without an ackId", question),
                        meaning::NO_ACK,
                    )
                }),
            };
        }
        if meaning == Meaning::Delivered {
            return self.parts(question, now);
        }
        let message = match (known, member("text").and_then(Value::as_str)) {
            (Some((words, _)), _) => self.message(words, question),
            (None, Some(text)) => self.message(&question.shown(text), question),
            (None, None) => self.message(
                &question.shown(&String::from_utf8_lossy(&self.text)),
                question,
            ),
        };
        // As Splunk says it of single events of a body.
        let wrong = member("invalid-event-number").and_then(Value::as_u64);
        let wrong = wrong.and_then(|at| at.try_into().ok());
        match self.failure(meaning, message, question, now) {
            Outcome::Rejected(error) => Outcome::Rejected(DeliveryError { wrong, ..error }),
            Outcome::Failed(error) => Outcome::Failed(DeliveryError { wrong, ..error }),
            outcome => outcome,
        }
    }

    /// The ids of the bodies that are indexed; none if this is no answer to that query.
    pub fn indexed(&self) -> Option<Vec<u64>> {
        let json: Value = serde_json::from_slice(&self.text).ok()?;
        let acks = json.get("acks")?.as_object()?.iter();
        let indexed = acks.filter(|(_, is_indexed)| **is_indexed == Value::Bool(true));
        (200..300)
            .contains(&self.status)
            .then(|| indexed.filter_map(|(id, _)| id.parse().ok()).collect())
    }

    /// It is a web page.
    fn page(&self, question: &Question<'_>) -> Outcome {
        let title =
            foreign::title(&String::from_utf8_lossy(&self.text)).map(|title| question.shown(title));
        let title = title.map_or_else(String::new, |title| format!(" ({title})"));
        let (what, fix) = match self.text.trim_ascii().is_empty() {
            true => (
                "an answer labelled text/html that ends before its text",
                ENDED,
            ),
            false => ("a web page, not the webhook's answer", PAGE),
        };
        let message = format!("HTTP {} with {what}{title}", self.status);
        Outcome::Failed(DeliveryError {
            may_have_arrived: self.cut_off,
            ..DeliveryError::permanent(message, fix)
        })
    }

    fn parts(&self, question: &Question<'_>, now: SystemTime) -> Outcome {
        let shown = |text: &str| question.shown(text);
        parts::outcome(self.status, &self.items, self.events, self.wait(now), shown)
    }

    /// The answer as the webhook gave it, in one short line.
    pub fn shown(&self, question: &Question<'_>) -> String {
        self.message(
            &question.shown(&String::from_utf8_lossy(&self.text)),
            question,
        )
    }

    /// By the status, and by what web servers say.
    fn meaning(&self, question: &Question<'_>) -> Meaning {
        match self.status {
            // Nothing is wrong with the events, but they would all be rejected one by one.
            400 if foreign::speaks_of_tls(&self.text) => Meaning::Settings(meaning::OTHER_SCHEME),
            400 if foreign::wants_other_type(&self.text) => Meaning::Settings(meaning::JSON_TYPE),
            415 if question.is_compressed => Meaning::Settings(meaning::COMPRESSION),
            status => meaning::of_status(status),
        }
    }

    fn failure(
        &self,
        meaning: Meaning,
        message: String,
        question: &Question<'_>,
        now: SystemTime,
    ) -> Outcome {
        let token_fix = |fix| match question.token {
            None => CREDENTIAL,
            Some(token) if !token.has_scheme() => SCHEME,
            Some(_) => fix,
        };
        let transient = DeliveryError {
            retry_after: self.wait(now),
            is_overload: matches!(self.status, 429 | 503),
            // A proxy answers for the webhook, which may have the body all the same.
            may_have_arrived: matches!(self.status, 502 | 504),
            ..DeliveryError::transient(Cause::Answer, message.clone())
        };
        let permanent = |fix| {
            Outcome::Failed(DeliveryError {
                retry_after: self.wait(now),
                ..DeliveryError::permanent(message.clone(), fix)
            })
        };
        match meaning {
            Meaning::Delivered => Outcome::Delivered,
            Meaning::Content(hint) => Outcome::Rejected(transient.hint(hint)),
            Meaning::TooLarge(hint) => Outcome::TooLarge(transient.hint(hint)),
            Meaning::Settings(fix) => permanent(fix),
            Meaning::Token => permanent(token_fix(NEW_TOKEN)),
            Meaning::Busy(hint) => Outcome::Failed(transient.hint(hint)),
            Meaning::Unclear(fix) => Outcome::Failed(DeliveryError {
                fix: Some(fix),
                ..transient
            }),
            Meaning::Forbidden => Outcome::Failed(DeliveryError {
                fix: Some(token_fix(meaning::FORBIDDEN)),
                ..transient
            }),
        }
    }

    /// `HTTP 503 Server is busy`, with the usual words of the status if there are no others.
    fn message(&self, words: &str, question: &Question<'_>) -> String {
        let status = self.status.to_string();
        let words = foreign::without_status(words, &status);
        let usual = StatusCode::from_u16(self.status);
        let usual = usual.ok().and_then(|status| status.canonical_reason());
        let words = if words.is_empty() {
            usual.unwrap_or_default()
        } else {
            words
        };
        let message = format!("HTTP {status} {words}");
        match &self.location {
            Some(location) if (300..400).contains(&self.status) => {
                let location = question.shown(&endpoint::shown(location));
                format!("{message}, which leads to {location}")
            }
            _ => message.trim_end().to_owned(),
        }
    }

    /// Whether it is a page for people, as web servers have at many paths. Flask, Express and PHP label any answer
    /// `text/html`, be it a plain `ok` or empty; but one that has not come may be a page.
    fn is_page(&self) -> bool {
        let label = self.content_type.as_deref().unwrap_or_default();
        let label = label.split(';').next().unwrap_or_default();
        match label.trim().to_ascii_lowercase().as_str() {
            "text/html" | "application/xhtml+xml" => {
                !foreign::is_plain(&self.text)
                    || (self.cut_off && self.text.trim_ascii().is_empty())
            }
            // Their answer may be in XML, or `<1> accepted`.
            label if label == "text/plain" || label.ends_with("xml") => {
                foreign::is_page(&self.text) && foreign::is_html(&self.text)
            }
            _ => foreign::is_page(&self.text),
        }
    }

    /// What `Retry-After` asks for. A date is relative to the webhook's own clock, if there is a `Date`.
    fn wait(&self, now: SystemTime) -> Option<Duration> {
        let text = self.retry_after.as_ref()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
        }
        let date = |text: &str| httpdate::parse_http_date(text.trim()).ok();
        let their_now = self.date.as_deref().and_then(date).unwrap_or(now);
        // A date in the past asks for no wait.
        Some(date(text)?.duration_since(their_now).unwrap_or_default())
    }
}

/// How many characters of a foreign text are shown.
const MAX_SHOWN: usize = 100;
/// How many more are searched for secrets, which may end behind what is shown.
const SEARCHED: usize = 1000;
/// This many bytes in a row that are also in the body give an event away.
const MIN_LEAK_LEN: usize = 12;
const HIDDEN: &str = "(text not shown: it repeats what was sent)";

impl Question<'_> {
    /// What may be shown of a text that the webhook sent: one short line, the title if it is a page, and nothing if it
    /// repeats a secret, or events.
    fn shown(&self, text: &str) -> String {
        let words = foreign::title(text).unwrap_or(text).split_whitespace();
        let mut line = String::new();
        for word in words {
            if line.len() > SEARCHED {
                break;
            }
            line += if line.is_empty() { "" } else { " " };
            line.extend(word.chars().take(SEARCHED));
        }
        let shown: String = line.chars().take(MAX_SHOWN).collect();
        let mut lines = self.body.lines();
        let repeats_events = lines.any(|lines| repeats(shown.as_bytes(), lines));
        if repeats_events || self.secrets.appears_in(&line) {
            HIDDEN.into()
        } else {
            escape::shown(&line, MAX_SHOWN)
        }
    }
}

/// Whether [`MIN_LEAK_LEN`] bytes in a row of `text` are also in `lines`. Each such run contains one whole block of the
/// text, so `lines`, which may be a megabyte, are searched for these blocks only.
fn repeats(text: &[u8], lines: &[u8]) -> bool {
    const BLOCK: usize = MIN_LEAK_LEN / 2;
    let blocks = text.chunks_exact(BLOCK).enumerate();
    blocks
        .map(|(place, block)| (place * BLOCK, memmem::Finder::new(block)))
        .any(|(at, block)| {
            let mut from = 0;
            while let Some(hit) = block.find(&lines[from..]).map(|hit| from + hit) {
                let before = text[..at].iter().rev().zip(lines[..hit].iter().rev());
                let behind = text[at..].iter().zip(&lines[hit..]);
                let alike = before.take_while(|(a, b)| a == b).count()
                    + behind.take_while(|(a, b)| a == b).count();
                if alike >= MIN_LEAK_LEN {
                    return true;
                }
                from = hit + 1;
            }
            false
        })
}
