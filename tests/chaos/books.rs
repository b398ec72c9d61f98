//! The webhook's side of the account: what was sent to it, what it answered, and which answers may have been lost.
//!
//! The agent has one sender, which makes one request after the other. So the order of the requests shows which answers
//! the agent can have heard; see [`judge`](super::judge). No answer is presumed lost unless the books know a reason.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::support::{Answer, Request};

use super::judge::{self, Account, Interval, Ledger, Post};

/// A picky webhook refuses every event whose number is a multiple of this.
pub(super) const POISON: usize = 499;

/// What an answer tells an agent that hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The webhook has the events.
    Taken,
    /// It will never take them.
    Refused,
    /// The events must be sent again.
    Again,
    /// The same, but they may have arrived after all.
    Unclear,
}

/// An event's source and number.
pub(super) type Id = (usize, usize);

/// The books, and the answer that the webhook gives now.
pub(super) struct Books(Mutex<Page>);

struct Page {
    answer: Answer,
    meaning: Meaning,
    /// Whether bodies with certain events in them are refused.
    picky: bool,
    /// How long the agent waits for an answer.
    timeout: Duration,
    /// Answers may be lost now.
    shaken: bool,
    /// Over connections up to this number they may be lost for good.
    broken: usize,
    /// All requests since the books were last closed.
    posts: Vec<Post>,
    /// Something has happened since then that can leave the agent in doubt.
    doubtful: bool,
    ledger: Ledger,
    /// When a request was taken that began after all faults had ended.
    delivery: Option<Instant>,
}

/// What became of an event at the webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Unseen,
    Taken,
    Refused,
}

impl Books {
    /// For events from this many sources, by an agent with this `--request-timeout`.
    pub(super) fn new(sources: usize, timeout: Duration) -> Self {
        Self(Mutex::new(Page {
            answer: Answer::ok(),
            meaning: Meaning::Taken,
            picky: false,
            timeout,
            shaken: false,
            broken: 0,
            posts: Vec::new(),
            doubtful: false,
            ledger: Ledger::new(sources),
            delivery: None,
        }))
    }

    /// From now on the webhook gives this answer.
    pub(super) fn give(&self, answer: Answer, meaning: Meaning) {
        let mut page = self.page();
        (page.answer, page.meaning) = (answer, meaning);
    }

    /// From now on the agent may doubt whether a request has arrived, though no answer that it should hear is lost.
    pub(super) fn doubt(&self) {
        self.page().doubtful = true;
    }

    /// From now on the webhook refuses some events, and all that come with them.
    pub(super) fn pick(&self) {
        self.page().picky = true;
    }

    /// From now on answers may be lost; also that of the last request, since it may be on its way.
    pub(super) fn shake(&self) {
        let mut page = self.page();
        (page.shaken, page.doubtful) = (true, true);
        if let Some(latest) = page.posts.iter_mut().max_by_key(|post| post.connection) {
            latest.shaken = true;
        }
        if let Some(last) = page.posts.last_mut() {
            last.shaken = true;
        }
    }

    /// All faults have ended. If connections were cut, what was sent over those up to this number may still be lost.
    pub(super) fn calm(&self, cut: Option<usize>) {
        let mut page = self.page();
        (page.shaken, page.delivery) = (false, None);
        page.broken = cut.unwrap_or(page.broken);
        (page.answer, page.meaning, page.picky) = (Answer::ok(), Meaning::Taken, false);
    }

    /// When the first request after the last [`Books::calm`] was taken.
    pub(super) fn delivery(&self) -> Option<Instant> {
        self.page().delivery
    }

    /// Enters a request, and returns the answer.
    pub(super) fn enter(&self, request: &Request) -> Answer {
        let events: Vec<Id> = request
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(id)
            .collect();
        let mut page = self.page();
        let is_poison = |(_, number): &Id| number % POISON == 0;
        let (meaning, answer) = if page.picky && events.iter().any(is_poison) {
            (Meaning::Refused, Answer::status(400))
        } else {
            (page.meaning, page.answer.clone())
        };
        if page.meaning == Meaning::Taken && !page.shaken {
            page.delivery.get_or_insert_with(Instant::now);
        }
        let shaken = page.shaken || request.connection <= page.broken;
        page.posts.push(Post {
            connection: request.connection,
            events,
            meaning,
            shaken,
            at: request.at,
        });
        answer
    }

    /// The agent buffers nothing: it has heard the last answer too. It says that it has redelivered this many events
    /// since its start. Returns the account, and what is wrong with it.
    pub(super) fn close(&self, redelivered: u64) -> (Account, Vec<String>) {
        let mut page = self.page();
        let mut posts = std::mem::take(&mut page.posts);
        // A stable sort: what comes over one connection comes in the agent's order.
        posts.sort_by_key(|post| post.connection);
        let shaken = page.shaken;
        let interval = Interval {
            posts,
            timeout: page.timeout,
            broken: page.broken,
            doubtful: std::mem::replace(&mut page.doubtful, shaken),
            redelivered,
        };
        let wrong = judge::enter(&mut page.ledger, &interval);
        (page.ledger.account, wrong)
    }

    /// What became of a source's event, as far as the books are closed.
    pub(super) fn fate(&self, id: Id) -> Fate {
        self.page().ledger.fate(id)
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap()
    }
}

/// One in this many events has the operation `list`, for rules; the others have `put`.
pub(super) const LISTED: usize = 7;
/// What rules mask in each event.
pub(super) const SECRET: &str = "in-nobodys-archive";

/// An event's line.
pub(super) fn event((source, number): Id, bytes: usize) -> String {
    let operation = if number % LISTED == 0 { "list" } else { "put" };
    let pad = "x".repeat(bytes);
    format!(
        "{{\"s\":{source},\"n\":{number},\"op\":\"{operation}\",\"key\":\"{SECRET}\",\"pad\":\"{pad}\"}}\n"
    )
}

fn id(line: &[u8]) -> Id {
    let text = str::from_utf8(line).unwrap();
    let read = || {
        let (source, rest) = text.strip_prefix("{\"s\":")?.split_once(",\"n\":")?;
        let (number, rest) = rest.split_once(",\"op\":\"")?;
        let (_, rest) = rest.split_once(&format!("\",\"key\":\"{SECRET}\",\"pad\":\"x"))?;
        rest.ends_with("x\"}").then_some(())?;
        Some((source.parse().ok()?, number.parse().ok()?))
    };
    read().unwrap_or_else(|| panic!("not an event: {text:?}"))
}
