//! `file:PATH` and `file:PATTERN`: follows files as they grow, are renamed and recreated, copied and truncated, come
//! and go; and resumes where an earlier start stopped.
//!
//! [`Follower`] knows the files and decides what is read; the loop here tells it the time and takes its events. It
//! polls rather than using inotify, because that works on network mounts too. The delay grows while nothing happens.

mod alike;
mod changed;
mod claims;
mod classify;
mod copies;
mod ending;
mod follower;
mod foreign;
mod gzip;
mod kept;
mod label;
mod lag;
mod listing;
mod long_work;
mod look;
mod missing;
#[cfg(test)]
mod model;
mod pace;
mod pattern;
mod probe;
mod reading;
mod search;
mod tracked;
mod trouble;
mod unpacking;
mod zeros;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

pub use self::claims::Claims;
pub use self::follower::FileSettings;
use self::follower::{Follower, Sink};
use self::label::label;
use self::lag::{LagMeter, Observation};
use self::pace::Pace;
use self::pattern::Pattern;
use self::reading::Step;
use super::output::{Broken, SourceOutput};
use super::reader::Source;
use super::spec::OpenError;
use crate::framer::Framer;
use crate::state::checkpoint::Restored;
use crate::sys::shutdown::ShutdownSignal;
use crate::sys::{atomic_file, descriptors};
use crate::telemetry::message::Message;
use crate::telemetry::snapshot::Lag;

/// How long the source waits for room before it looks at its files again.
const ROOM: Duration = Duration::from_millis(100);
/// How often it is reported how far the source is behind.
const LAG: Duration = Duration::from_secs(1);

/// A `file:` source. A file that is not there yet, or can't be read, is waited for.
pub(super) struct FileSource {
    pub(super) path: PathBuf,
    pub(super) settings: FileSettings,
    /// What the last start left, once the state directory is there.
    pub(super) restored: Option<Receiver<Restored>>,
}

/// Whether anything may be left of this path or pattern.
///
/// # Errors
/// All of it is excluded.
pub(super) fn check(path: &Path, exclude: &[String]) -> Result<(), OpenError> {
    match Pattern::new(path, exclude).is_in_vain() {
        true => Err(OpenError::Wrong(
            "--exclude-files leaves it out; fix: have its patterns match other files only".into(),
        )),
        false => Ok(()),
    }
}

/// A message if something other than a file is at this path.
pub(super) fn doubt(path: &Path) -> Option<Message> {
    let found = fs::metadata(path).ok().filter(|found| !found.is_file())?;
    let (file, reason) = (label(path), foreign::what_it_is(&found));
    Some(Message::FileNotRegular { file, reason })
}

/// Whether the source with this path or pattern reads the file at `file`, whatever links and `..` lead to either.
pub(super) fn reads(path: &Path, exclude: &[String], file: &Path) -> bool {
    let pattern = Pattern::new(path, exclude);
    let directories = [pattern.root(), atomic_file::directory(file)];
    let [root, directory] =
        directories.map(|path| path.canonicalize().unwrap_or_else(|_| path.into()));
    let file = directory.join(file.file_name().unwrap_or_default());
    let inside = file.strip_prefix(root);
    inside.is_ok_and(|inside| pattern.means(&pattern.root().join(inside)))
}

impl Source for FileSource {
    fn is_lasting(&self) -> bool {
        true
    }

    fn run(self: Box<Self>, mut output: SourceOutput, stop: &ShutdownSignal) {
        let (name, watchdog) = (Arc::from(output.name()), self.settings.watchdog.clone());
        let (mut restored, mut before) = (None, None);
        while let Some(receiver) = &self.restored
            && restored.is_none()
        {
            restored = receiver.try_recv().ok();
            if restored.is_none() {
                let look = || Follower::new(&self.path, self.settings.clone(), 0, None).files_now();
                before.get_or_insert_with(|| watchdog.files(&name, look));
                output.waits();
                if stop.wait(pace::MAX) {
                    return;
                }
            }
        }
        let max_open = descriptors::for_files();
        let mut follower = watchdog.files(&name, || {
            Follower::new(&self.path, self.settings, max_open, restored)
        });
        follower.before = before;
        follower.long_work.stop = Some(stop.clone());
        let mut pace = Pace::new(output.batch_age);
        let mut watch = LagWatch::default();
        loop {
            let now = Instant::now();
            let before = output.events();
            let step = watchdog.files(&name, || {
                follower.look_if_due(now, &mut output);
                follower.read_some(now, &mut output)
            });
            if let Some(position) = output.try_position() {
                follower.mark_endings(position);
            }
            watch.report(now, &follower, &output);
            // Half an event at a file's end does not count yet: the next start reads it when it is whole.
            if stop.is_triggered() {
                break;
            }
            if step == Step::Full {
                output.wait_for_room(ROOM);
            }
            let wait = pace.after(output.events() != before, step != Step::Idle);
            if wait.is_some_and(|wait| stop.wait(wait)) {
                break;
            }
        }
        output.abandon();
    }
}

/// Reports once a second how far the source is behind.
#[derive(Default)]
struct LagWatch {
    meter: LagMeter,
    reported: Option<Instant>,
}

impl LagWatch {
    fn report(&mut self, now: Instant, follower: &Follower, output: &SourceOutput) {
        let is_due = |reported| now.saturating_duration_since(reported) >= LAG;
        if !self.reported.is_none_or(is_due) {
            return;
        }
        self.reported = Some(now);
        let progress = &follower.progress;
        progress.advance(output.watermark());
        let seen = Observation {
            done: progress.done(),
            behind: progress.behind(),
            events: output.events(),
        };
        let age = self.meter.observe(now, seen);
        let troubles = &follower.troubles;
        let oldest = age.max(follower.oldest_unread()).max(troubles.oldest());
        let due = self.meter.catch_up(now, seen);
        let lag = Lag {
            bytes: seen.behind + troubles.bytes(),
            oldest,
            unreadable: troubles.describe(follower.listing.pattern().path()),
            catching_up: self.meter.last().map(|line| line.to_string()),
        };
        output.lag(lag, follower.deleted_bytes);
        let Some(line) = due else { return };
        Message::CatchingUp {
            source: output.name().to_owned(),
            done_mib: line.done >> 20,
            total_mib: line.total >> 20,
            percent: line.percent(),
            rate: line.rate,
            left: line.left(),
        }
        .log();
    }
}

impl Sink for SourceOutput {
    fn framer(&self) -> Framer {
        self.framer()
    }

    fn take(&mut self, framer: &mut Framer) -> Option<u64> {
        self.take_while_room(framer)
    }

    fn is_forwarding(&self) -> bool {
        self.is_forwarding()
    }

    fn lost(&mut self, bytes: u64, reason: &str) {
        self.lost_bytes(bytes, reason);
    }

    fn broken(&mut self) -> Option<Broken> {
        SourceOutput::broken(self)
    }

    fn gone(&mut self, report: &Message) {
        report.log();
    }

    fn copied(&mut self) {
        SourceOutput::copied(self);
    }

    fn failed(&mut self, reason: &str) {
        SourceOutput::failed(self, reason);
    }

    fn waits(&mut self) {
        SourceOutput::waits(self);
    }

    fn worked(&mut self) {
        SourceOutput::worked(self);
    }

    fn name(&self) -> &str {
        SourceOutput::name(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It may be mounted, or made by who writes the log, later.
    #[test]
    fn a_source_whose_directory_is_not_there_yet_is_right() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["later/b.log", "later/*.log", "*/later/b.log"] {
            let found = check(&dir.path().join(path), &[]);
            assert_eq!(found, Ok(()), "{path}");
        }
    }

    #[test]
    fn a_source_of_which_all_files_are_excluded_is_wrong() {
        for (path, exclude, has_any) in [
            ("/x/a.gz", "*.gz", false),
            ("/x/a.gz", "[a-z].gz", false),
            ("/x/*.gz", "*.gz", false),
            ("/x/*.gz", "*", false),
            ("/x/?.gz", "y,*.gz", false),
            ("/x/*.gz", "/x/*", false),
            ("/x/*.gz", "/x/**", false),
            ("/x/*/*/a.log", "*", false),
            ("/x/*/*/a.log", "/x/a*", true),
            ("/x/*/b*/a.log", "/x/*/b*", false),
            ("/x/*.log*", "*.gz", true),
            ("/x/*.gz", "?.gz", true),
            ("/x/*.gz", "[*].gz", true),
            ("/x/[ab].log", "*a*", true),
            ("/x/*.gz", "/y/*.gz", true),
            ("/x/.*", "*", true),
            // This can't be told.
            ("/x/**", "*", true),
            ("/x/**/*.gz", "/x/*/*", true),
        ] {
            let patterns: Vec<String> = exclude.split(',').map(str::to_owned).collect();
            let found = check(Path::new(path), &patterns);
            assert_eq!(found.is_ok(), has_any, "{path} {exclude}");
        }
    }
}
