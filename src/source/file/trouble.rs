//! Names that can't be used: they don't affect others, are logged once and then rarely, and are tried again.

use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::foreign::what_it_is;
use super::label::label;
use crate::telemetry::message::Message;

/// How often each is retried,
const RETRY: Duration = Duration::from_secs(2);
/// and logged again.
const REMIND: Duration = Duration::from_secs(600);
/// At most this many are remembered; others are neither logged nor retried until their directory changes.
const MAX: usize = 10_000;

/// The names that can't be used.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    names: BTreeMap<PathBuf, Trouble>,
    retried: Option<Instant>,
}

#[derive(Debug)]
struct Trouble {
    reason: String,
    /// It is something that never is a file, such as a directory: no reason to warn.
    is_no_file: bool,
    noted: Instant,
    logged: Option<Instant>,
    unread: Option<Unread>,
}

/// What can't be read for as long as a name can't be used.
#[derive(Debug, Clone, Copy)]
struct Unread {
    /// Bytes that the source counts nowhere else.
    bytes: u64,
    /// When the first of them was seen, or written if it had been there before.
    since: SystemTime,
}

impl Troubles {
    /// This name can't be used now.
    pub(super) fn note(&mut self, path: &Path, reason: String, now: Instant) {
        self.insert(path, reason, false, now);
    }

    /// There is something other than a file.
    pub(super) fn note_kind(&mut self, path: &Path, found: &Metadata, now: Instant) {
        self.insert(path, what_it_is(found), true, now);
    }

    fn insert(&mut self, path: &Path, reason: String, is_no_file: bool, now: Instant) {
        if let Some(known) = self.names.get_mut(path) {
            known.noted = now;
            if known.reason != reason {
                (known.reason, known.logged) = (reason, None);
            }
        } else if self.names.len() < MAX {
            let trouble = Trouble {
                reason,
                is_no_file,
                noted: now,
                logged: None,
                unread: None,
            };
            self.names.insert(path.to_owned(), trouble);
        }
    }

    /// The file of this name was last written at `modified`, and has these bytes that the source counts nowhere else and
    /// can't read now.
    pub(super) fn holds_back(&mut self, path: &Path, bytes: u64, modified: SystemTime) {
        if let Some(trouble) = self.names.get_mut(path) {
            let since = trouble.unread.map_or(modified, |unread| unread.since);
            trouble.unread = Some(Unread { bytes, since });
        }
    }

    /// Bytes that can't be read now and that the source counts nowhere else.
    pub(super) fn bytes(&self) -> u64 {
        self.unread().map(|unread| unread.bytes).sum()
    }

    /// For how long the oldest bytes that can't be read now have been there.
    pub(super) fn oldest(&self) -> Duration {
        let since = self.unread().map(|unread| unread.since).min();
        let age = since.and_then(|since| SystemTime::now().duration_since(since).ok());
        age.unwrap_or_default()
    }

    fn unread(&self) -> impl Iterator<Item = Unread> {
        self.names.values().filter_map(|trouble| trouble.unread)
    }

    /// How many names can't be read and why one of them can't, except for one name that is reported otherwise.
    pub(super) fn describe(&self, except: Option<&Path>) -> Option<String> {
        let is_one = |(path, trouble): &(&PathBuf, &Trouble)| {
            !trouble.is_no_file && Some(path.as_path()) != except
        };
        let mut names = self.names.iter().filter(is_one);
        let (path, trouble) = names.next()?;
        let (file, reason) = (label(path), &trouble.reason);
        Some(match names.count() {
            0 => format!("{file} can't be read: {reason}"),
            more => format!("{file} and {more} more can't be read: {reason}"),
        })
    }

    /// This name can be used.
    pub(super) fn solved(&mut self, path: &Path) {
        if let Some(trouble) = self.names.remove(path)
            && trouble.logged.is_some()
            && !trouble.is_no_file
        {
            Message::FileRestored { file: label(path) }.log();
        }
    }

    /// Why this name can't be used, if that is so.
    pub(super) fn of(&self, path: &Path) -> Option<String> {
        self.names.get(path).map(|trouble| trouble.reason.clone())
    }

    /// Has the directories of these names read again, now and then.
    pub(super) fn retry(&mut self, now: Instant, dirty: &mut HashSet<PathBuf>) {
        let is_due = self
            .retried
            .is_none_or(|retried| now.saturating_duration_since(retried) >= RETRY);
        if !is_due || self.names.is_empty() {
            return;
        }
        self.retried = Some(now);
        // A name that was not noted at the last tries is no longer there, or is a file now.
        self.names
            .retain(|_, trouble| now.saturating_duration_since(trouble.noted) < RETRY * 3);
        let parents = self.names.keys().filter_map(|path| path.parent());
        dirty.extend(parents.map(Path::to_owned));
    }

    /// Logs what was not logged yet, or long ago, except for one name that is reported otherwise.
    pub(super) fn log(&mut self, now: Instant, except: Option<&Path>) {
        for (path, trouble) in &mut self.names {
            let age = trouble
                .logged
                .map(|logged| now.saturating_duration_since(logged));
            if age.is_some_and(|age| age < REMIND) || Some(&**path) == except {
                continue;
            }
            trouble.logged = Some(now);
            let (file, reason) = (label(path), trouble.reason.clone());
            let message = if trouble.is_no_file {
                Message::FileNotRegular { file, reason }
            } else {
                Message::FileUnavailable {
                    file,
                    error: reason,
                }
            };
            message.log();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_name_is_tried_again_until_it_is_not_noted_any_more() {
        let (start, path) = (Instant::now(), Path::new("/l/a"));
        let mut troubles = Troubles::default();
        troubles.note(path, "why".into(), start);
        assert_eq!(troubles.of(path).as_deref(), Some("why"));
        for (second, is_tried) in [(0, true), (1, false), (2, true), (4, true), (6, false)] {
            let mut dirs = HashSet::new();
            troubles.retry(start + SECOND * second, &mut dirs);
            assert_eq!(dirs.contains(Path::new("/l")), is_tried, "{second}");
        }
        assert_eq!(troubles.of(path), None);
        troubles.note(path, "why".into(), start);
        troubles.solved(path);
        assert_eq!(troubles.of(path), None);
    }

    #[test]
    fn each_reason_is_logged_once_and_then_rarely() {
        let (start, path) = (Instant::now(), Path::new("/l/a"));
        let mut troubles = Troubles::default();
        // A reason, if it is noted anew, and whether it is logged then.
        for (second, reason, except, is_logged) in [
            (0, "one", Some(path), false),
            (0, "one", None, true),
            (599, "one", None, false),
            (600, "one", Some(path), false),
            (600, "one", None, true),
            (601, "two", None, true),
            (602, "two", None, false),
        ] {
            let now = start + SECOND * second;
            troubles.note(path, reason.into(), now);
            let before = troubles.names[path].logged;
            troubles.log(now, except);
            let after = troubles.names[path].logged;
            assert_eq!(after != before, is_logged, "{second} {reason} {except:?}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_counted_from_when_it_was_first_seen() {
        let (now, path) = (Instant::now(), Path::new("/l/a"));
        let ago = |seconds| SystemTime::now() - SECOND * seconds;
        let mut troubles = Troubles::default();
        troubles.holds_back(path, 5, ago(100));
        assert_eq!((troubles.bytes(), troubles.oldest()), (0, Duration::ZERO));
        for (name, bytes, seconds) in [("/l/a", 5, 100), ("/l/a", 7, 0), ("/l/b", 2, 50)] {
            troubles.note(Path::new(name), "why".into(), now);
            troubles.holds_back(Path::new(name), bytes, ago(seconds));
        }
        assert_eq!(troubles.bytes(), 9);
        assert!(troubles.oldest() >= SECOND * 100);
        troubles.solved(path);
        assert_eq!(troubles.bytes(), 2);
        assert!(troubles.oldest() < SECOND * 100);
    }

    #[test]
    fn names_that_can_not_be_read_are_described_unless_they_never_are_files() {
        let (now, path) = (Instant::now(), Path::new("/l/a"));
        let mut troubles = Troubles::default();
        troubles.note_kind(Path::new("/l"), &std::fs::metadata("/").unwrap(), now);
        assert_eq!(troubles.describe(None), None);
        troubles.note(path, "why".into(), now);
        let one = "file:/l/a can't be read: why";
        assert_eq!(troubles.describe(None).as_deref(), Some(one));
        assert_eq!(troubles.describe(Some(path)), None);
        troubles.note(Path::new("/l/b"), "because".into(), now);
        let both = "file:/l/a and 1 more can't be read: why";
        assert_eq!(troubles.describe(None).as_deref(), Some(both));
    }

    #[test]
    fn of_very_many_names_some_are_remembered() {
        let mut troubles = Troubles::default();
        for number in 0..=MAX {
            let path = PathBuf::from(number.to_string());
            troubles.note(&path, String::new(), Instant::now());
        }
        assert_eq!(troubles.names.len(), MAX);
    }
}
