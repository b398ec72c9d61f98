//! Which limits can work, alone and together.

use std::time::Duration;

use crate::config::error::UsageError;
use crate::config::opt::Opt;
use crate::config::options::{RunOptions, WebhookOptions};
use crate::config::provenance::Provenance;
use crate::text::quantity::{HumanDuration, Size};

/// Refuses limits that can't work, alone or together.
///
/// # Errors
/// Names the option.
pub fn check(options: &RunOptions, provenance: &Provenance) -> Result<(), UsageError> {
    for (option, value) in [
        (Opt::MaxEventBytes, options.max_event_bytes),
        (Opt::BufferEvents, options.buffer_events),
        (Opt::BufferBytes, options.buffer_bytes),
        (Opt::BatchEvents, options.batch_events),
        (Opt::BatchBytes, options.batch_bytes),
        (Opt::ListenConnections, options.listen_connections),
        (Opt::MaxBodyBytes, options.max_body_bytes),
    ] {
        if value == 0 {
            return Err(provenance.error(option, "is 0; expected 1 or more"));
        }
    }
    for (option, value, most, shown) in [
        (Opt::MaxEventBytes, options.max_event_bytes, 1 << 30, "1GiB"),
        (Opt::MaxBodyBytes, options.max_body_bytes, 1 << 30, "1GiB"),
        (Opt::BufferBytes, options.buffer_bytes, 1 << 40, "1024GiB"),
    ] {
        if value as u64 > most {
            let what = format!("{} is over {shown}; expected that or less", Size(value));
            return Err(provenance.error(option, what));
        }
    }
    check_webhook(&options.webhook, provenance)?;
    for (option, value) in [
        (Opt::ListenTimeout, options.listen_timeout),
        (Opt::BackoffMin, options.backoff_min),
        (Opt::ReportInterval, options.report_interval),
    ] {
        check_time(option, value, provenance)?;
    }
    if options.backoff_max < options.backoff_min {
        return Err(provenance.error(
            Opt::BackoffMax,
            format!(
                "{} is less than {}, which is {}; expected that or more",
                HumanDuration(options.backoff_max),
                provenance.name(Opt::BackoffMin),
                HumanDuration(options.backoff_min)
            ),
        ));
    }
    Ok(())
}

/// Refuses those of the webhook's limits that can't work.
///
/// # Errors
/// Names the option.
pub fn check_webhook(options: &WebhookOptions, provenance: &Provenance) -> Result<(), UsageError> {
    check_time(Opt::ConnectTimeout, options.connect_timeout, provenance)?;
    check_time(Opt::RequestTimeout, options.request_timeout, provenance)
}

fn check_time(option: Opt, value: Duration, provenance: &Provenance) -> Result<(), UsageError> {
    if value < Duration::from_millis(1) {
        let what = format!(
            "{} is too short; expected 1ms or more",
            HumanDuration(value)
        );
        return Err(provenance.error(option, what));
    }
    Ok(())
}
