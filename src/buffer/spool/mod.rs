//! Events on disk: sources that can't wait append to it before their writers are answered, and its reader is one more
//! source that can.
//!
//! A spool is a directory of segments, which are appended to, read, and removed when everything in them is final; and a
//! file that says how far that is. What sources append gets the spool's own numbers. Its events enter the
//! [queue](super::queue) like those of any source, a few batches ahead; its watermark tells how far they are final.
//! What was posted and is not yet acknowledged need not stay in memory: it can be read again.

pub mod dir;
mod feed;
mod files;
mod group;
mod marks;
mod memory;
mod noting;
mod overdue;
pub mod position;
pub mod reader;
pub mod record;
mod reread;
mod rescue;
mod running;
pub mod scan;
pub mod segments;
mod shared;
mod trouble;
mod upkeep;
pub mod writer;

pub use self::files::{Files, left_in};
pub use self::group::{Appended, SyncMode};
pub use self::reread::Rereader;
pub use self::running::{Appender, Running, Settings, Spool};

#[cfg(test)]
mod tests;
