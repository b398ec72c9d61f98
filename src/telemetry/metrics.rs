//! `/metrics`: a snapshot in Prometheus' text format, 0.0.4.

use std::fmt::{Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::counters::{Reason, RequestResult};
use crate::telemetry::snapshot::{Forwarding, Snapshot, SourceState};

/// What the buffer has and may have.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferState {
    /// Bytes of events in it.
    pub bytes: usize,
    /// Events that it may have.
    pub limit_events: usize,
    /// Bytes that it may have.
    pub limit_bytes: usize,
}

/// The page.
pub fn render(now: &Snapshot, buffer: &BufferState, started: SystemTime) -> String {
    let mut page = Page::default();
    page.events(now);
    page.sources(&now.sources);
    page.buffer(now, buffer);
    page.webhook(now);
    page.gauge(
        "start_time_seconds",
        "When the agent started.",
        seconds(started),
    );
    page.family("build_info", "gauge", "The agent's version.");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.text
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn events(&mut self, now: &Snapshot) {
        let balance = &now.balance;
        self.family("events_received_total", "counter", "Events received.");
        for source in &now.sources {
            self.sample(
                "events_received_total",
                &[("source", &source.name)],
                source.received,
            );
        }
        let help = "Events that the webhook has taken.";
        self.counter("events_delivered_total", help, balance.delivered);
        self.family("events_dropped_total", "counter", "Events that were lost.");
        for reason in Reason::ALL {
            let events = balance.dropped_for(reason);
            self.sample(
                "events_dropped_total",
                &[("reason", &reason.label())],
                events,
            );
        }
        let help = "Events that the webhook did not take, which are lost too.";
        self.counter("events_rejected_total", help, balance.rejected);
        let help = "Events that were sent again though they may have arrived.";
        self.counter("redelivered_events_total", help, now.redelivered);
    }

    fn sources(&mut self, sources: &[SourceState]) {
        self.family("source_up", "gauge", "Whether the source can be read.");
        for source in sources {
            self.sample(
                "source_up",
                &[("source", &source.name)],
                u64::from(source.is_up),
            );
        }
        let name = "requests_refused_total";
        self.family(
            name,
            "counter",
            "Requests of clients that were refused; their events are in no other count.",
        );
        for source in sources {
            for (reason, requests) in &source.refused {
                let labels = [("source", &*source.name), ("reason", reason.label())];
                self.sample(name, &labels, requests);
            }
        }
        let name = "source_lost_bytes_total";
        self.family(
            name,
            "counter",
            "Bytes of the source that were lost before they were read.",
        );
        for source in sources {
            self.sample(name, &[("source", &source.name)], source.lost_bytes);
        }
        let lagging = || {
            sources
                .iter()
                .filter_map(|source| Some((&source.name, source.lag?)))
        };
        self.family(
            "source_lag_bytes",
            "gauge",
            "Bytes of the source that were not read yet.",
        );
        for (source, lag) in lagging() {
            self.sample("source_lag_bytes", &[("source", source)], lag.bytes);
        }
        let help = "For how long the oldest of them has been there.";
        self.family("source_lag_seconds", "gauge", help);
        for (source, lag) in lagging() {
            self.sample(
                "source_lag_seconds",
                &[("source", source)],
                lag.oldest.as_secs(),
            );
        }
    }

    fn buffer(&mut self, now: &Snapshot, buffer: &BufferState) {
        let help = "Events that were received and are not final.";
        self.gauge("buffered_events", help, now.balance.buffered());
        self.gauge("buffered_bytes", "Bytes of buffered events.", buffer.bytes);
        self.gauge(
            "buffer_limit_events",
            "Max buffered events.",
            buffer.limit_events,
        );
        self.gauge(
            "buffer_limit_bytes",
            "Max bytes of buffered events.",
            buffer.limit_bytes,
        );
    }

    fn webhook(&mut self, now: &Snapshot) {
        let help = "Requests to the webhook, by what became of them.";
        self.family("requests_total", "counter", help);
        for result in RequestResult::ALL {
            let requests = now.balance.requests(result);
            self.sample("requests_total", &[("result", result.label())], requests);
        }
        let help = "Whether the last request to the webhook got through.";
        self.gauge("webhook_up", help, u64::from(now.outage.is_none()));
        let is_on = matches!(now.forwarding, Some(Forwarding::On(_)));
        let help = "Whether there is a webhook; 0 while events are dropped.";
        self.gauge("webhook_enabled", help, u64::from(is_on));
        let help = "When the webhook last took events; 0 if it never did.";
        let last = now.last_delivery.map_or(0, seconds);
        self.gauge("last_delivery_timestamp_seconds", help, last);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string can't fail, here and below.
        let _ = writeln!(self.text, "# HELP s3_audit_webhook_{name} {help}");
        let _ = writeln!(self.text, "# TYPE s3_audit_webhook_{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "s3_audit_webhook_{name}");
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{text}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}
