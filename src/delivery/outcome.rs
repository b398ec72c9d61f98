//! What became of a posted body, and the cause. The webhook's side makes these; delivery decides by them.

use std::time::Duration;

pub use crate::telemetry::requests::Cause;

/// What became of a posted body.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The webhook has it.
    Delivered,
    /// Splunk has it under this id, and will index it.
    Accepted(u64),
    /// The webhook definitely does not take this content, now or later.
    Rejected(DeliveryError),
    /// The body is too large; a smaller one may be taken.
    TooLarge(DeliveryError),
    /// Anything else: the same events may be taken later.
    Failed(DeliveryError),
    /// The events of the body ended differently.
    Partial(Partial),
}

/// What became of the events of a body that did not all end the same way.
#[derive(Debug, PartialEq, Eq)]
pub struct Partial {
    /// That of each event, in the order of the body.
    pub events: Vec<EventOutcome>,
    /// The reason for the first rejected one, if there is one.
    pub rejection: Option<DeliveryError>,
    /// The reason for the first of those to be sent again, if there are any.
    pub failure: Option<DeliveryError>,
}

/// What became of one event of such a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventOutcome {
    /// The webhook has it.
    Delivered,
    /// The webhook does not take it.
    Rejected,
    /// It must be sent again: the webhook asked for fewer events.
    Retry,
    /// The same for another reason, which may be the event itself.
    Failed,
    /// The same, but the webhook may have it: its part of the answer is missing.
    Unknown,
}

/// What the encoding of a body adds to its events' lines at most, in bytes, before compression: an encoded body is
/// never longer than its events' bytes, newlines included, plus `per_event` for each and `per_body`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overhead {
    /// For each event.
    pub per_event: usize,
    /// Once per body.
    pub per_body: usize,
}

/// The reason why a body was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryError {
    /// What happened, in words for the log.
    pub message: String,
    /// Whose fault it is.
    pub cause: Cause,
    /// What an operator must do, if it will not pass by itself.
    pub fix: Option<&'static str>,
    /// What to look at if it does not pass. For `test` only: the log would repeat it at every outage.
    pub hint: Option<&'static str>,
    /// How long the webhook asked to be left alone.
    pub retry_after: Option<Duration>,
    /// The webhook asked for fewer requests: 429 or 503.
    pub is_overload: bool,
    /// The webhook may have taken the body all the same: sent again, its events may be duplicates.
    pub may_have_arrived: bool,
    /// Which event of the body is wrong, from 0, if the webhook said so: it may have taken those before it.
    pub wrong: Option<usize>,
}

impl DeliveryError {
    /// Something that may pass by itself.
    pub fn transient(cause: Cause, message: impl Into<String>) -> Self {
        DeliveryError {
            message: message.into(),
            cause,
            fix: None,
            hint: None,
            retry_after: None,
            is_overload: false,
            may_have_arrived: false,
            wrong: None,
        }
    }

    /// Something that stays until an operator fixes it.
    pub fn permanent(message: impl Into<String>, fix: &'static str) -> Self {
        DeliveryError {
            fix: Some(fix),
            ..DeliveryError::transient(Cause::Settings, message)
        }
    }

    /// The same with a hint.
    pub fn hint(self, hint: &'static str) -> Self {
        DeliveryError {
            hint: Some(hint),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permanent_error_is_one_of_the_settings() {
        let error = DeliveryError::permanent("no", "give another token").hint("look there");
        assert_eq!(
            (error.message.as_str(), error.cause),
            ("no", Cause::Settings)
        );
        assert_eq!(
            (error.fix, error.hint),
            (Some("give another token"), Some("look there"))
        );
    }
}
