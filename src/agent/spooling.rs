//! Opens the spool, or says what is left of one.

use std::io;

use crate::buffer::chunk::Extent;
use crate::buffer::spool::{self, Files};
use crate::config::error::CommandError;
use crate::config::opt::Opt;
use crate::config::options::RunOptions;
use crate::config::provenance::Provenance;
use crate::state;
use crate::telemetry::message::{Message, Spooled};
use crate::telemetry::watchdog::Watchdog;
use crate::text::quantity::Size;

/// What it means if the directory hangs now.
const AT_START: &str = "the start waits for it";
/// How many batches a file is read ahead, with one sender: one is in flight, one complete. More would only take room from
/// sources that can't wait, and the processor's caches from all.
const READ_AHEAD: usize = 4;

/// The spool that was asked for.
pub(super) struct OpenSpool {
    pub(super) settings: spool::Settings,
    /// What it has, or why it can't be used yet.
    pub(super) files: io::Result<Files>,
}

/// Opens the spool, if there is to be one. Also gives what the operator should know.
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
    /// What it has, for the log.
    pub(super) fn found(&self) -> Spooled {
        let recovered = self.files.as_ref().map_or(0, Files::recovered);
        let limit = usize::try_from(self.settings.limit).unwrap_or(usize::MAX);
        Spooled(Some((Size(limit), recovered)))
    }
}

/// What sources that can wait fill of the queue.
pub(super) fn ahead(options: &RunOptions) -> Extent {
    if options.webhook.hec_ack {
        // What is not indexed yet is in the queue too.
        return Extent {
            events: options.buffer_events().div_ceil(2),
            bytes: options.buffer_bytes.div_ceil(2),
        };
    }
    let batches = READ_AHEAD + 2 * (options.connections - 1);
    // The rest is for those that can't wait.
    let most = options.buffer_bytes - options.buffer_bytes / 4;
    Extent {
        events: options.batch_events.saturating_mul(batches),
        bytes: options.body_bytes().saturating_mul(batches).min(most),
    }
}

/// The memory for events: with a spool no more than its reader needs.
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
