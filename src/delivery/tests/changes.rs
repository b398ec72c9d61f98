//! Other settings while a request ends: threads around the machine, since what counts is what they lock.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use super::*;
use crate::buffer::queue::queue;
use crate::delivery::compression::Packed;
use crate::delivery::sender::{self, Line, Sender, Senders};
use crate::delivery::target::{Abort, Numbering, Target, Targets};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::Report;
use crate::telemetry::watchdog::Watchdog;

/// What happens once, between the end of a request that failed and what follows from that.
type Meanwhile = Arc<dyn Fn() + Send + Sync>;

/// Fails, if something is to happen meanwhile.
#[derive(Clone)]
struct Webhook {
    meanwhile: Option<Meanwhile>,
    is_asked: bool,
    has_failed: bool,
}

impl Target for Webhook {
    fn prepare(&mut self, _: &Batch, _: usize) -> Option<Packed> {
        None
    }

    fn post(&mut self, _: &Batch, _: Option<u64>) -> Outcome {
        if self.meanwhile.is_none() {
            return Outcome::Delivered;
        }
        if self.is_asked {
            return Outcome::Accepted(1);
        }
        self.has_failed = true;
        failed(Cause::Unreachable)
    }

    fn ask(&mut self, _: u64, _: &[u64]) -> Result<Vec<u64>, DeliveryError> {
        self.has_failed = true;
        Err(DeliveryError::transient(Cause::Settings, "not allowed"))
    }

    fn has_moved(&mut self) -> bool {
        if let Some(meanwhile) = self.meanwhile.as_ref().filter(|_| self.has_failed) {
            meanwhile();
        }
        false
    }

    fn time_limit(&self) -> Duration {
        TIMEOUT
    }

    fn terms(&self) -> Terms {
        terms()
    }

    fn cut(&self) -> Abort {
        Box::new(|| ())
    }

    fn number(&mut self, _: &Numbering) {}

    fn another(&self) -> Box<dyn Target> {
        Box::new(self.clone())
    }
}

/// An event goes to a webhook that fails, and while the request ends, there is another one. Returns what is known then.
fn replaced(is_asked: bool) -> Arc<Report> {
    let report = Arc::new(Report::new(Duration::from_secs(1), Vec::new()));
    let (producer, consumer) = queue(Extent {
        events: 10,
        bytes: 1000,
    });
    producer.push(b"{}\n", || ()).unwrap();
    drop(producer);
    let lines = vec![Line::default()];
    let meanwhile = {
        let (lines, report) = (lines.clone(), Arc::clone(&report));
        move || {
            let works = Webhook {
                meanwhile: None,
                is_asked: false,
                has_failed: false,
            };
            let targets = Targets::one(Box::new(works));
            sender::change(&lines, 2, Some(targets), &report);
        }
    };
    let fails = Webhook {
        meanwhile: Some(Arc::new(meanwhile)),
        is_asked,
        has_failed: false,
    };
    let senders = Senders {
        consumer,
        delivery: Mutex::new(Delivery::new(settings(), Backoff::new(MIN, MAX, 7))),
        report: Arc::clone(&report),
        watchdog: Watchdog::default(),
        shutdown: ShutdownSignal::new().unwrap(),
        abort: ShutdownSignal::new().unwrap(),
        rejects: None,
        lines,
        running: AtomicUsize::new(1),
    };
    let sender = Sender {
        senders: Arc::new(senders),
        place: 0,
        targets: Some(Targets {
            ack_timeout: is_asked.then_some(TIMEOUT),
            ..Targets::one(Box::new(fails))
        }),
        is_awaited: false,
        spool: None,
    };
    assert!(sender.run(), "the last one");
    report
}

#[test]
fn a_failure_that_ends_while_there_are_other_settings_is_none_of_the_new_webhook() {
    for is_asked in [false, true] {
        let report = replaced(is_asked).snapshot();
        assert_eq!(report.balance.delivered, 1, "{is_asked}");
        assert_eq!(report.last_error, None, "{is_asked}");
    }
}
