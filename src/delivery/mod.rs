//! From the queue to the webhook: what is sent next, and what becomes of each event.

pub mod batch;
pub mod body;
pub mod body_size;
pub mod outcome;
pub mod sender;
