//! How far each file of a `file:` source was delivered, kept under `--state-dir` so that the next start resumes
//! there.
//!
//! One file per source and host: a header, then one record for each change; the newest record of a file is valid
//! (see [`journal`]). An offset is committed only when every event before it is final (see [`Progress`]), so that
//! each event is delivered at least once, however the agent ends.

mod file_offset;
mod fingerprint;
pub mod journal;
mod progress;
mod restored;
mod store;
pub mod v1;

pub use file_offset::FileOffset;
pub use fingerprint::{Fingerprint, HEAD_BYTES};
pub use progress::{Changes, Progress, Reached};
pub use restored::Restored;
pub use store::{Found, Store, file_name};
