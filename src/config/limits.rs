//! Limits on options' values, alone and together.

use std::time::Duration;

use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::options::{RunOptions, WebhookOptions};
use crate::config::provenance::{Origin, Provenance};
use crate::source::HecInput;
use crate::text::quantity::{HumanDuration, Size};
use crate::webhook::encode::{Compressed, Format};

const MIN_TIME: Duration = Duration::from_millis(1);
/// Events and bodies are held in memory as a whole.
const MAX_OBJECT_BYTES: usize = 1 << 30;
/// Each is a thread, and memory for a body.
const MAX_CONNECTIONS: usize = 64;
const MAX_BUFFER_BYTES: usize = 1 << 40;
const MIN_SPOOL_BYTES: usize = 1 << 20;
/// Hardly any event is shorter, so that the limit is effectively in bytes.
const SHORT_EVENT: usize = 64;
/// Events are rarely compressed by more than this factor.
const PACKED_PART: usize = 8;

impl RunOptions {
    /// `--buffer-events`, or the default that follows from `--buffer-bytes`.
    pub fn buffer_events(&self) -> usize {
        let default = || self.buffer_bytes.div_ceil(SHORT_EVENT);
        self.buffer_events.unwrap_or_else(default)
    }

    /// Whether envelopes of HTTP Event Collector that come in are removed: `--hec-input`, or what suits `--format`.
    pub fn unwraps_envelopes(&self) -> bool {
        match self.hec_input {
            Some(input) => input == HecInput::Unwrap,
            None => self.webhook.format != Format::Hec,
        }
    }

    /// `--batch-raw-bytes`, or the default that follows from `--batch-bytes`.
    pub fn batch_raw_bytes(&self) -> usize {
        let default = || self.batch_bytes.saturating_mul(PACKED_PART);
        self.batch_raw_bytes.unwrap_or_else(default)
    }

    /// The most bytes that a body's events may have.
    pub fn body_bytes(&self) -> usize {
        match self.webhook.compress {
            Compressed::No => self.batch_bytes,
            Compressed::Gzip(_) => self.batch_raw_bytes(),
        }
    }
}

/// Checks the limits of `run`.
///
/// # Errors
/// Names the option whose value can't work, alone or together with another one.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<(), UsageError> {
    for (option, value, max) in [
        (
            Opt::MaxEventBytes,
            options.max_event_bytes,
            MAX_OBJECT_BYTES,
        ),
        (Opt::MaxBodyBytes, options.max_body_bytes, MAX_OBJECT_BYTES),
        (Opt::BufferBytes, options.buffer_bytes, MAX_BUFFER_BYTES),
        (Opt::BufferEvents, options.buffer_events(), usize::MAX),
        (Opt::BatchEvents, options.batch_events, usize::MAX),
        (Opt::BatchBytes, options.batch_bytes, usize::MAX),
        (Opt::BatchRawBytes, options.batch_raw_bytes(), usize::MAX),
        (Opt::RejectBytes, options.reject_bytes, usize::MAX),
        (Opt::Connections, options.connections, usize::MAX),
        (
            Opt::ListenConnections,
            options.listen_connections,
            usize::MAX,
        ),
    ] {
        if value == 0 {
            return Err(provenance.error(option, "0 is too small; fix: use 1 or more"));
        }
        if value > max {
            let (value, max) = (Size(value), Size(max));
            let what = format!("{value} is too large; fix: use {max} or less");
            return Err(provenance.error(option, what));
        }
    }
    if (1..MIN_SPOOL_BYTES).contains(&options.spool.spool_bytes) {
        let (value, min) = (Size(options.spool.spool_bytes), Size(MIN_SPOOL_BYTES));
        let what = format!("{value} is too small; fix: use {min} or more, or 0 for no spool");
        return Err(provenance.error(Opt::SpoolBytes, what));
    }
    if options.connections > MAX_CONNECTIONS {
        let what = format!(
            "{} is too large; fix: use {MAX_CONNECTIONS} or less",
            options.connections
        );
        return Err(provenance.error(Opt::Connections, what));
    }
    check_webhook(&options.webhook, provenance)?;
    for (option, value) in [
        (Opt::ListenTimeout, options.listen_timeout),
        (Opt::BackoffMin, options.backoff_min),
        (Opt::ReportInterval, options.report_interval),
        (Opt::TrailInterval, options.trail.trail_interval),
    ] {
        check_time(option, value, provenance)?;
    }
    let (min, max) = (options.backoff_min, options.backoff_max);
    if max < min {
        let [min_name, max_name] = [Opt::BackoffMin, Opt::BackoffMax].map(|it| provenance.name(it));
        let (min, max) = (HumanDuration(min), HumanDuration(max));
        // Who has not set the max would not look for it.
        let what = match provenance.origin(Opt::BackoffMax) {
            Origin::Default => format!(
                "{min_name}: {min} is more than {max_name}, which is {max}; fix: use less, or raise {max_name} too"
            ),
            _ => format!(
                "{max_name}: {max} is less than {min_name}, which is {min}; fix: use at least as much"
            ),
        };
        return Err(UsageError(what));
    }
    Ok(())
}

/// Checks the limits of the webhook's options.
///
/// # Errors
/// Names the option whose value can't work.
pub fn check_webhook(options: &WebhookOptions, provenance: &Provenance) -> Result<(), UsageError> {
    check_time(Opt::HecAckTimeout, options.hec_ack_timeout, provenance)?;
    check_time(Opt::ConnectTimeout, options.connect_timeout, provenance)?;
    check_time(Opt::RequestTimeout, options.request_timeout, provenance)
}

fn check_time(option: Opt, value: Duration, provenance: &Provenance) -> Result<(), UsageError> {
    if value < MIN_TIME {
        let (value, min) = (HumanDuration(value), HumanDuration(MIN_TIME));
        let what = format!("{value} is too short; fix: use {min} or more");
        return Err(provenance.error(option, what));
    }
    Ok(())
}
