//! `/metrics`: a snapshot in Prometheus' text format, 0.0.4.

use std::fmt::Write as _;
use std::iter;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::telemetry::counters::Reason;
use crate::telemetry::metric::{PREFIX, metrics};
use crate::telemetry::requests::{RequestResult, Requests};
use crate::telemetry::snapshot::{Forwarding, Lag, Snapshot, SourceState};

/// How full the buffer is, and its limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferState {
    /// Bytes of events in it.
    pub bytes: usize,
    /// The most events that it may have.
    pub limit_events: usize,
    /// The most bytes that it may have.
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
    page.single("start_time_seconds", seconds(started));
    let version = labels([("version", env!("CARGO_PKG_VERSION"))]);
    page.family("build_info", [(version, 1)]);
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
        self.by_source("events_received_total", &now.sources, received);
        self.single("events_delivered_total", balance.delivered);
        let sources = now.sources.iter().map(|source| Some(&*source.name));
        // Buffered events that are dropped have a known source only if there is just one.
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
        self.family("events_dropped_total", dropped);
        self.single("events_rejected_total", balance.rejected);
        self.single("rejected_saved_total", now.rejects.saved);
        self.single("rejected_unsaved_total", now.rejects.unsaved);
        let filtered = balance.filtered.iter();
        let filtered = filtered.map(|(rule, events)| (labels([("rule", rule)]), *events));
        self.family("filtered_total", filtered);
        self.single("redacted_values_total", balance.redacted);
        self.single("redelivered_events_total", now.redelivered);
        self.single("unacknowledged_events", now.posted);
    }

    fn sources(&mut self, sources: &[SourceState]) {
        self.by_source("source_up", sources, |source| source.is_up.into());
        let refused = sources.iter().flat_map(|source| {
            source.refused.iter().map(|(reason, requests)| {
                let names = [("source", &*source.name), ("reason", reason.label())];
                (labels(names), *requests)
            })
        });
        self.family("requests_refused_total", refused);
        let lost = |source: &SourceState| source.lost_bytes;
        self.by_source("source_lost_bytes_total", sources, lost);
        let copies = |source: &SourceState| source.copies;
        self.by_source("source_copies_total", sources, copies);
        let deleted = |source: &SourceState| source.deleted_bytes;
        self.by_source("source_deleted_held_bytes", sources, deleted);
        let lag = |value: fn(&Lag) -> u64| {
            let lags = sources.iter().filter_map(move |source| {
                Some((
                    labels([("source", &*source.name)]),
                    value(source.lag.as_ref()?),
                ))
            });
            lags.collect::<Vec<_>>()
        };
        self.family("source_lag_bytes", lag(|lag| lag.bytes));
        let ages = lag(|lag| lag.oldest.as_secs());
        self.family("source_lag_seconds", ages);
    }

    fn buffer(&mut self, now: &Snapshot, buffer: &BufferState) {
        let in_spool = now.spool.map_or(0, |spool| spool.events);
        let in_memory = now.balance.buffered().saturating_sub(in_spool);
        self.single("buffered_events", in_memory);
        self.single("buffered_bytes", buffer.bytes as u64);
        self.single("buffer_limit_events", buffer.limit_events as u64);
        self.single("buffer_limit_bytes", buffer.limit_bytes as u64);
    }

    fn spool(&mut self, now: &Snapshot) {
        let Some(spool) = &now.spool else {
            return;
        };
        self.single("events_recovered_total", now.balance.recovered);
        self.single("spool_events", spool.events);
        self.single("spool_bytes", spool.bytes);
        self.single("spool_limit_bytes", spool.limit);
        self.single("spool_oldest_age_seconds", spool.oldest.as_secs());
        self.single("spool_corrupt_bytes_total", spool.corrupt_bytes);
    }

    fn trail(&mut self, now: &Snapshot) {
        let Some(trail) = &now.trail else { return };
        let stream = labels([("stream", &trail.stream)]);
        self.family("trail_info", [(stream, 1)]);
        self.single("trail_last_number", trail.last);
        self.single("trail_pending_records", trail.pending);
    }

    fn clocks(&mut self, now: &Snapshot) {
        let sources = now.sources.iter();
        let sources = sources.map(|source| (&*source.name, source.clock_skew));
        let all = [("webhook", now.clock_skew)].into_iter().chain(sources);
        let known = all.filter_map(|(of, skew)| Some((labels([("of", of)]), skew?)));
        let known: Vec<_> = known.collect();
        self.family("clock_skew_seconds", known);
    }

    fn webhook(&mut self, now: &Snapshot) {
        let requests = RequestResult::ALL.map(|result| {
            let requests = now.balance.requests.of(result);
            (labels([("result", result.label())]), requests)
        });
        self.family("requests_total", requests);
        self.durations(&now.balance.requests);
        let failures = now.balance.requests.failures();
        let failures = failures.map(|(cause, count)| (labels([("cause", cause)]), count));
        self.family("request_failures_total", failures);
        self.single("delivered_bytes_total", now.balance.delivered_bytes);
        let is_awaited = matches!(now.forwarding, Some(Forwarding::Awaited(_)));
        let is_up = now.outage.is_none() && !is_awaited;
        let endpoints = now.endpoints.iter();
        let endpoints =
            endpoints.map(|(name, outage)| (labels([("endpoint", name)]), outage.is_none().into()));
        let all = iter::once((String::new(), is_up.into()));
        self.family("webhook_up", all.chain(endpoints));
        let is_on = is_awaited || matches!(now.forwarding, Some(Forwarding::On(_)));
        self.single("webhook_enabled", is_on.into());
        let rejected = now.settings_rejected.as_ref();
        let rejected =
            rejected.and_then(|outage| SystemTime::now().checked_sub(outage.since.elapsed()));
        let rejected = rejected.map_or(0, seconds);
        self.single("settings_rejected_timestamp_seconds", rejected);
        let last = now.last_delivery.map_or(0, seconds);
        self.single("last_delivery_timestamp_seconds", last);
        let expiries = now
            .expiries
            .each()
            .into_iter()
            .filter_map(|(name, _, at)| Some((labels([("certificate", name)]), seconds(at?))));
        self.family("certificate_expiry_timestamp_seconds", expiries);
    }

    fn durations(&mut self, requests: &Requests) {
        let name = "request_duration_seconds";
        let (buckets, sum, count) = requests.histogram();
        self.head(name);
        for (bound, count) in buckets {
            let _ = writeln!(self.text, "{PREFIX}{name}_bucket{{le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(
            self.text,
            "{PREFIX}{name}_sum {sum}\n{PREFIX}{name}_count {count}"
        );
    }

    fn by_source(
        &mut self,
        name: &str,
        sources: &[SourceState],
        value: impl Fn(&SourceState) -> u64,
    ) {
        let samples = sources.iter().map(|source| {
            let label = labels([("source", &*source.name)]);
            (label, value(source))
        });
        self.family(name, samples);
    }

    fn single(&mut self, name: &str, value: u64) {
        self.family(name, [(String::new(), value)]);
    }

    /// A metric's samples, by their labels. A metric without samples is left out.
    fn family(&mut self, name: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_some() {
            self.head(name);
        }
        for (labels, value) in samples {
            // Writing to a string can't fail.
            let _ = writeln!(self.text, "{PREFIX}{name}{labels} {value}");
        }
    }

    fn head(&mut self, name: &str) {
        let metric = metrics().find(|metric| metric.name == name);
        debug_assert!(metric.is_some(), "{name} is not declared");
        if let Some(metric) = metric {
            let (help, kind) = (metric.help, metric.kind());
            let _ = writeln!(
                self.text,
                "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}"
            );
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
    use crate::telemetry::metric::Metric;
    use crate::telemetry::requests::{Cause, Finished};
    use crate::telemetry::snapshot::{SpoolState, TrailState};
    use crate::telemetry::{Report, ReportedSource};

    #[test]
    fn a_webhook_that_is_awaited_is_enabled_and_not_up() {
        let report = Report::new(Duration::from_secs(10), Vec::new());
        for (forwarding, is_up, is_enabled) in [
            (Forwarding::On("a".into()), 1, 1),
            (Forwarding::Awaited("token".into()), 0, 1),
            (Forwarding::Off("disabled".into()), 1, 0),
        ] {
            report.forwards(forwarding, "");
            let page = render(&report.snapshot(), &BufferState::default(), UNIX_EPOCH);
            for line in [
                format!("{PREFIX}webhook_up {is_up}\n"),
                format!("{PREFIX}webhook_enabled {is_enabled}\n"),
            ] {
                assert!(page.contains(&line), "{line}");
            }
        }
    }

    #[test]
    fn the_page_has_what_was_counted() {
        let source = ReportedSource {
            name: "file:a\"b\\c\nd".into(),
            resumes: true.into(),
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
        report.delivered(3, 300);
        report.rejected(2, "400");
        report.rejects_saved(1);
        report.rejects_unsaved(4, "full");
        report.dropped(Reason::TooLarge, Some(0), 1);
        report.filtered(&"user=\"a\"".into(), 1);
        report.redacted(5);
        report.redelivered(3, "timeout");
        report.request_finished(Finished {
            result: RequestResult::Delivered,
            cause: Some(Cause::Timeout),
            took: Duration::from_millis(7),
        });
        report.request_refused(0, Refusal::Forbidden, None);
        report.source_up(0, false);
        report.source_copied(0);
        let lag = Lag {
            bytes: 99,
            oldest: Duration::from_secs(7),
            unreadable: None,
            catching_up: None,
        };
        report.source_lag(0, lag);
        report.source_lost_bytes(0, 5, "truncated");
        report.delivery_failed("no", None, Duration::ZERO);
        report.webhook_clock(0, -7);
        report.spool(SpoolState::default());
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
        let unknown = "events_dropped_total{reason=";
        assert!(!page.contains(unknown), "a single source is known");
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
        every_declared_metric_is_there(&page);
    }

    fn every_declared_metric_is_there(page: &str) {
        let heads = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let heads = heads.filter_map(|head| head.strip_prefix(PREFIX)?.split_once(' '));
        let declared = metrics().map(|metric| (metric.name, metric.kind()));
        assert!(heads.eq(declared), "{page}");
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, labels) = line
                .rsplit_once(' ')
                .unwrap()
                .0
                .split_once('{')
                .unwrap_or((line, ""));
            let is_its = |metric: &Metric| name.starts_with(&format!("{PREFIX}{}", metric.name));
            let metric = metrics().find(is_its).unwrap();
            for label in labels
                .split(',')
                .filter_map(|label| Some(label.split_once('=')?.0))
            {
                assert!(
                    metric.labels.split(' ').any(|known| known == label),
                    "{line}"
                );
            }
        }
    }
}
