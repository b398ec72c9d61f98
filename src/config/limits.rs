//! Which limits can work, alone and together.

use std::time::Duration;

use crate::config::given::{Origins, UsageError};
use crate::config::options::{RunOptions, WebhookOptions};
use crate::text::quantity::{HumanDuration, Size};

/// Refuses limits that can't work, alone or together.
///
/// # Errors
/// Names the option.
pub fn check(options: &RunOptions, origins: &Origins) -> Result<(), UsageError> {
    for (id, value) in [
        ("max_event_bytes", options.max_event_bytes),
        ("buffer_events", options.buffer_events),
        ("buffer_bytes", options.buffer_bytes),
        ("batch_events", options.batch_events),
        ("batch_bytes", options.batch_bytes),
        ("listen_connections", options.listen_connections),
        ("max_body_bytes", options.max_body_bytes),
    ] {
        if value == 0 {
            return Err(origins.wrong(id, "is 0; expected 1 or more"));
        }
    }
    for (id, value, most, shown) in [
        ("max_event_bytes", options.max_event_bytes, 1 << 30, "1GiB"),
        ("max_body_bytes", options.max_body_bytes, 1 << 30, "1GiB"),
        ("buffer_bytes", options.buffer_bytes, 1 << 40, "1024GiB"),
    ] {
        if value as u64 > most {
            let what = format!("{} is over {shown}; expected that or less", Size(value));
            return Err(origins.wrong(id, what));
        }
    }
    check_webhook(&options.webhook, origins)?;
    for (id, value) in [
        ("listen_timeout", options.listen_timeout),
        ("backoff_min", options.backoff_min),
        ("report_interval", options.report_interval),
    ] {
        check_time(id, value, origins)?;
    }
    if options.backoff_max < options.backoff_min {
        return Err(origins.wrong(
            "backoff_max",
            format!(
                "{} is less than {}, which is {}; expected that or more",
                HumanDuration(options.backoff_max),
                origins.name("backoff_min"),
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
pub fn check_webhook(options: &WebhookOptions, origins: &Origins) -> Result<(), UsageError> {
    check_time("connect_timeout", options.connect_timeout, origins)?;
    check_time("request_timeout", options.request_timeout, origins)
}

fn check_time(id: &str, value: Duration, origins: &Origins) -> Result<(), UsageError> {
    if value < Duration::from_millis(1) {
        let what = format!(
            "{} is too short; expected 1ms or more",
            HumanDuration(value)
        );
        return Err(origins.wrong(id, what));
    }
    Ok(())
}
