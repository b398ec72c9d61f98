//! `file:PATH` and `file:GLOB`: follows files as they grow, are renamed and made anew, copied and truncated, come
//! and go; and goes on from where an earlier start has come to.
//!
//! Polling, not inotify, because that works on network mounts too. The delay grows while nothing
//! happens.

mod pattern;
mod resume;
mod tracked;
mod watch;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use log::{info, warn};

use self::pattern::Pattern;
use self::tracked::{State, Tracked, is_compressed};
use self::watch::{MOST_OPEN, Watch};
use super::{Intake, OpenError, Source};
use crate::checkpoint::{Found, HEAD_BYTES, Memory, Progress};
use crate::stop::Stop;

const LOOK_MIN: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(500);
/// Of many files, looking at one may take so much of the time.
const LOOK_ONE: Duration = Duration::from_micros(100);
/// A file that has gone, with nothing new in its place, is done with when it has not grown for so long.
const QUIET: Duration = Duration::from_secs(60);

/// Where reading begins in files that were there at a source's very first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStart {
    /// With the oldest event.
    Beginning,
    /// With the next one.
    End,
}

impl FromStr for FileStart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "beginning" => Ok(FileStart::Beginning),
            "end" => Ok(FileStart::End),
            _ => Err("expected beginning or end".into()),
        }
    }
}

/// The files that are followed.
pub(super) struct Follow {
    /// In the order in which they are read.
    files: Vec<Tracked>,
    watch: Arc<Mutex<Watch>>,
    is_glob: bool,
    /// What the reader tells to later starts.
    progress: Option<Progress>,
    /// For the log, when there is one.
    notices: Vec<String>,
}

impl Follow {
    /// A file that is not there yet is no error; one that can't be read is.
    pub(super) fn open(
        path: &Path,
        start: FileStart,
        memory: Option<Memory>,
    ) -> Result<Self, OpenError> {
        let wrong = |error: io::Error| OpenError::Wrong(format!("can't be read: {error}"));
        let pattern = Pattern::new(path);
        if !pattern.directory().is_dir() {
            return Err(OpenError::Wrong("its directory does not exist".into()));
        }
        let mut watch = Watch::new(pattern);
        let (found, progress) = match memory {
            Some(memory) => (memory.found, Some(memory.progress)),
            None => (Found::Nothing, None),
        };
        let (mut files, mut notices) = (Vec::new(), Vec::new());
        if let Found::Places(places) = &found {
            (files, notices) = resume::find(places, &mut watch).map_err(wrong)?;
        }
        watch.look().map_err(wrong)?;
        let mut new = watch.take_found();
        if found == Found::Nothing && start == FileStart::End {
            for file in &mut new {
                file.skip_to_end().map_err(wrong)?;
            }
        }
        files.extend(new);
        let follow = Follow {
            files,
            is_glob: watch.pattern.is_glob(),
            watch: Arc::new(Mutex::new(watch)),
            progress,
            notices: std::mem::take(&mut notices),
        };
        if let Some(progress) = &follow.progress {
            for file in &follow.files {
                progress.start(file.number, file.reached());
                file.tell(progress);
            }
        }
        Ok(follow)
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source for Follow {
    fn is_lasting(&self) -> bool {
        true
    }

    fn run(mut self: Box<Self>, mut intake: Intake, stop: &Stop) {
        for notice in &self.notices {
            warn!("{}: {notice}", intake.name());
        }
        let watch = Arc::clone(&self.watch);
        intake.while_waiting(move || {
            // What can't be looked at now is told by the reader's next look.
            let _ = lock(&watch).look();
        });
        let mut delay = LOOK_MIN;
        loop {
            match self.step(&mut intake, stop) {
                Ok(true) => delay = LOOK_MIN,
                Ok(false) => delay = (delay * 2).min(LOOK_MAX),
                Err(error) => {
                    intake.failed(&error.to_string());
                    delay = LOOK_MAX;
                }
            }
            intake.flush();
            let files = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            // Half an event at a file's end is not one yet: the next start reads it when it is whole.
            if stop.wait(delay.max(LOOK_ONE.saturating_mul(files).min(LOOK_MAX))) {
                return;
            }
        }
    }
}

impl Follow {
    /// Reads what there is in each file, those changed last at the end. True if there was something.
    fn step(&mut self, intake: &mut Intake, stop: &Stop) -> io::Result<bool> {
        // Looked at before reading: what its writer has put into the old file before making the
        // new one is read before the new one.
        let looked = self.find_files();
        let mut result = Ok(false);
        let mut place = 0;
        while let Some(file) = self.files.get(place) {
            if stop.is_given() {
                return Ok(false);
            }
            let number = file.number;
            match self.read(place, intake, stop) {
                Ok(more) => {
                    if let Ok(result) = &mut result {
                        *result |= more;
                    }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if self.files[place].is_gone {
                        self.lose(place, intake);
                    }
                }
                Err(error) => {
                    let error = watch::name(&self.watch().pattern, &self.files[place].path, error);
                    result = result.and(Err(error));
                }
            }
            // A file that was done with is not there any more.
            place += usize::from(
                self.files
                    .get(place)
                    .is_some_and(|file| file.number == number),
            );
        }
        self.close_some();
        looked?;
        if !self.files.is_empty() && result.is_ok() {
            intake.worked();
        }
        result
    }

    /// Brings the files up to date with what there is.
    fn find_files(&mut self) -> io::Result<()> {
        let mut watch = lock(&self.watch);
        let looked = watch.look();
        for file in watch.take_found() {
            self.progress
                .iter()
                .for_each(|progress| file.tell(progress));
            self.files.push(file);
        }
        let present: BTreeMap<_, _> = watch
            .present()
            .iter()
            .map(|listed| (listed.identity, listed))
            .collect();
        for file in &mut self.files {
            let found = present.get(&file.identity);
            file.is_gone = found.is_none();
            if let Some(listed) = found
                && file.see(listed)
                && let Some(progress) = &self.progress
            {
                file.tell(progress);
            }
        }
        // Those that have gone were there before those that have not.
        self.files
            .sort_by_key(|file| (!file.is_gone, (!file.is_gone).then_some(file.modified)));
        looked
    }

    /// Reads what there is in one file, and sees to it if it is done with. True if there was something.
    fn read(&mut self, place: usize, intake: &mut Intake, stop: &Stop) -> io::Result<bool> {
        let file = &mut self.files[place];
        if file.is_gone {
            file.length = file.open()?.metadata()?.len();
        }
        if file.state != State::Followed {
            self.examine(place)?;
        }
        let file = &mut self.files[place];
        let more = file.state == State::Followed && !file.is_read();
        if more {
            if file.is_rewritten()? {
                info!(
                    "{} was truncated; reading it from its beginning",
                    label(file)
                );
                self.hand_over(place, intake);
                self.files[place].rewind();
                self.files[place].mark(intake, self.progress.as_ref());
            }
            let file = &mut self.files[place];
            file.read(intake, self.progress.as_ref(), stop)?;
            if self.is_glob {
                file.release();
            }
        }
        let file = &self.files[place];
        if file.is_gone && (file.state != State::Followed || file.is_read()) {
            self.finish_gone(place, intake);
        }
        Ok(more)
    }

    /// Looks into a file that is not followed: it is, unless it is empty, compressed or a copy.
    fn examine(&mut self, place: usize) -> io::Result<()> {
        let file = &mut self.files[place];
        if file.state == State::Skipped || file.examined == Some(file.length) || file.length == 0 {
            return Ok(());
        }
        let head = file.read_head(HEAD_BYTES)?;
        let original = self.files.iter().find(|other| {
            let common = other.head().len().min(head.len());
            self.is_glob
                && other.state == State::Followed
                && common > 0
                && other.head()[..common] == head[..common]
        });
        let state = match original {
            _ if is_compressed(&head) => State::Skipped,
            Some(original) => State::CopyOf(original.number),
            None => State::Followed,
        };
        let original = original.map(label).unwrap_or_default();
        let file = &mut self.files[place];
        file.examined = Some(file.length);
        if std::mem::replace(&mut file.state, state) == state {
            return Ok(());
        }
        match state {
            State::Skipped => info!("{} is compressed; it is not read", label(file)),
            State::CopyOf(_) => info!(
                "{} begins as {original} does; it is taken for a copy, and not read while that is there",
                label(file)
            ),
            _ => {}
        }
        Ok(())
    }

    /// What is to be read of a file that will not be there any more is read from its copy, if it has one.
    fn hand_over(&mut self, place: usize, intake: &mut Intake) {
        let original = &self.files[place];
        let (number, reached, head) = (
            original.number,
            original.reached(),
            original.head().to_vec(),
        );
        let mut heir = None;
        for copy in &mut self.files {
            if copy.state != State::CopyOf(number) {
                continue;
            }
            if let Some(heir) = heir {
                copy.state = State::CopyOf(heir);
            } else if copy.length >= reached.offset
                && copy.read_head(head.len()).is_ok_and(|found| found == head)
            {
                copy.resume(reached.offset, head.clone());
                copy.mark(intake, self.progress.as_ref());
                heir = Some(copy.number);
                info!("{} is read on from byte {}", label(copy), reached.offset);
            } else {
                copy.state = State::New;
                copy.examined = None;
            }
        }
        if heir.is_none() {
            self.files[place].take_last(intake);
        }
    }

    /// Leaves a file that has gone and was read, if its writer is done with it too: when there is something in the
    /// one that has taken its place, or nothing has come for long and others are there.
    fn finish_gone(&mut self, place: usize, intake: &mut Intake) {
        let file = &self.files[place];
        let is_replaced = self.watch().present().iter().any(|listed| {
            listed.path == file.path
                && listed.length > 0
                && self
                    .files
                    .iter()
                    .any(|file| file.identity == listed.identity)
        });
        let is_alone = self.files.iter().all(|file| file.is_gone);
        let is_quiet = !is_alone && file.active.elapsed() > QUIET;
        let is_read = matches!(file.state, State::New | State::Followed);
        if is_read && !is_replaced && !is_quiet {
            return;
        }
        if is_read && is_replaced {
            info!("{} was replaced; reading the new one", label(file));
        }
        self.hand_over(place, intake);
        self.leave(place, intake);
    }

    fn leave(&mut self, place: usize, intake: &mut Intake) {
        let file = self.files.remove(place);
        self.watch().forget(file.identity);
        if let Some(progress) = &self.progress
            && let Some(position) = intake.position()
        {
            progress.mark(position, file.number, None);
        }
    }

    /// A file was not open, and has gone.
    fn lose(&mut self, place: usize, intake: &mut Intake) {
        let file = &self.files[place];
        if file.state != State::Skipped && !file.is_read() {
            warn!(
                "{} has gone before its turn; what was written behind its byte {} is not read",
                label(file),
                file.reached().offset
            );
        }
        self.leave(place, intake);
    }

    /// Closes files that were read, those first that were changed longest ago, while many are open.
    fn close_some(&mut self) {
        let open = self.files.iter().filter(|file| file.is_open()).count();
        let idle = self.files.iter_mut().filter(|file| {
            file.is_open() && !file.is_gone && (file.state != State::Followed || file.is_read())
        });
        for file in idle.take(open.saturating_sub(MOST_OPEN)) {
            file.close();
        }
    }
}

/// A file as the log names it.
fn label(file: &Tracked) -> String {
    format!("file:{}", file.path.display())
}
