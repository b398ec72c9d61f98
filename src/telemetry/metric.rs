//! Every metric, declared once: `/metrics` and the page of metrics are generated from this.

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Without [`PREFIX`].
    pub name: &'static str,
    /// The labels that its samples may have, separated by blanks.
    pub labels: &'static str,
    /// What it means, in a sentence.
    pub help: &'static str,
}

/// What all names begin with.
pub const PREFIX: &str = "s3_audit_webhook_";

impl Metric {
    /// Its type, in Prometheus' words. Counters are those whose names end in `_total`, as Prometheus has it.
    pub fn kind(&self) -> &'static str {
        match self.name {
            "request_duration_seconds" => "histogram",
            name if name.ends_with("_total") => "counter",
            _ => "gauge",
        }
    }
}

/// All of them, in the order in which the page lists them.
pub fn metrics() -> impl Iterator<Item = Metric> {
    DECLARATIONS.lines().filter_map(|line| {
        let (head, help) = line.split_once(": ")?;
        let (name, labels) = head.split_once(' ').unwrap_or((head, ""));
        Some(Metric { name, labels, help })
    })
}

/// A line for each: name, labels, and the help after a colon. A single text makes the program 14 KB smaller than a
/// table of texts did.
const DECLARATIONS: &str = "\
events_received_total source: Events received.
events_delivered_total: Events that the webhook has taken.
events_dropped_total source reason: Events that were lost; with several sources, those lost from the buffer have no source.
events_rejected_total: Events that the webhook rejected, which are lost too.
rejected_saved_total: Rejected events that were written to --reject-file.
rejected_unsaved_total: Rejected events that could not be written to --reject-file.
filtered_total rule: Events that were not sent because of a rule, which is no loss.
redacted_values_total: Values in events that were masked.
redelivered_events_total: Events that were sent again though they may have arrived.
unacknowledged_events: Events that were posted and are not acknowledged as indexed yet.
source_up source: 1 if the source can be read, 0 if not.
requests_refused_total source reason: Requests of clients that the agent refused; their events are in no other count, but for a broken one of a stream.
source_lost_bytes_total source: Bytes that were lost before the source had read them.
source_copies_total source: Files that were taken for copies of others, and not read.
source_deleted_held_bytes source: Bytes of removed files that are kept open until they are read.
source_lag_bytes source: Bytes of files that the source has not read yet.
source_lag_seconds source: Age of the oldest of these bytes.
buffered_events: Events in memory that are neither delivered nor lost yet.
buffered_bytes: Bytes of events in memory.
buffer_limit_events: Max events in memory.
buffer_limit_bytes: Max bytes of events in memory.
events_recovered_total: Events that the start found in the spool.
spool_events: Events that are in the spool only, and not in memory.
spool_bytes: Bytes of the spool on disk.
spool_limit_bytes: Max bytes of the spool.
spool_oldest_age_seconds: Age of the oldest event in the spool.
spool_corrupt_bytes_total: Damaged bytes of the spool; the events lost with them are dropped as corrupt.
trail_info stream: 1; its label is the name of this agent's stream.
trail_last_number: The last number that the trail gave to an event or a record.
trail_pending_records: Records of the trail that are not delivered yet.
requests_total result: Requests to the webhook, by result: retried if some of their events are sent again, else rejected if some were rejected.
request_duration_seconds le: How long requests to the webhook took.
request_failures_total cause: Requests to the webhook of which some events are sent again, by cause.
delivered_bytes_total: Bytes of the events in events_delivered_total, before compression.
webhook_up endpoint: 0 if the last request failed; 1 if not, or if none was made yet; with several endpoints, also of each.
webhook_enabled: 1 if there is a webhook; 0 if not: files and the spool wait, other events are dropped.
settings_rejected_timestamp_seconds: Since when the settings file is invalid and the previous settings are in force; 0 if it is valid.
last_delivery_timestamp_seconds: When the webhook last took events; 0 if it never did.
certificate_expiry_timestamp_seconds certificate: When the certificate expires, as the last new connection to the webhook has shown it.
clock_skew_seconds of: Seconds between this host's clock and that of the webhook, or the times of a source's events of the last 5 minutes.
start_time_seconds: When the agent started.
build_info version: 1; its label is the agent's version.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_the_type_that_its_name_says() {
        for (name, kind) in [
            ("request_duration_seconds", "histogram"),
            ("events_received_total", "counter"),
            ("source_up", "gauge"),
        ] {
            let metric = metrics().find(|metric| metric.name == name).unwrap();
            assert_eq!(metric.kind(), kind);
        }
    }
}
