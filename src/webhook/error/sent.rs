//! How much of a request was sent when it failed, and what follows from that.

use crate::delivery::outcome::{Cause, DeliveryError};

/// How much of a body was sent when a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Nothing: there was no connection yet.
    Nothing,
    /// Not all of it.
    Part,
    /// All of it, as far as the kernel knows.
    All,
}

impl Sent {
    /// The cause of a failure without an answer.
    fn cause(self) -> Cause {
        match self {
            Sent::Nothing => Cause::Unreachable,
            Sent::Part | Sent::All => Cause::Disconnected,
        }
    }

    /// A failure with this cause.
    pub(super) fn failure(self, message: impl Into<String>) -> DeliveryError {
        DeliveryError {
            may_have_arrived: self == Sent::All,
            ..DeliveryError::transient(self.cause(), message)
        }
    }
}
