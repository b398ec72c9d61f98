//! Every line of the log that tells of events, the webhook and the sources, throttled: the first
//! occurrence at once, then one line an interval with the count, and the recovery with how long
//! it took. Counts are kept in the ledger by the same calls, so the log can't disagree with it.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, error, info, log, warn};

use crate::delivery::outcome::DeliveryError;
use crate::telemetry::counters::{Balance, Counters, Reason, RequestResult};
use crate::telemetry::snapshot::{LastError, Snapshot, SourceNow};
use crate::telemetry::throttle::{Drops, Outages, in_full};
use crate::text::quantity::HumanDuration;

/// Counts and tells. Shared by all threads.
#[derive(Debug)]
pub struct Report {
    ledger: Counters,
    interval: Duration,
    /// The sources' names.
    sources: Vec<String>,
    state: Mutex<State>,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    /// To this webhook, shown as in the log.
    On(String),
    /// Nowhere, for this reason: they are read and thrown away.
    Off(String),
}

impl std::fmt::Display for Forwarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Forwarding::On(webhook) => f.write_str(webhook),
            Forwarding::Off(why) => write!(f, "{why}: events are read and thrown away"),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    forwarding: Option<Forwarding>,
    drops: [Drops; Reason::ALL.len()],
    webhook: Outages,
    /// By source.
    sources: Vec<Outages>,
    /// What was said of a source that somebody must set differently.
    complaints: Vec<(usize, &'static str)>,
    /// When the webhook last took events.
    delivered: Option<SystemTime>,
    /// The webhook, this one, has answered to a request's content.
    reached: bool,
    /// Of the file for `show`.
    file: Outages,
    error: Option<LastError>,
}

impl State {
    fn went_wrong(&mut self, what: String) {
        self.error = Some(LastError {
            at: SystemTime::now(),
            what,
        });
    }
}

impl Report {
    /// A report on these sources that writes summaries every `interval`, if [`tick`](Self::tick) is
    /// called so. Sources are known by their place from here on.
    pub fn new(interval: Duration, sources: Vec<String>) -> Self {
        let state = State {
            sources: sources.iter().map(|_| Outages::default()).collect(),
            ..State::default()
        };
        Report {
            ledger: Counters::new(sources.len()),
            interval,
            sources,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counts at this moment.
    pub fn balance(&self) -> Balance {
        self.ledger.balance()
    }

    /// The counters.
    pub fn ledger(&self) -> &Counters {
        &self.ledger
    }

    /// The sources' names.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// Where events go from now on, because of `what` has changed. The first time it is not logged.
    pub fn forwards(&self, forwarding: Forwarding, what: &str) {
        let mut state = self.state();
        let thrown_away = self.balance().dropped_for(Reason::Disabled);
        let untold = Events(state.drops[Reason::Disabled as usize].sum_up(thrown_away));
        match (&state.forwarding, &forwarding) {
            (None, _) => {}
            (Some(Forwarding::Off(_)), Forwarding::On(webhook)) => {
                info!("enabled ({what}): {webhook}; {untold} came in and were thrown away before");
            }
            (_, Forwarding::On(webhook)) => info!("changed ({what}): {webhook} from now on"),
            (_, Forwarding::Off(_)) => warn!("{forwarding}"),
        }
        state.forwarding = Some(forwarding);
    }

    /// Requests go to another webhook from now on: what was said of the last one's state is over.
    pub fn another_webhook(&self) {
        let mut state = self.state();
        state.webhook = Outages::default();
        state.reached = false;
    }

    /// Where events go.
    pub fn forwarding(&self) -> Option<Forwarding> {
        self.state().forwarding.clone()
    }

    /// When the webhook last took events.
    pub fn last_delivery(&self) -> Option<SystemTime> {
        self.state().delivered
    }

    /// For how long the webhook has not taken anything it was given, and why.
    pub fn webhook_outage(&self) -> Option<(Duration, String)> {
        let state = self.state();
        let outage = state.webhook.now.as_ref()?;
        Some((outage.since.elapsed(), outage.why.clone()))
    }

    /// All that can be told at this moment. None while somebody writes the log, which can take any
    /// time, and once the agent has stopped.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let state = self.state_at_once()?;
        Some(self.snapshot_of(&state))
    }

    fn state_at_once(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn snapshot_of(&self, state: &State) -> Snapshot {
        // Ends are read before what came in, so that what is held is never less than nothing.
        let mut balance = self.balance();
        let sources: Vec<_> = (self.sources.iter().zip(&state.sources).enumerate())
            .map(|(place, (name, outages))| SourceNow {
                name: name.clone(),
                received: self.ledger.received_from(place),
                away: outages.away(),
            })
            .collect();
        balance.received = sources.iter().map(|source| source.received).sum();
        Snapshot {
            forwarding: state.forwarding.clone(),
            reached: state.reached,
            webhook: state.webhook.away(),
            delivered: state.delivered,
            sources,
            balance,
            error: state.error.clone(),
        }
    }

    /// Events came in from a source, and can't be seen by the sender yet.
    pub fn received(&self, source: usize, events: usize) {
        self.ledger.received(source, events);
    }

    /// The webhook has taken events.
    pub fn delivered(&self, events: usize) {
        self.ledger.delivered(events);
        self.state().delivered = Some(SystemTime::now());
        self.webhook_worked(RequestResult::Delivered);
    }

    /// Events that had been counted as received were dropped.
    pub fn dropped(&self, reason: Reason, events: usize) {
        if events == 0 {
            return;
        }
        // Counted and told under one lock, so that no summary comes in between.
        let mut state = self.state();
        let total = self.ledger.dropped(reason, events);
        if reason == Reason::Disabled {
            // As somebody wanted it; told when it is over.
            return;
        }
        state.drops[reason as usize].first(total, || {
            warn!(
                "dropped {} ({}), {total} since start",
                Events(events as u64),
                reason.name()
            );
        });
    }

    /// The webhook refused one event, for this reason, and it was dropped.
    pub fn refused(&self, why: &str) {
        self.webhook_worked(RequestResult::Refused);
        self.settled(0, 1, why);
    }

    /// The webhook took some events of a request, and refused others, the first of them for this reason.
    pub fn settled(&self, delivered: usize, refused: usize, why: &str) {
        let mut state = self.state();
        self.ledger.delivered(delivered);
        if delivered > 0 {
            state.delivered = Some(SystemTime::now());
        }
        if refused > 0 {
            state.went_wrong(format!("webhook refused an event: {why}"));
            let total = self.ledger.dropped(Reason::Refused, refused);
            state.drops[Reason::Refused as usize].first(total, || {
                let refused = Events(refused as u64);
                warn!("webhook refused {refused} ({why}), dropped, {total} since start");
            });
        }
    }

    /// A request was not taken, and is tried again after `delay`.
    pub fn webhook_failed(&self, trouble: &DeliveryError, delay: Duration) {
        self.ledger.request(RequestResult::Retried);
        let first = {
            let mut state = self.state();
            if state.webhook.is_new(&trouble.message) {
                let what = in_full(&trouble.message, trouble.fix);
                state.went_wrong(format!("webhook: {what}"));
            }
            let now = Instant::now();
            let outages = &mut state.webhook;
            outages.failed(&trouble.message, trouble.fix, now, self.interval)
        };
        if !first {
            return;
        }
        let held = Events(self.balance().in_buffer());
        let delay = HumanDuration(delay);
        match trouble.fix {
            None => warn!(
                "webhook unreachable: {}; retrying in {delay}; {held} held",
                trouble.message
            ),
            Some(remedy) => error!(
                "webhook does not accept events: {}: {remedy}; retrying in {delay}; {held} held",
                trouble.message
            ),
        }
    }

    /// The webhook refused a request, or a part of it, whose events are counted elsewhere.
    pub fn refused_together(&self) {
        self.webhook_worked(RequestResult::Refused);
    }

    fn webhook_worked(&self, outcome: RequestResult) {
        self.ledger.request(outcome);
        let now = Instant::now();
        let mut state = self.state();
        state.reached = true;
        if let Some(outage) = state.webhook.ended(now) {
            info!(
                "webhook reachable again after {}, {}",
                HumanDuration(now - outage.since),
                Attempts(outage.attempts)
            );
        }
    }

    /// A source is away, for this reason, and is tried again.
    pub fn source_failed(&self, source: usize, why: &str) {
        let mut state = self.state();
        let name = &self.sources[source];
        if state.sources[source].is_new(why) {
            state.went_wrong(format!("source {name}: {why}"));
        }
        if state.sources[source].failed(why, None, Instant::now(), self.interval) {
            warn!("source {name} is away: {why}; trying again until it is there");
        }
    }

    /// A source is there.
    pub fn source_worked(&self, source: usize) {
        let now = Instant::now();
        if let Some(outage) = self.state().sources[source].ended(now) {
            let name = &self.sources[source];
            info!(
                "source {name} is back after {}",
                HumanDuration(now - outage.since)
            );
        }
    }

    /// Somebody must set something differently at a source. Told once.
    pub fn source_complaint(&self, source: usize, what: &'static str) {
        let mut state = self.state();
        if !state.complaints.contains(&(source, what)) {
            state.complaints.push((source, what));
            state.went_wrong(format!("source {}: a client {what}", self.sources[source]));
            error!("source {}: a client {what}", self.sources[source]);
        }
    }

    /// The file for `show` could not be written, and is tried again. Like the next, it waits for nobody, so
    /// that it does not keep the last state from being written when the agent has stopped.
    pub fn state_failed(&self, why: &str) {
        let Some(mut state) = self.state_at_once() else {
            return;
        };
        if state.file.failed(why, None, Instant::now(), self.interval) {
            warn!("can't tell `show` of this agent: {why}; trying again");
        }
    }

    /// The file for `show` was written.
    pub fn state_worked(&self) {
        let now = Instant::now();
        let outage = self.state_at_once().map(|mut state| state.file.ended(now));
        if let Some(Some(outage)) = outage {
            info!(
                "`show` is told of this agent again after {}",
                HumanDuration(now - outage.since)
            );
        }
    }

    /// Writes the summaries that are due. To be called once an interval.
    pub fn tick(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let balance = self.balance();
        let mut full = false;
        for reason in Reason::ALL {
            if reason == Reason::Disabled {
                continue;
            }
            let total = balance.dropped_for(reason);
            let untold = state.drops[reason as usize].sum_up(total);
            full |= reason == Reason::BufferFull && untold > 0;
            if untold > 0 {
                warn!(
                    "dropped {} in {} ({}), {total} since start",
                    Events(untold),
                    HumanDuration(self.interval),
                    reason.name()
                );
            }
        }
        if let Some(outage) = state.webhook.due(now, self.interval) {
            let took = HumanDuration(now - outage.since);
            let attempts = Attempts(outage.attempts);
            let why = &outage.why;
            let held = Events(balance.in_buffer());
            let full = if full { ", buffer full" } else { "" };
            match outage.remedy {
                None => warn!(
                    "webhook still unreachable for {took}, {attempts}: {why}; {held} held{full}"
                ),
                // It may have been unreachable at first, so that this was not said yet.
                Some(remedy) => error!(
                    "webhook still does not accept events for {took}, {attempts}: {why}: {remedy}; \
                     {held} held{full}"
                ),
            }
        }
        for (name, outages) in self.sources.iter().zip(&mut state.sources) {
            if let Some(outage) = outages.due(now, self.interval) {
                warn!(
                    "source {name} still away for {}: {}",
                    HumanDuration(now - outage.since),
                    outage.why
                );
            }
        }
    }

    /// Writes what no line has told of yet, and then the balance, the log's last line. Something is
    /// left only if a thread is stuck or was not waited for: it counts as dropped. Gives what there is to
    /// tell at the end.
    pub fn stopped(&self) -> Snapshot {
        let mut state = self.state();
        let mut last = self.snapshot_of(&state);
        last.balance = last.balance.with_rest_dropped();
        let balance = last.balance;
        for reason in Reason::ALL {
            let total = balance.dropped_for(reason);
            let untold = state.drops[reason as usize].sum_up(total);
            if untold > 0 {
                warn!(
                    "dropped {} ({}), {total} since start",
                    Events(untold),
                    reason.name()
                );
            }
        }
        let by_reason: Vec<_> = Reason::ALL
            .into_iter()
            .filter(|reason| balance.dropped_for(*reason) > 0)
            .map(|reason| format!("{} {}", reason.name(), balance.dropped_for(reason)))
            .collect();
        let by_reason = if by_reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", by_reason.join(", "))
        };
        let level = if balance.dropped() + balance.in_buffer() == 0 {
            Level::Info
        } else {
            Level::Warn
        };
        log!(
            level,
            "stopped: received {}, delivered {}, dropped {}{by_reason}, left {}",
            balance.received,
            balance.delivered,
            balance.dropped(),
            balance.in_buffer()
        );
        // Such a thread must not add a line.
        std::mem::forget(state);
        last
    }
}

struct Events(u64);

impl std::fmt::Display for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} event{}", self.0, if self.0 == 1 { "" } else { "s" })
    }
}

struct Attempts(u64);

impl std::fmt::Display for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} attempt{}",
            self.0,
            if self.0 == 1 { "" } else { "s" }
        )
    }
}
