//! The webhook's side of the account: which events it has taken, and whether each request was called for.
//!
//! The agent's one sender asks for one body after the other, and begins a body with the event that has waited longest.
//! So whether it has heard an answer shows in the next request: if that begins with the same event, it has not, or the
//! answer told it to try again. That makes the account exact, whatever the network does.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::support::{Answer, Request};

/// A webhook that is picky refuses every event whose number is a multiple of this.
const POISON: usize = 499;

/// What an answer tells an agent that hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The webhook has the events.
    Taken,
    /// It will never take them.
    Refused,
    /// To try again.
    Again,
}

/// An event's source and number.
pub(super) type Id = (usize, usize);

/// The books, and the answer that the webhook gives now.
pub(super) struct Books(Mutex<Page>);

struct Page {
    answer: Answer,
    meaning: Meaning,
    /// Bodies with certain events in them are refused.
    picky: bool,
    /// So long does the agent wait for an answer.
    timeout: Duration,
    /// Answers may be lost now.
    shaken: bool,
    /// Of connections up to this number they may be lost for ever.
    broken: usize,
    /// The last request, of which it is not known yet whether its answer was heard.
    last: Option<Entry>,
    account: Account,
    fates: Vec<Vec<Fate>>,
    /// When a request was taken that began after all faults had ended.
    delivery: Option<Instant>,
    wrong: Vec<String>,
}

struct Entry {
    connection: usize,
    events: Vec<Id>,
    meaning: Meaning,
    /// Its answer may be lost.
    shaken: bool,
    at: Instant,
}

/// What became of an event at the webhook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Unseen,
    Taken,
    Refused,
}

/// Numbers of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Taken, and the agent knows.
    pub(super) delivered: u64,
    /// Refused, each alone, and the agent knows.
    pub(super) refused: u64,
    /// Taken, but sent again, because the answer was lost.
    pub(super) repeated: u64,
    /// Requests.
    pub(super) requests: u64,
}

impl Books {
    /// Of events from so many sources, by an agent with this `--request-timeout`.
    pub(super) fn new(sources: usize, timeout: Duration) -> Self {
        Self(Mutex::new(Page {
            answer: Answer::ok(),
            meaning: Meaning::Taken,
            picky: false,
            timeout,
            shaken: false,
            broken: 0,
            last: None,
            account: Account::default(),
            fates: vec![Vec::new(); sources],
            delivery: None,
            wrong: Vec::new(),
        }))
    }

    /// From now on the webhook gives this answer.
    pub(super) fn give(&self, answer: Answer, meaning: Meaning) {
        let mut page = self.page();
        (page.answer, page.meaning) = (answer, meaning);
    }

    /// From now on the webhook refuses some events, and all that come with them.
    pub(super) fn pick(&self) {
        self.page().picky = true;
    }

    /// From now on answers may be lost; that of the last request too, for it may be on its way.
    pub(super) fn shake(&self) {
        let mut page = self.page();
        page.shaken = true;
        if let Some(last) = &mut page.last {
            last.shaken = true;
        }
    }

    /// From now on none is lost, but over connections up to this number.
    pub(super) fn calm(&self, broken: usize) {
        let mut page = self.page();
        (page.shaken, page.broken, page.delivery) = (false, broken, None);
        (page.answer, page.meaning, page.picky) = (Answer::ok(), Meaning::Taken, false);
    }

    /// When the first request after the last [`Books::calm`] was taken.
    pub(super) fn delivery(&self) -> Option<Instant> {
        self.page().delivery
    }

    /// Enters a request, and gives the answer.
    pub(super) fn enter(&self, request: &Request) -> Answer {
        let events: Vec<Id> = request
            .body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(id)
            .collect();
        let mut page = self.page();
        page.account.requests += 1;
        let is_poison = |(_, number): &Id| number % POISON == 0;
        let (meaning, answer) = if page.picky && events.iter().any(is_poison) {
            (Meaning::Refused, Answer::status(400))
        } else {
            (page.meaning, page.answer.clone())
        };
        // Sent before the last one, over a connection that was cut since, and read only now: nobody hears the answer.
        if page
            .last
            .as_ref()
            .is_some_and(|last| request.connection < last.connection)
        {
            if meaning == Meaning::Taken {
                page.account.repeated += events.len() as u64;
            }
            return answer;
        }
        if let Some(last) = page.last.take() {
            if last.events.first() == events.first() {
                page.repeat(&last, request.connection);
            } else {
                page.settle(last);
            }
        }
        if page.meaning == Meaning::Taken && !page.shaken {
            page.delivery.get_or_insert_with(Instant::now);
        }
        let shaken = page.shaken || request.connection <= page.broken;
        page.last = Some(Entry {
            connection: request.connection,
            events,
            meaning,
            shaken,
            at: Instant::now(),
        });
        answer
    }

    /// The agent holds nothing: it has heard the last answer too. Gives the account, and what is wrong with it.
    pub(super) fn close(&self) -> (Account, Vec<String>) {
        let mut page = self.page();
        if let Some(last) = page.last.take() {
            page.settle(last);
        }
        (page.account, page.wrong.clone())
    }

    /// What became of a source's event.
    pub(super) fn fate(&self, (source, number): Id) -> Fate {
        let page = self.page();
        page.fates[source].get(number).copied().unwrap_or_default()
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        self.0.lock().unwrap()
    }
}

impl Page {
    /// The agent has sent the same again.
    fn repeat(&mut self, last: &Entry, connection: usize) {
        let count = last.events.len();
        let must_not = match last.meaning {
            Meaning::Taken => true,
            Meaning::Refused => count == 1,
            Meaning::Again => false,
        };
        if !must_not {
            return;
        }
        let lost = last.shaken || last.at.elapsed() >= self.timeout;
        if connection == last.connection || !lost {
            self.wrong.push(format!(
                "{count} events from {:?} on were {:?} over connection {} and came again {:?} later over {connection}",
                last.events[0],
                last.meaning,
                last.connection,
                last.at.elapsed(),
            ));
        }
        if last.meaning == Meaning::Taken {
            self.account.repeated += count as u64;
        }
    }

    /// The agent has gone on to other events.
    fn settle(&mut self, last: Entry) {
        let count = last.events.len() as u64;
        let fate = match last.meaning {
            Meaning::Taken => Fate::Taken,
            Meaning::Refused if count == 1 => Fate::Refused,
            _ => {
                self.wrong.push(format!(
                    "{count} events from {:?} on were given up when the answer was {:?}",
                    last.events[0], last.meaning
                ));
                return;
            }
        };
        match fate {
            Fate::Taken => self.account.delivered += count,
            _ => self.account.refused += count,
        }
        for (source, number) in last.events {
            let fates = &mut self.fates[source];
            if fates.len() <= number {
                fates.resize(number + 1, Fate::Unseen);
            }
            if fates[number] != Fate::Unseen {
                let before = fates[number];
                let what = format!("{:?} was {before:?}, and then {fate:?}", (source, number));
                self.wrong.push(what);
            }
            self.fates[source][number] = fate;
        }
    }
}

/// An event's line.
pub(super) fn event((source, number): Id, bytes: usize) -> String {
    let pad = "x".repeat(bytes);
    format!("{{\"s\":{source},\"n\":{number},\"pad\":\"{pad}\"}}\n")
}

fn id(line: &[u8]) -> Id {
    let text = str::from_utf8(line).unwrap();
    let read = || {
        let (source, rest) = text.strip_prefix("{\"s\":")?.split_once(",\"n\":")?;
        let (number, rest) = rest.split_once(",\"pad\":\"x")?;
        rest.ends_with("x\"}").then_some(())?;
        Some((source.parse().ok()?, number.parse().ok()?))
    };
    read().unwrap_or_else(|| panic!("not an event: {text:?}"))
}
