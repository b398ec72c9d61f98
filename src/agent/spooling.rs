//! Opens the spool, or reports what is left of an unused one.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::path::Path;

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
/// Another agent has it, or the directory is used for something else.
pub(super) fn open(
    options: &RunOptions,
    provenance: &Provenance,
    watchdog: &Watchdog,
) -> Result<(Option<OpenSpool>, Vec<Message>), CommandError> {
    let path = options.spool.dir.directory();
    let dir = path.display().to_string();
    if options.dry_run {
        return Ok((None, Vec::new()));
    }
    let watchdog = watchdog.of(&path);
    let mut notices = watchdog.dir(AT_START, || unused(options, &path));
    if options.spool.spool_bytes == 0 {
        return Ok((None, notices));
    }
    let files = watchdog.dir(AT_START, || {
        if options.spool.dir.spool_dir.is_none() {
            state::create_dir(&options.spool.dir.state.state_dir)?;
        }
        Files::open(&path)
    });
    let files = match files {
        Ok(None) => {
            let what = &"another agent has it; fix: give each agent its own";
            return Err(refused(&dir, what, provenance));
        }
        Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {
            return Err(refused(&dir, &error, provenance));
        }
        Ok(Some(files)) => Ok(files),
        Err(error) => Err(error),
    };
    let is_lost = files.as_ref().is_ok_and(|files| files.position_is_lost);
    notices.extend(is_lost.then_some(Message::SpoolPositionLost { dir }));
    let settings = spool::Settings {
        path,
        limit: options.spool.spool_bytes as u64,
        sync: options.spool.spool_sync,
    };
    Ok((Some(OpenSpool { settings, files }), notices))
}

/// Checks that the directory of the spool, if one is configured, is not used for something else. Changes nothing.
///
/// # Errors
/// It is.
pub(super) fn check(options: &RunOptions, provenance: &Provenance) -> Result<(), CommandError> {
    let path = options.spool.dir.directory();
    let has_spool = options.spool.spool_bytes > 0 && !options.dry_run;
    match Files::check(&path) {
        Err(error) if has_spool && error.kind() == ErrorKind::DirectoryNotEmpty => {
            Err(refused(&path.display().to_string(), &error, provenance))
        }
        _ => Ok(()),
    }
}

fn refused(dir: &str, what: &dyn Display, provenance: &Provenance) -> CommandError {
    let name = provenance.name(Opt::SpoolDir);
    CommandError::Failed(format!("{name}: {dir}: {what}"))
}

/// What is in spools that this start does not use: the one in `path` if there is none, and the default one if that is
/// another.
fn unused(options: &RunOptions, path: &Path) -> Vec<Message> {
    let default = options.spool.dir.default_directory();
    let is_other = path.canonicalize().ok() != default.canonicalize().ok();
    let without = options.spool.spool_bytes == 0;
    let dirs = [(path, without), (&*default, is_other)].into_iter();
    let dirs = dirs.filter(|(_, is_unused)| *is_unused);
    let found = dirs.filter_map(|(dir, _)| Some((dir, spool::left_in(dir)?)));
    found
        .map(|(dir, bytes)| Message::SpoolUnused {
            dir: dir.display().to_string(),
            size: Size(usize::try_from(bytes).unwrap_or(usize::MAX)),
        })
        .collect()
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

/// The memory for events: with a spool, only what its reader needs, and streams while its disk fails.
pub(super) fn memory(options: &RunOptions) -> Extent {
    let bytes = match options.spool.spool_bytes {
        0 => options.buffer_bytes,
        _ => {
            let largest = options.body_bytes().max(options.max_event_bytes);
            let ahead = ahead(options).bytes;
            options
                .buffer_bytes
                .min(largest.saturating_mul(2).saturating_add(ahead))
        }
    };
    Extent {
        events: options.buffer_events(),
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    #[test]
    fn while_the_disk_fails_streams_have_memory_that_the_spool_does_not_fill() {
        for (connections, buffer) in [(1, "64MiB"), (2, "64MiB"), (8, "64MiB"), (8, "16MiB")] {
            let command = RunOptions::augment_args(Command::new("run"));
            let connections = format!("--connections={connections}");
            let buffer = format!("--buffer-bytes={buffer}");
            let args = ["run", "--spool-bytes=1GiB", &connections, &buffer];
            let options = RunOptions::from_arg_matches(&command.get_matches_from(args)).unwrap();
            let (ahead, memory) = (ahead(&options).bytes, memory(&options).bytes);
            let left = (options.max_event_bytes).min(options.buffer_bytes / 4);
            assert!(
                ahead + left <= memory,
                "{connections} {buffer}: {ahead} of {memory}"
            );
            assert!(memory <= options.buffer_bytes);
        }
    }
}
