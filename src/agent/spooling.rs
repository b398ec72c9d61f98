//! Opens the spool, or reports what is left of an unused one.

use std::io;

use crate::buffer::chunk::Extent;
use crate::buffer::spool::{self, Files};
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::source::Spec;
use crate::state;
use crate::telemetry::message::{Message, Spooled};
use crate::telemetry::watchdog::{AT_START, Watchdog};
use crate::text::quantity::Size;

/// The spool that is configured.
pub(super) struct OpenSpool {
    pub(super) settings: spool::Settings,
    /// What it contains, or why it can't be used yet.
    pub(super) files: io::Result<Files>,
}

/// Opens the spool, if one is configured, and returns what the operator should know about it.
///
/// # Errors
/// Another agent has it.
pub(super) fn open(
    options: &RunOptions,
    provenance: &Provenance,
    watchdog: &Watchdog,
) -> Result<(Option<OpenSpool>, Option<Message>), CommandError> {
    let path = options.spool.dir.directory();
    let dir = path.display().to_string();
    if options.dry_run {
        return Ok((None, None));
    }
    if options.spool.spool_bytes == 0 {
        let left = watchdog.state_dir(AT_START, || spool::left_in(&path));
        let size = left.map(|bytes| Size(usize::try_from(bytes).unwrap_or(usize::MAX)));
        return Ok((None, size.map(|size| Message::SpoolUnused { dir, size })));
    }
    let files = watchdog.state_dir(AT_START, || {
        if options.spool.dir.spool_dir.is_none() {
            state::create_dir(&options.spool.dir.state.state_dir)?;
        }
        Files::open(&path)
    });
    let files = match files {
        Ok(None) => {
            let name = provenance.name(Opt::SpoolDir);
            let what = format!("{dir}: another agent has it; fix: give each agent its own");
            return Err(CommandError::Failed(format!("{name}: {what}")));
        }
        Ok(Some(files)) => Ok(files),
        Err(error) => Err(error),
    };
    let is_damaged = files.as_ref().is_ok_and(|files| files.position_is_damaged);
    let settings = spool::Settings {
        path,
        limit: options.spool.spool_bytes as u64,
        sync: options.spool.spool_sync,
    };
    let notice = is_damaged.then_some(Message::SpoolPositionLost { dir });
    Ok((Some(OpenSpool { settings, files }), notice))
}

impl OpenSpool {
    /// What it contains, for the log.
    pub(super) fn found(&self) -> Spooled {
        let recovered = self.files.as_ref().map_or(0, Files::recovered);
        let limit = usize::try_from(self.settings.limit).unwrap_or(usize::MAX);
        Spooled(Some((Size(limit), recovered)))
    }
}

/// How much of the queue sources that can wait may fill: two bodies for each sender and two more, so that one is
/// complete while others are in flight. More would only take room from sources that can't wait, and from the
/// processor's caches. Compressed bodies rarely reach their maximum size, so that one is enough.
pub(super) fn ahead(options: &RunOptions) -> Extent {
    let has_spool = options.spool.spool_bytes > 0;
    let has_files = (options.sources.iter()).any(|source| matches!(source, Spec::File(_)));
    if options.webhook.hec_ack && (has_files || !has_spool) {
        // What is not indexed yet is in the queue too, unless the spool has it. With a spool, everything can wait.
        let part = if has_spool { 1 } else { 2 };
        return Extent {
            events: options.buffer_events().div_ceil(part),
            bytes: options.buffer_bytes.div_ceil(part),
        };
    }
    let bodies = options.connections + 1;
    let batch = options.batch_bytes.saturating_mul(2);
    // The rest is for sources that can't wait.
    let most = options.buffer_bytes - options.buffer_bytes / 4;
    Extent {
        events: (options.batch_events.saturating_mul(2)).saturating_mul(bodies),
        bytes: batch
            .max(options.body_bytes())
            .saturating_mul(bodies)
            .min(most),
    }
}

/// The memory for events: with a spool, only what its reader needs.
pub(super) fn memory(options: &RunOptions) -> Extent {
    let bytes = match options.spool.spool_bytes {
        0 => options.buffer_bytes,
        _ => {
            let largest = options.body_bytes().max(options.max_event_bytes);
            let enough = largest.saturating_mul(2).max(ahead(options).bytes);
            options.buffer_bytes.min(enough)
        }
    };
    Extent {
        events: options.buffer_events(),
        bytes,
    }
}
