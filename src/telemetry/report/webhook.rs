//! The webhook, its endpoints and its outages.

use std::time::Duration;

use super::clock::Clock;
use super::state::{Now, State};
use crate::telemetry::counters::Reason;
use crate::telemetry::message::{Attempts, Events, Message};
use crate::telemetry::snapshot::Forwarding;
use crate::telemetry::throttle::{Outages, with_fix};
use crate::text::quantity::HumanDuration;

/// Seconds that the webhook's clock may differ from this host's.
const MAX_SKEW: u64 = 5;

impl State {
    pub(super) fn delivery_failed(
        &mut self,
        error: &str,
        fix: Option<&'static str>,
        retry_in: Duration,
        buffered: u64,
        now: Now,
    ) -> Option<Message> {
        if self.webhook.is_new(error) {
            self.went_wrong(format!("webhook: {}", with_fix(error, fix)), now);
        }
        if !self.webhook.failed(error, fix, now.instant, self.interval) {
            return None;
        }
        let error = error.to_owned();
        Some(match fix {
            None => Message::DeliveryFailed {
                error,
                retry_in: HumanDuration(retry_in),
                buffered: Events(buffered),
            },
            Some(fix) => Message::DeliveryBlocked { error, fix },
        })
    }

    pub(super) fn delivery_restored(&mut self, now: Now) -> Option<Message> {
        self.known.reached = true;
        let ended = [self.replaced.take(), self.webhook.ended(now.instant)];
        let ended: Vec<_> = ended.into_iter().flatten().collect();
        Some(Message::DeliveryRestored {
            lasted: HumanDuration(now.instant - ended.first()?.since),
            attempts: Attempts(ended.iter().map(|outage| outage.attempts).sum()),
        })
    }

    pub(super) fn forwards(&mut self, forwarding: Forwarding, changed: &str) -> Option<Message> {
        let dropped = Events(self.dropped[Reason::Disabled as usize].summarize());
        let changed = changed.to_owned();
        let message = match (&self.known.forwarding, &forwarding) {
            (None, _) | (_, Forwarding::Awaited(_)) => None,
            (Some(Forwarding::Off(_) | Forwarding::Unset(_)), Forwarding::On(webhook)) => {
                Some(Message::ForwardingEnabled {
                    changed,
                    webhook: webhook.clone(),
                    dropped,
                })
            }
            (_, Forwarding::On(webhook)) => Some(Message::ForwardingChanged {
                changed,
                webhook: webhook.clone(),
            }),
            (_, Forwarding::Off(_) | Forwarding::Unset(_)) => Some(Message::ForwardingDisabled {
                reason: forwarding.to_string(),
            }),
        };
        if matches!(forwarding, Forwarding::Off(_) | Forwarding::Unset(_)) {
            // The line about that says what becomes of events from now on.
            self.replaced = None;
        }
        self.known.forwarding = Some(forwarding);
        message
    }

    pub(super) fn another_webhook(&mut self, names: Vec<String>, now: Now) {
        if let Some(mut outage) = self.webhook.replaced(now.instant) {
            if let Some(before) = self.replaced.take() {
                outage.since = before.since;
                outage.attempts += before.attempts;
            }
            self.replaced = Some(outage);
        }
        self.expiries.clear();
        self.endpoints = names
            .into_iter()
            .map(|name| (name, Outages::default()))
            .collect();
        self.queries = Outages::default();
        self.clocks.clear();
        self.known.reached = false;
        self.known.posted = 0;
    }

    pub(super) fn webhook_clock(&mut self, place: usize, skew: i64, now: Now) -> Option<Message> {
        while self.clocks.len() <= place {
            self.clocks.push(Clock::new(MAX_SKEW, Duration::ZERO));
        }
        let what = match self.endpoints.get(place) {
            Some((endpoint, _)) => format!("{endpoint}: the webhook's clock"),
            None => "the webhook's clock".into(),
        };
        self.clocks.get_mut(place)?.seen(skew, &what, now.instant)
    }

    pub(super) fn query_failed(&mut self, error: &str, now: Now) -> Option<Message> {
        if self.queries.is_new(error) {
            let what = format!("can't ask which events are indexed: {error}");
            self.went_wrong(what, now);
        }
        let is_due = (self.queries).failed(error, None, now.instant, self.interval);
        let error = error.to_owned();
        is_due.then_some(Message::QueryFailed { error })
    }

    pub(super) fn query_answered(&mut self, now: Now) -> Option<Message> {
        let outage = self.queries.ended(now.instant)?;
        Some(Message::QueryRestored {
            lasted: HumanDuration(now.instant - outage.since),
        })
    }

    /// What is due about queries that fail. While delivery fails, its own lines say why.
    pub(super) fn still_asking(&mut self, now: Now) -> Option<Message> {
        if self.webhook.state().is_some() {
            return None;
        }
        let outage = self.queries.due(now.instant, self.interval, 1)?;
        Some(Message::QueryFailing {
            lasts: HumanDuration(now.instant - outage.since),
            attempts: Attempts(outage.attempts),
            error: outage.error.clone(),
        })
    }

    pub(super) fn endpoint_failed(
        &mut self,
        place: usize,
        error: &str,
        fix: Option<&'static str>,
        now: Now,
    ) -> Option<Message> {
        let (endpoint, outages) = self.endpoints.get_mut(place)?;
        let is_due = outages.failed(error, fix, now.instant, self.interval);
        let (endpoint, error) = (endpoint.clone(), with_fix(error, fix));
        is_due.then(|| {
            self.went_wrong(format!("{endpoint}: {error}"), now);
            Message::EndpointFailed { endpoint, error }
        })
    }

    pub(super) fn endpoint_restored(&mut self, place: usize, now: Now) -> Option<Message> {
        let (endpoint, outages) = self.endpoints.get_mut(place)?;
        let outage = outages.ended(now.instant)?;
        Some(Message::EndpointRestored {
            endpoint: endpoint.clone(),
            lasted: HumanDuration(now.instant - outage.since),
        })
    }
}
