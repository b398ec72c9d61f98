//! `/metrics`: a snapshot in Prometheus' text format, 0.0.4.

use std::fmt::Write as _;
use std::iter;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::counters::Reason;
use crate::telemetry::requests::{RequestResult, Requests};
use crate::telemetry::snapshot::{Forwarding, Lag, Snapshot, SourceState};

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
    page.spool(now);
    page.trail(now);
    page.webhook(now);
    page.clocks(now);
    let help = "When the agent started.";
    page.single("start_time_seconds", help, seconds(started));
    let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
    page.family("build_info", "The agent's version.", [(version, 1)]);
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
        let received = |source: &SourceState| source.received;
        let help = "Events received.";
        self.by_source("events_received_total", help, &now.sources, received);
        let help = "Events that the webhook has taken.";
        self.single("events_delivered_total", help, balance.delivered);
        let sources = now.sources.iter().map(|source| Some(&*source.name));
        // Of what was buffered, it is known only if there is no other.
        let unknown = (now.sources.len() != 1).then_some(None);
        let mut dropped = Vec::new();
        for (place, source) in sources.chain(unknown).enumerate() {
            for reason in Reason::ALL {
                let label = reason.label();
                let names = match source {
                    Some(name) => labels([("source", name), ("reason", label)]),
                    None => labels([("reason", label)]),
                };
                let place = source.map(|_| place);
                dropped.push((names, balance.dropped_from(place, reason)));
            }
        }
        let help =
            "Events that were lost; of several sources, those that were buffered have no source.";
        self.family("events_dropped_total", help, dropped);
        let help = "Events that the webhook did not take, which are lost too.";
        self.single("events_rejected_total", help, balance.rejected);
        let help = "Rejected events that were written to --reject-file.";
        self.single("rejected_saved_total", help, now.rejects.saved);
        let help = "Rejected events that could not be written to it.";
        self.single("rejected_unsaved_total", help, now.rejects.unsaved);
        let filtered = balance.filtered.iter();
        let filtered = filtered.map(|(rule, events)| (labels([("rule", rule)]), *events));
        let help = "Events that were not sent because of a rule, which is no loss.";
        self.family("filtered_total", help, filtered);
        let help = "Values in events that were masked.";
        self.single("redacted_values_total", help, balance.redacted);
        let help = "Events that were sent again though they may have arrived.";
        self.single("redelivered_events_total", help, now.redelivered);
        let help = "Events that were posted and are not acknowledged as indexed.";
        self.single("unacknowledged_events", help, now.posted);
    }

    fn sources(&mut self, sources: &[SourceState]) {
        let help = "Whether the source can be read.";
        self.by_source("source_up", help, sources, |source| source.is_up.into());
        let refused = sources.iter().flat_map(|source| {
            source.refused.iter().map(|(reason, requests)| {
                let names = [("source", &*source.name), ("reason", reason.label())];
                (labels(names), *requests)
            })
        });
        let help = "Requests of clients that were refused; their events are in no other count.";
        self.family("requests_refused_total", help, refused);
        let help = "Bytes of the source that were lost before they were read.";
        let lost = |source: &SourceState| source.lost_bytes;
        self.by_source("source_lost_bytes_total", help, sources, lost);
        let help = "Files that were taken for copies of others, and not read.";
        let copies = |source: &SourceState| source.copies;
        self.by_source("source_copies_total", help, sources, copies);
        let help = "Bytes of removed files that are kept open until they are read.";
        let deleted = |source: &SourceState| source.deleted_bytes;
        self.by_source("source_deleted_held_bytes", help, sources, deleted);
        let lag = |value: fn(&Lag) -> u64| {
            let lags = sources.iter().filter_map(move |source| {
                Some((
                    labels([("source", &*source.name)]),
                    value(source.lag.as_ref()?),
                ))
            });
            lags.collect::<Vec<_>>()
        };
        let help = "Bytes of the source that were not read yet.";
        self.family("source_lag_bytes", help, lag(|lag| lag.bytes));
        let help = "For how long the oldest of them has been there.";
        let ages = lag(|lag| lag.oldest.as_secs());
        self.family("source_lag_seconds", help, ages);
    }

    fn buffer(&mut self, now: &Snapshot, buffer: &BufferState) {
        let help = "Events in memory that are not final.";
        let in_spool = now.spool.map_or(0, |spool| spool.events);
        let in_memory = now.balance.buffered().saturating_sub(in_spool);
        self.single("buffered_events", help, in_memory);
        let help = "Bytes of buffered events.";
        self.single("buffered_bytes", help, buffer.bytes as u64);
        let help = "Max buffered events.";
        self.single("buffer_limit_events", help, buffer.limit_events as u64);
        let help = "Max bytes of buffered events.";
        self.single("buffer_limit_bytes", help, buffer.limit_bytes as u64);
    }

    fn spool(&mut self, now: &Snapshot) {
        let Some(spool) = &now.spool else {
            return;
        };
        let help = "Events of earlier starts that were found in the spool.";
        self.single("events_recovered_total", help, now.balance.recovered);
        let help = "Events in the spool that are not in memory.";
        self.single("spool_events", help, spool.events);
        let help = "Bytes of the spool on disk.";
        self.single("spool_bytes", help, spool.bytes);
        let help = "Max bytes of the spool.";
        self.single("spool_limit_bytes", help, spool.limit);
        let help = "For how long the oldest event of the spool has been there.";
        self.single("spool_oldest_age_seconds", help, spool.oldest.as_secs());
        let help =
            "Damaged bytes of the spool; events that are missing for that are dropped as corrupt.";
        self.single("spool_corrupt_bytes_total", help, spool.corrupt_bytes);
    }

    fn trail(&mut self, now: &Snapshot) {
        let Some(trail) = &now.trail else { return };
        let stream = labels([("stream", &trail.stream)]);
        self.family("trail_info", "The stream of the trail.", [(stream, 1)]);
        let help = "The number of the trail that was given last.";
        self.single("trail_last_number", help, trail.last);
        let help = "Records of the trail that were not delivered yet.";
        self.single("trail_pending_records", help, trail.pending);
    }

    fn clocks(&mut self, now: &Snapshot) {
        let sources = now.sources.iter();
        let sources = sources.map(|source| (&*source.name, source.clock_skew));
        let all = [("webhook", now.clock_skew)].into_iter().chain(sources);
        let known = all.filter_map(|(of, skew)| Some((labels([("of", of)]), skew?)));
        let known: Vec<_> = known.collect();
        let help = "Seconds between this host's clock and the webhook's, or the time of a source's events when they come.";
        self.family("clock_skew_seconds", help, known);
    }

    fn webhook(&mut self, now: &Snapshot) {
        let requests = RequestResult::ALL.map(|result| {
            let requests = now.balance.requests.of(result);
            (labels([("result", result.label())]), requests)
        });
        let help = "Requests to the webhook, by what became of them.";
        self.family("requests_total", help, requests);
        self.durations(&now.balance.requests);
        let failures = now.balance.requests.failures();
        let failures = failures.map(|(cause, count)| (labels([("cause", cause)]), count));
        let help = "Requests to the webhook that failed, by cause.";
        self.family("request_failures_total", help, failures);
        let help = "Bytes of events, before compression, in requests that the webhook has taken.";
        self.single(
            "delivered_bytes_total",
            help,
            now.balance.requests.delivered_bytes,
        );
        let help = "Whether the last request to the webhook got through.";
        let is_awaited = matches!(now.forwarding, Some(Forwarding::Awaited(_)));
        let is_up = now.outage.is_none() && !is_awaited;
        let endpoints = now.endpoints.iter();
        let endpoints =
            endpoints.map(|(name, outage)| (labels([("endpoint", name)]), outage.is_none().into()));
        let all = iter::once((String::new(), is_up.into()));
        self.family("webhook_up", help, all.chain(endpoints));
        let is_on = is_awaited || matches!(now.forwarding, Some(Forwarding::On(_)));
        let help = "Whether there is a webhook; 0 while events are dropped.";
        self.single("webhook_enabled", help, is_on.into());
        let help = "Since when the settings file is rejected and the previous settings are in force; 0 if it is not.";
        let rejected = now.settings_rejected.as_ref();
        let rejected =
            rejected.and_then(|outage| SystemTime::now().checked_sub(outage.since.elapsed()));
        let rejected = rejected.map_or(0, seconds);
        self.single("settings_rejected_timestamp_seconds", help, rejected);
        let help = "When the webhook last took events; 0 if it never did.";
        let last = now.last_delivery.map_or(0, seconds);
        self.single("last_delivery_timestamp_seconds", help, last);
        let help = "When a certificate on the last new connection to the webhook expires.";
        let expiries = now
            .expiries
            .each()
            .into_iter()
            .filter_map(|(name, _, at)| Some((labels([("certificate", name)]), seconds(at?))));
        self.family("certificate_expiry_timestamp_seconds", help, expiries);
    }

    fn durations(&mut self, requests: &Requests) {
        let name = "s3_audit_webhook_request_duration_seconds";
        let (buckets, sum, count) = requests.histogram();
        let _ = writeln!(
            self.text,
            "# HELP {name} How long requests to the webhook took."
        );
        let _ = writeln!(self.text, "# TYPE {name} histogram");
        for (bound, count) in buckets {
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(self.text, "{name}_sum {sum}\n{name}_count {count}");
    }

    fn by_source(
        &mut self,
        name: &str,
        help: &str,
        sources: &[SourceState],
        value: impl Fn(&SourceState) -> u64,
    ) {
        let samples = sources.iter().map(|source| {
            let label = labels([("source", &*source.name)]);
            (label, value(source))
        });
        self.family(name, help, samples);
    }

    fn single(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, [(String::new(), value)]);
    }

    /// A metric's samples by their labels. One without samples is left out. As Prometheus has it, counters are those whose names end in
    /// `_total`.
    fn family(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        let kind = if name.ends_with("_total") {
            "counter"
        } else {
            "gauge"
        };
        let mut samples = samples.into_iter().peekable();
        // Writing to a string can't fail.
        if samples.peek().is_some() {
            let _ = writeln!(self.text, "# HELP s3_audit_webhook_{name} {help}");
            let _ = writeln!(self.text, "# TYPE s3_audit_webhook_{name} {kind}");
        }
        for (labels, value) in samples {
            let _ = writeln!(self.text, "s3_audit_webhook_{name}{labels} {value}");
        }
    }
}

/// Labels as a sample has them.
fn labels<const COUNT: usize>(labels: [(&str, &str); COUNT]) -> String {
    let labels = labels.map(|(label, text)| {
        let text = text
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        format!("{label}=\"{text}\"")
    });
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::counters::Refusal;
    use crate::telemetry::expiry::Expiries;
    use crate::telemetry::requests::Finished;
    use crate::telemetry::snapshot::TrailState;
    use crate::telemetry::{Report, ReportedSource};

    #[test]
    fn the_page_has_what_was_counted() {
        let source = ReportedSource {
            name: "file:a\"b\\c\nd".into(),
            resumes: true,
        };
        let report = Report::new(Duration::from_secs(10), vec![source]);
        let buffer = BufferState {
            bytes: 17,
            ..BufferState::default()
        };
        let page = || render(&report.snapshot(), &buffer, UNIX_EPOCH);
        assert!(!page().contains("refused") && !page().contains("lag"));
        assert!(!page().contains("trail"));
        report.received(0, 10);
        report.delivered(3);
        report.rejected(2, "400");
        report.rejects_saved(1);
        report.rejects_unsaved(4, "full");
        report.dropped(Reason::TooLarge, Some(0), 1);
        report.filtered(&"user=\"a\"".into(), 1);
        report.redacted(5);
        report.redelivered(3, "timeout");
        report.request_finished(Finished {
            result: RequestResult::Delivered,
            cause: Some("timeout"),
            took: Duration::from_millis(7),
            bytes: 300,
        });
        report.request_refused(0, Refusal::Forbidden, None);
        report.source_up(0, false);
        report.source_copied(0);
        let lag = Lag {
            bytes: 99,
            oldest: Duration::from_secs(7),
            catching_up: None,
        };
        report.source_lag(0, lag);
        report.source_lost_bytes(0, 5, "truncated");
        report.delivery_failed("no", None, Duration::ZERO);
        report.webhook_clock(0, -7);
        report.event_time(0, Some(90));
        let expiries = Expiries {
            client: Some(UNIX_EPOCH + Duration::from_secs(77)),
            ..Expiries::default()
        };
        report.certificates("https://hec".into(), expiries);
        report.trail(TrailState {
            stream: "abc".into(),
            last: 9,
            pending: 2,
        });
        let page = page();
        let name = "source=\"file:a\\\"b\\\\c\\nd\"";
        for line in [
            format!("events_received_total{{{name}}} 10"),
            "events_delivered_total 3".into(),
            format!("events_dropped_total{{{name},reason=\"too_large\"}} 1"),
            "events_rejected_total 2".into(),
            "filtered_total{rule=\"user=\\\"a\\\"\"} 1".into(),
            "rejected_saved_total 1".into(),
            "rejected_unsaved_total 4".into(),
            "redacted_values_total 5".into(),
            "redelivered_events_total 3".into(),
            "requests_total{result=\"delivered\"} 1".into(),
            "request_duration_seconds_bucket{le=\"0.005\"} 0".into(),
            "request_duration_seconds_bucket{le=\"0.02\"} 1".into(),
            "request_duration_seconds_sum 0.007".into(),
            "request_duration_seconds_count 1".into(),
            "request_failures_total{cause=\"timeout\"} 1".into(),
            "delivered_bytes_total 300".into(),
            "settings_rejected_timestamp_seconds 0".into(),
            format!("requests_refused_total{{{name},reason=\"forbidden\"}} 1"),
            format!("source_up{{{name}}} 0"),
            format!("source_lag_bytes{{{name}}} 99"),
            format!("source_lag_seconds{{{name}}} 7"),
            format!("source_copies_total{{{name}}} 1"),
            format!("source_lost_bytes_total{{{name}}} 5"),
            "buffered_events 3".into(),
            "buffered_bytes 17".into(),
            "webhook_up 0".into(),
            "certificate_expiry_timestamp_seconds{certificate=\"client\"} 77".into(),
            "trail_info{stream=\"abc\"} 1".into(),
            "trail_last_number 9".into(),
            "clock_skew_seconds{of=\"webhook\"} 7".into(),
            format!("clock_skew_seconds{{of=\"{}\"}} 90", "file:a\\\"b\\\\c\\nd"),
            "trail_pending_records 2".into(),
        ] {
            let line = format!("s3_audit_webhook_{line}\n");
            assert!(page.contains(&line), "{line}{page}");
        }
    }
}
