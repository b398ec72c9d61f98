//! Events on their way from the sources to the webhook: bounded, in memory, or in a spool on disk first.

pub mod acks;
pub mod chunk;
pub mod piece;
pub mod queue;
pub mod run;
pub mod spool;
