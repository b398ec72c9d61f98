//! Counts and logs what happens to events, requests and sources. Each call does both, so that the log can't disagree
//! with the counts: the first occurrence is logged at once, then one line per interval with the count, and a recovery
//! with how long it took.

mod clock;
mod counted;
mod end;
mod source;
mod state;
mod times;
mod trail;
mod webhook;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use self::counted::Kind;
pub use self::state::{Kept, Refused};
use self::state::{Now, State};
use crate::telemetry::counters::{Balance, Reason, Refusal};
use crate::telemetry::expiry::Expiries;
use crate::telemetry::gaps::Gaps;
use crate::telemetry::message::{Events, Message};
use crate::telemetry::requests::Finished;
use crate::telemetry::resumes::Resumes;
use crate::telemetry::snapshot::{Forwarding, Lag, Snapshot, SourceState, SpoolState};
use crate::text::quantity::Size;

/// A source, as the report knows it.
#[derive(Debug, Clone)]
pub struct ReportedSource {
    /// As it was given.
    pub name: String,
    /// The next start reads again what was not delivered: nothing of it is lost when the agent ends.
    pub resumes: Resumes,
}

/// Counts and logs. Shared by all threads; no call waits for the log, a disk or the network.
#[derive(Debug)]
pub struct Report {
    /// Locked only to add to it or to copy it.
    balance: Mutex<Balance>,
    sources: Vec<ReportedSource>,
    state: Mutex<State>,
    /// For each source, whether the time of its next event is wanted.
    wanted_times: Vec<AtomicBool>,
    /// Losses for the trail, if there is one.
    gaps: Option<Mutex<Gaps>>,
}

impl Report {
    /// A report on these sources that logs summaries every `interval`, provided that [`tick`](Self::tick) is
    /// called that often. From here on, sources are identified by their index.
    pub fn new(interval: Duration, sources: Vec<ReportedSource>) -> Self {
        Report {
            balance: Mutex::new(Balance::new(sources.len())),
            state: Mutex::new(State::new(
                interval,
                sources.iter().map(|source| source.name.clone()),
            )),
            wanted_times: sources
                .iter()
                .map(|source| AtomicBool::new(!source.resumes.get()))
                .collect(),
            sources,
            gaps: None,
        }
    }

    /// The same report, but it adds up losses for the trail.
    pub fn with_trail(self) -> Self {
        Report {
            gaps: Some(Mutex::default()),
            ..self
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Balance> {
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and logs the resulting message before anybody else can change it.
    fn update(&self, change: impl FnOnce(&mut State, Now) -> Option<Message>) {
        let mut state = self.state();
        if let Some(message) = change(&mut state, Now::read()) {
            state.log(&message);
        }
    }

    /// The counts at this moment.
    pub fn balance(&self) -> Balance {
        self.counts().clone()
    }

    /// The name of a source.
    pub fn source_name(&self, source: usize) -> &str {
        self.sources.get(source).map_or("?", |source| &source.name)
    }

    /// Events were received from a source, and can't be seen by a sender yet.
    pub fn received(&self, source: usize, events: usize) {
        self.counts().add_received(source, events);
    }

    /// Events from an earlier start were found in the spool.
    pub fn recovered(&self, events: u64) {
        self.counts().recovered += events;
    }

    /// The spool as it is now.
    pub fn spool(&self, spool: SpoolState) {
        self.state().known.spool = Some(spool);
    }

    /// Bytes of the spool are damaged.
    pub fn spool_damaged(&self, bytes: u64) {
        self.state().corrupt_bytes += bytes;
    }

    /// The webhook has taken events of so many bytes.
    pub fn delivered(&self, events: usize, bytes: usize) {
        if events > 0 {
            let mut counts = self.counts();
            counts.delivered += events as u64;
            counts.delivered_bytes += bytes as u64;
            drop(counts);
            self.state().known.last_delivery = Some(SystemTime::now());
        }
    }

    /// Events that had been counted as received were dropped, of this source if it is known. At shutdown, those of a
    /// source that resumes are not lost, and stay buffered in the counts.
    pub fn dropped(&self, reason: Reason, source: Option<usize>, events: usize) {
        if events == 0 {
            return;
        }
        self.update(|state, _| {
            if reason == Reason::Shutdown && self.resumes(source) {
                state.left += events as u64;
                return None;
            }
            // Events dropped behind the queue have numbers, which the sender reports.
            if source.is_some() {
                self.add_gap(source, reason.label(), events as u64, []);
            }
            self.counts().add_dropped(reason, source, events);
            state.dropped(reason, events as u64)
        });
    }

    /// Events that had been counted as received are not sent because of this rule. This is no loss.
    pub fn filtered(&self, rule: &Arc<str>, events: usize) {
        self.counts().add_filtered(rule, events);
    }

    /// These rules exclude events from now on: they are shown even before they exclude any.
    pub fn filters(&self, rules: &[Arc<str>]) {
        rules.iter().for_each(|rule| self.filtered(rule, 0));
    }

    /// Values of events were masked.
    pub fn redacted(&self, values: usize) {
        self.counts().redacted += values as u64;
    }

    /// None of the first `events` events had this member, which a rule is about.
    pub fn rule_unseen(&self, member: String, events: usize) {
        self.update(|_, _| Some(Message::RuleUnseen { member, events }));
    }

    /// Whether the next start reads a source again; for an unknown source, whether it reads all of them again.
    fn resumes(&self, source: Option<usize>) -> bool {
        match source {
            Some(source) => self
                .sources
                .get(source)
                .is_some_and(|source| source.resumes.get()),
            None => self.sources.iter().all(|source| source.resumes.get()),
        }
    }

    /// The webhook rejects events, which makes them final.
    pub fn rejected(&self, events: usize, message: &str) {
        if events > 0 {
            self.update(|state, now| {
                self.counts().rejected += events as u64;
                state.rejected(events as u64, message, now)
            });
        }
    }

    /// Rejected events were written to their file.
    pub fn rejects_saved(&self, events: usize) {
        self.state().known.rejects.saved += events as u64;
    }

    /// Rejected events could not be written to their file.
    pub fn rejects_unsaved(&self, events: usize, error: &str) {
        if events > 0 {
            self.update(|state, now| {
                state.went_wrong(format!("rejected events not saved: {error}"), now);
                state.count(Kind::RejectsUnsaved, events as u64, error)
            });
        }
    }

    /// A request to the webhook came to an end.
    pub fn request_finished(&self, finished: Finished) {
        self.counts().requests.add(finished);
    }

    /// A request failed and is resent after `retry_in`. `fix` is what an operator must do if it won't pass by itself.
    pub fn delivery_failed(&self, message: &str, fix: Option<&'static str>, retry_in: Duration) {
        let buffered = self.counts().buffered();
        self.update(|state, now| state.delivery_failed(message, fix, retry_in, buffered, now));
    }

    /// The webhook took or rejected a request's content, so it works.
    pub fn delivery_restored(&self) {
        self.update(|state, now| state.delivery_restored(now));
    }

    /// This many events were posted and are not acknowledged as indexed.
    pub fn posted(&self, events: usize) {
        self.state().known.posted = events as u64;
    }

    /// A query for what is indexed failed, and will be repeated.
    pub fn query_failed(&self, message: &str) {
        self.update(|state, now| state.query_failed(message, now));
    }

    /// A query for what is indexed was answered.
    pub fn query_answered(&self) {
        self.update(|state, now| state.query_answered(now));
    }

    /// This many events were not acknowledged as indexed before this happened.
    pub fn left_unacknowledged(&self, events: usize, when: &'static str) {
        if events > 0 {
            let events = Events(events as u64);
            self.update(|_, _| Some(Message::LeftUnacknowledged { events, when }));
        }
    }

    /// This many events may have arrived, and will not be sent again before the end.
    pub fn left_unanswered(&self, events: usize) {
        if events > 0 {
            let events = Events(events as u64);
            self.update(|_, _| Some(Message::LeftUnanswered { events }));
        }
    }

    /// Events are sent again that may have arrived, after a request that ended with `message`.
    pub fn redelivered(&self, events: usize, message: &str) {
        if events > 0 {
            self.update(|state, _| state.count(Kind::Redelivered, events as u64, message));
        }
    }

    /// The webhook, or a proxy in front of it, takes no bodies larger than this.
    pub fn body_size_learned(&self, bytes: usize) {
        let size = Size(bytes);
        self.update(|_, _| Some(Message::BodySizeLearned { size, bytes }));
    }

    /// The webhook takes events, but may not turn them into what the operator expects.
    pub fn advice(&self, text: &str) {
        let text = text.to_owned();
        self.update(|_, _| Some(Message::Advice { text }));
    }

    /// A connection to this endpoint was made; its certificates expire at these times.
    pub fn certificates(&self, endpoint: String, expiries: Expiries) {
        self.state().expiries.insert(endpoint, expiries);
    }

    /// An event keeps failing while others are delivered. It is not counted: it may still be delivered or rejected.
    pub fn event_set_aside(&self, message: &str) {
        self.update(|state, _| state.count(Kind::SetAside, 1, message));
    }

    /// A client's request was refused; `peer` is the client's address, if it has one. Its events are in no count.
    pub fn request_refused(&self, source: usize, reason: Refusal, peer: Option<String>) {
        self.update(|state, _| {
            let source = state.sources.get_mut(source)?;
            source.request_refused(reason, peer)
        });
    }

    /// A source can't be read; it is retried.
    pub fn source_failed(&self, source: usize, message: &str) {
        self.update(|state, now| state.source_failed(source, message, now));
    }

    /// A source can be read.
    pub fn source_restored(&self, source: usize) {
        self.update(|state, now| state.sources.get_mut(source)?.restored(now.instant));
    }

    /// A client of a source must be configured differently. Logged once for each client, up to a limit.
    pub fn source_complaint(&self, source: usize, problem: &'static str, peer: Option<String>) {
        self.update(|state, now| state.source_complaint(source, problem, peer, now));
    }

    /// Bytes of a source are lost; how many events they had is unknown.
    pub fn source_lost_bytes(&self, source: usize, bytes: u64, message: &str) {
        self.update(|state, now| state.source_lost_bytes(source, bytes, message, now));
    }

    /// Whether a source can be read, if that changes without an error.
    pub fn source_up(&self, source: usize, is_up: bool) {
        self.know(source, |known| known.is_up = is_up);
    }

    /// How much of a source was not read yet.
    pub fn source_lag(&self, source: usize, lag: Lag) {
        self.know(source, |known| known.lag = Some(lag));
    }

    /// A file of a source was taken for the copy of another.
    pub fn source_copied(&self, source: usize) {
        self.know(source, |known| known.copies += 1);
    }

    /// How many bytes are used by removed files of a source that are kept open.
    pub fn source_deleted_bytes(&self, source: usize, bytes: u64) {
        self.know(source, |known| known.deleted_bytes = bytes);
    }

    fn know(&self, source: usize, note: impl FnOnce(&mut SourceState)) {
        if let Some(source) = self.state().sources.get_mut(source) {
            note(&mut source.known);
        }
    }

    /// Where events go from now on, because of what has `changed`. The first time, this is not logged.
    pub fn forwards(&self, forwarding: Forwarding, changed: &str) {
        self.update(|state, _| state.forwards(forwarding, changed));
    }

    /// Requests go to another webhook from now on: what is known of the last one's state no longer applies.
    /// Several endpoints are identified by their index in `names`; a single one has no name.
    pub fn another_webhook(&self, names: Vec<String>) {
        self.update(|state, now| {
            state.another_webhook(names, now);
            None
        });
    }

    /// One of several endpoints failed, and is not used for now. `fix` says what an operator must do.
    pub fn endpoint_failed(&self, place: usize, message: &str, fix: Option<&'static str>) {
        self.update(|state, now| state.endpoint_failed(place, message, fix, now));
    }

    /// An endpoint works again.
    pub fn endpoint_restored(&self, place: usize) {
        self.update(|state, now| state.endpoint_restored(place, now));
    }

    /// The file for `show` could not be written; it is retried.
    pub fn status_file_failed(&self, message: &str) {
        self.update(|state, now| state.status_file_failed(message, now));
    }

    /// The file for `show` was written.
    pub fn status_file_restored(&self) {
        self.update(|state, now| state.status_file_restored(now));
    }

    /// The settings are in effect, or they were refused. What was logged already is logged again for who asks.
    pub fn settings(&self, refused: Option<Refused>, is_asked: bool) {
        self.update(|state, now| state.settings(refused, is_asked, now));
    }

    /// Whether events are sent anywhere.
    pub fn is_forwarding(&self) -> bool {
        matches!(
            self.state().known.forwarding,
            None | Some(Forwarding::On(_))
        )
    }

    /// Where events go.
    pub fn forwarding(&self) -> Option<Forwarding> {
        self.state().known.forwarding.clone()
    }

    /// For how long the webhook has taken nothing of what it was sent, and why.
    pub fn webhook_outage(&self) -> Option<(Duration, String)> {
        let outage = self.state().outage()?;
        Some((outage.since.elapsed(), outage.error))
    }

    /// All that is known now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        state.snapshot(self.balance())
    }

    /// Logs the summaries that are due. Must be called once per interval.
    pub fn tick(&self) {
        for (wanted, source) in self.wanted_times.iter().zip(&self.sources) {
            wanted.store(!source.resumes.get(), Relaxed);
        }
        let mut state = self.state();
        let buffered = self.counts().buffered();
        for message in state.tick(buffered, Now::read()) {
            state.log(&message);
        }
    }
}

impl Now {
    fn read() -> Self {
        Now {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests;
