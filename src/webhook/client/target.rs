//! The webhook as delivery sees it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use ureq::Error;

use super::advice::{FLUENT_BIT_RAW, NO_TIME};
use super::{Unanswered, Webhook, build};
use crate::delivery::body::Body;
use crate::delivery::outcome::{Outcome, Overhead};
use crate::delivery::sender::{Abort, Target};
use crate::telemetry::expiry::Expiries;
use crate::webhook::error::{Sent, is_disconnect};
use crate::webhook::observer::Nobody;
use crate::webhook::resolve::{Known, SystemNames};
use crate::webhook::wire::Wire;

/// What a request may take beyond its timeout, on a machine that hardly gets on.
const SLACK: Duration = Duration::from_secs(30);

impl Target for Webhook {
    fn post(&mut self, body: &Body<'_>) -> Outcome {
        self.template.encoder.encode(body);
        let mut since = self.kept_since.unwrap_or_else(Instant::now);
        let mut is_last = self.is_connection_old();
        let mut result = self.try_post(body, false);
        if let Err(unanswered) = &result
            && self.kept_since.is_some()
            && self.may_repeat(unanswered)
        {
            (since, is_last) = (Instant::now(), false);
            self.kept_since = None;
            result = self.try_post(body, false);
        }
        self.kept_since = (result.is_ok() && !is_last).then_some(since);
        match result {
            Ok((answer, server)) => {
                self.is_one_record = self.makes_one_record(&server);
                answer.outcome(&self.question(body), SystemTime::now())
            }
            Err(unanswered) => Outcome::Failed(self.error(&unanswered)),
        }
    }

    fn advice(&mut self) -> Option<&'static str> {
        let seen = [
            (self.is_one_record, FLUENT_BIT_RAW),
            (self.template.encoder.saw_event_without_time(), NO_TIME),
        ];
        let places = self.advised.iter().zip(seen);
        places
            .filter(|(_, (is_so, _))| *is_so)
            .find_map(|(advised, (_, text))| {
                (!advised.swap(true, Ordering::Relaxed)).then_some(text)
            })
    }

    fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    fn expiries(&mut self) -> Option<Expiries> {
        self.wire.take_expiries()
    }

    fn time_limit(&self) -> Duration {
        // Over a connection that the webhook had closed it is tried twice.
        self.timeouts
            .request
            .saturating_mul(2)
            .saturating_add(SLACK)
    }

    fn request_timeout(&self) -> Duration {
        self.timeouts.request
    }

    fn max_events(&self) -> usize {
        self.template.encoder.format().max_events()
    }

    fn overhead(&self) -> Overhead {
        self.template.encoder.overhead()
    }

    fn cut(&self) -> Abort {
        let (agent, is_aborted) = (self.agent.clone(), Arc::clone(&self.is_aborted));
        Box::new(move || {
            is_aborted.store(true, Ordering::Relaxed);
            agent.shutdown();
        })
    }

    fn another(&self) -> Box<dyn Target> {
        let (wire, addresses) = (Wire::default(), Known::default());
        let (config, nobody) = (self.agent.config().clone(), Arc::new(Nobody));
        let names = SystemNames::new(self.family);
        Box::new(Webhook {
            agent: build::agent(config, &self.tls, &wire, &addresses, nobody, names),
            endpoint: self.endpoint.clone(),
            token: self.token.clone(),
            authorization: self.authorization.clone(),
            secrets: self.secrets.clone(),
            template: self.template.another(),
            proxy: self.proxy.clone(),
            tls: Arc::clone(&self.tls),
            wire,
            is_aborted: Arc::default(),
            addresses,
            kept_since: None,
            advised: Arc::clone(&self.advised),
            ..*self
        })
    }
}

impl Webhook {
    /// Whether a request may be made again at once and silently, after one over a connection that was kept: the webhook had
    /// closed it while it was idle, or has gone to another address. Nobody may have read the request.
    fn may_repeat(&self, Unanswered { error, sent }: &Unanswered) -> bool {
        match error {
            _ if self.is_aborted.load(Ordering::Relaxed) => false,
            Error::Io(error) if is_disconnect(error) => {
                *sent != Sent::All || self.wire.is_surely_unread()
            }
            Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
            _ => false,
        }
    }
}
