//! The webhook as delivery sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Webhook;
use super::advice::{FLUENT_BIT_RAW, LATE, NO_TIME, NO_TIME_THERE};
use crate::delivery::batch::Batch;
use crate::delivery::compression::Packed;
use crate::delivery::outcome::{DeliveryError, Outcome};
use crate::delivery::step::Terms;
use crate::delivery::target::{Abort, Numbering, Target};
use crate::telemetry::expiry::Expiries;

/// What a request may take beyond its timeout, on a very slow machine.
const SLACK: Duration = Duration::from_secs(30);

impl Target for Webhook {
    fn prepare(&mut self, events: &Batch, max_bytes: usize) -> Option<Packed> {
        let encoder = &mut self.template.encoder;
        let made = self.ahead.take(events, max_bytes, encoder);
        made.or_else(|| encoder.encode(events, max_bytes))
    }

    fn prepare_ahead(&mut self, next: Batch, max_bytes: usize) {
        self.ahead.begin(next, max_bytes, &self.template.encoder);
    }

    fn post(&mut self, events: &Batch, channel: Option<u64>) -> Outcome {
        let result = self.over_kept_connection(|webhook| webhook.try_post(events, channel));
        match result {
            Ok(answer) => {
                self.is_one_record = self.makes_one_record(&answer);
                self.is_late = answer.late;
                let outcome = answer.outcome(&self.question(events), SystemTime::now());
                match &outcome {
                    // Splunk's channels should stay with their indexer.
                    Outcome::Failed(error) if error.retry_after.is_none() => {
                        if channel.is_none() {
                            self.leave_connection();
                        }
                    }
                    // Who asks for time works, too.
                    _ => self.addresses.reached(),
                }
                outcome
            }
            Err(unanswered) => Outcome::Failed(self.error(&unanswered)),
        }
    }

    fn ask(&mut self, channel: u64, ids: &[u64]) -> Result<Vec<u64>, DeliveryError> {
        self.ask_indexed(channel, ids)
    }

    fn has_moved(&mut self) -> bool {
        self.session.borrow_mut().has_moved()
    }

    fn advice(&mut self) -> Option<&'static str> {
        let encoder = &self.template.encoder;
        let no_time = match encoder.has_time_path() {
            true => NO_TIME_THERE,
            false => NO_TIME,
        };
        let seen = [
            (self.is_one_record, FLUENT_BIT_RAW),
            (self.is_late, LATE),
            (encoder.saw_event_without_time(), no_time),
        ];
        let places = self.shared.advised.iter().zip(seen);
        places
            .filter(|(_, (is_so, _))| *is_so)
            .find_map(|(advised, (_, text))| {
                (!advised.swap(true, Ordering::Relaxed)).then_some(text)
            })
    }

    fn clock_skew(&mut self) -> Option<i64> {
        self.skew.take()
    }

    fn endpoint(&self) -> String {
        self.shared.endpoint.to_string()
    }

    fn expiries(&mut self) -> Option<Expiries> {
        self.wire.take_expiries()
    }

    fn time_limit(&self) -> Duration {
        // Over a connection that the webhook had closed, it is tried twice.
        self.shared
            .timeouts
            .request
            .saturating_mul(2)
            .saturating_add(SLACK)
    }

    fn terms(&self) -> Terms {
        let encoder = &self.template.encoder;
        Terms {
            max_events: encoder.format().max_events(),
            overhead: encoder.overhead(),
            is_compressed: encoder.content_encoding().is_some(),
            timeout: self.shared.timeouts.request,
            ..Terms::default()
        }
    }

    fn cut(&self) -> Abort {
        let (agent, is_aborted) = (self.agent.clone(), Arc::clone(&self.is_aborted));
        Box::new(move || {
            is_aborted.store(true, Ordering::Relaxed);
            agent.shutdown();
        })
    }

    fn number(&mut self, numbering: &Numbering) {
        self.template.encoder.number(numbering);
    }

    fn another(&self) -> Box<dyn Target> {
        let (shared, template) = (Arc::clone(&self.shared), self.template.clone());
        let config = self.agent.config().clone();
        Box::new(Webhook::connecting(shared, template, config))
    }
}
