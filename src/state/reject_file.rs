//! `--reject-file`: what the webhook has rejected, one JSON object per line, for people and for resending.
//!
//! A thread of its own writes it, so that a disk that hangs or is full stops no delivery: events that it can't save
//! are counted.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::time::SystemTime;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use serde_json::Value;

use crate::sys::{atomic_file, host, owner, thread};
use crate::telemetry::Report;

/// How many bytes of events may wait to be written; a larger event waits alone.
const MAX_WAITING: usize = 4 << 20;
/// What an entry costs besides its events.
const OVERHEAD: usize = 512;

/// The way to the file.
#[derive(Debug)]
pub struct Rejects {
    entries: Sender<Entry>,
    waiting: Arc<AtomicUsize>,
    report: Arc<Report>,
}

/// Events that were rejected together.
#[derive(Debug)]
struct Entry {
    time: SystemTime,
    endpoint: String,
    /// `HTTP 400 Invalid data format`, or why there was no answer.
    message: String,
    /// One event per line.
    events: Vec<u8>,
    count: usize,
}

impl Rejects {
    /// Starts the thread that writes the file. It ends when this is dropped and everything is written; then the
    /// receiver is disconnected.
    ///
    /// # Errors
    /// No more threads can be started.
    pub fn start(
        path: PathBuf,
        max_bytes: usize,
        report: Arc<Report>,
    ) -> io::Result<(Self, Receiver<()>)> {
        let (entries, queue) = unbounded::<Entry>();
        let (alive, ended) = bounded(0);
        let waiting = Arc::<AtomicUsize>::default();
        let rejects = Rejects {
            entries,
            waiting: Arc::clone(&waiting),
            report: Arc::clone(&report),
        };
        thread::spawn("rejects", move || {
            let _alive = alive;
            for entry in queue {
                let (saved, result) = write(&path, max_bytes as u64, &entry);
                report.rejects_saved(saved);
                if let Err(error) = result {
                    let error = format!("{}: {error}", path.display());
                    report.rejects_unsaved(entry.count - saved, &error);
                }
                waiting.fetch_sub(entry.events.len() + OVERHEAD, AcqRel);
            }
        })?;
        Ok((rejects, ended))
    }

    /// Hands over events, as whole lines, that the webhook at this endpoint has rejected for this reason. Never waits.
    pub fn offer(&self, endpoint: String, message: &str, count: usize, events: &[&[u8]]) {
        let bytes = events.iter().map(|slice| slice.len()).sum::<usize>() + OVERHEAD;
        let before = self.waiting.fetch_add(bytes, AcqRel);
        if before > 0 && before + bytes > MAX_WAITING {
            self.waiting.fetch_sub(bytes, AcqRel);
            self.report.rejects_unsaved(count, "too many at a time");
            return;
        }
        let entry = Entry {
            time: SystemTime::now(),
            endpoint,
            message: message.to_owned(),
            events: events.concat(),
            count,
        };
        // The thread outlives everyone who could send.
        let _ = self.entries.send(entry);
    }
}

/// Opens the file for appending.
///
/// # Errors
/// It can't be written to, or is not a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    open_or_make(path, true)
}

/// Checks that the file could be opened. Makes none.
///
/// # Errors
/// As for [`open`].
pub fn check(path: &Path) -> io::Result<()> {
    match open_or_make(path, false) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            host::check_writable(atomic_file::directory(path))
        }
        opened => opened.map(drop),
    }
}

fn open_or_make(path: &Path, makes: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A FIFO without a reader must not block the agent.
    let flags = libc::O_NONBLOCK;
    options.append(true).mode(0o600).custom_flags(flags);
    if makes && let Ok(file) = options.clone().create_new(true).open(path) {
        owner::hand_over(&file, || fs::metadata(atomic_file::directory(path)));
        return Ok(file);
    }
    // It was there, or is a link, which may lead to a file that must not be given to anybody.
    let file = options.create(makes).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            ErrorKind::InvalidInput,
            "is not a regular file",
        )),
    }
}

/// Appends an entry's events, one per line. Returns how many were written, even if not all could be.
fn write(path: &Path, max_bytes: u64, entry: &Entry) -> (usize, io::Result<()>) {
    let (mut saved, mut fitted) = (0, Ok(()));
    let result = (|| {
        let mut file = open(path)?;
        for event in entry.events.split_inclusive(|byte| *byte == b'\n') {
            let line = line(entry, event.trim_ascii_end());
            let length = line.len() as u64;
            if length > max_bytes {
                fitted = Err(io::Error::new(
                    ErrorKind::FileTooLarge,
                    "an event is larger than --reject-bytes",
                ));
                continue;
            }
            let mut size = file.metadata()?.len();
            if size > 0 && size + length > max_bytes {
                fs::rename(path, older(path))?;
                file = open(path)?;
                size = 0;
            }
            file.write_all(&line).inspect_err(|_| {
                // Half a line would spoil the line after it.
                let _ = file.set_len(size);
            })?;
            saved += 1;
        }
        file.sync_data()
    })();
    (saved, result.and(fitted))
}

/// The file with what was written before this one was full.
pub fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Whether what is rejected would be written to `path`: that is this file or the older one, maybe by another name.
pub fn is_written(file: &Path, path: &Path) -> bool {
    let identity = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    let found = identity(path);
    let is_it = |own: &Path| own == path || (found.is_some() && identity(own) == found);
    is_it(file) || is_it(&older(file))
}

/// `{"time":…,"endpoint":…,"status":…,"answer":…,"event":…}`, the event as it is, and last.
fn line(entry: &Entry, event: &[u8]) -> Vec<u8> {
    let status = entry
        .message
        .strip_prefix("HTTP ")
        .and_then(|rest| rest.get(..3));
    let status = status.and_then(|digits| digits.parse::<u16>().ok());
    let answer = match status {
        Some(_) => entry.message["HTTP 400".len()..].trim_start(),
        None => &entry.message,
    };
    let head = format!(
        r#"{{"time":"{}","endpoint":{},"status":{},"answer":{},"event":"#,
        humantime::format_rfc3339_millis(entry.time),
        Value::from(entry.endpoint.as_str()),
        Value::from(status),
        Value::from(answer),
    );
    [head.as_bytes(), event, b"}\n"].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
    use std::time::Duration;

    use super::*;

    fn entry(message: &str, events: &[u8]) -> Entry {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            endpoint: "https://hec:8088".into(),
            message: message.into(),
            events: events.into(),
            count: events.split_inclusive(|byte| *byte == b'\n').count(),
        }
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_line_has_the_event_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rejected.json");
        let events = b"{\"a\": 1.0e3,\"b\":\"\\u0026\"}\n{\"a\":12345678901234567890}\n";
        assert_eq!(
            write(&path, 1000, &entry("HTTP 400 say \"no\"", events)).0,
            2
        );
        assert_eq!(
            write(&path, 1000, &entry("no answer within 30s", b"{}\n")).0,
            1
        );
        let head = r#"{"time":"1970-01-01T00:00:00.000Z","endpoint":"https://hec:8088","status":"#;
        let lines = [
            format!(r#"{head}400,"answer":"say \"no\"","event":{{"a": 1.0e3,"b":"\u0026"}}}}"#),
            format!(r#"{head}400,"answer":"say \"no\"","event":{{"a":12345678901234567890}}}}"#),
            format!(r#"{head}null,"answer":"no answer within 30s","event":{{}}}}"#),
        ];
        assert_eq!(text(&path), lines.join("\n") + "\n");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        for message in ["HTTP", "HTTP 4", "HTTP 40é", "HTTP 400", ""] {
            assert!(serde_json::from_slice::<Value>(&line(&entry(message, b""), b"{}")).is_ok());
        }
    }

    /// Only root can give files away, and must not do so with what a link of the service's user leads to.
    #[test]
    fn only_a_file_that_was_just_made_is_given_away() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, made) = (dir.path().join("link"), dir.path().join("made"));
        let there = other.path().join("there");
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        if chown(dir.path(), Some(4711), Some(4711)).is_err() {
            return;
        }
        symlink(&there, &link).unwrap();
        for _ in 0..2 {
            open(&link).unwrap();
            check(&link).unwrap();
            open(&made).unwrap();
            assert_eq!((owner(&there), owner(&made)), (0, 4711));
        }
    }

    #[test]
    fn beyond_its_limit_one_older_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (path, older) = (dir.path().join("r"), dir.path().join("r.1"));
        let length = line(&entry("HTTP 400", b""), b"{\"n\":0}").len() as u64;
        for number in 0..5 {
            let event = format!("{{\"n\":{number}}}\n");
            assert!(
                write(&path, 2 * length, &entry("HTTP 400", event.as_bytes()))
                    .1
                    .is_ok()
            );
        }
        assert!(text(&older).contains("{\"n\":2}") && text(&older).contains("{\"n\":3}"));
        assert_eq!(text(&path).lines().count(), 1);
        let (saved, result) = write(
            &path,
            length,
            &entry("HTTP 400", b"{\"n\":5}\n{\"n\":600}\n{\"n\":7}\n"),
        );
        assert_eq!(saved, 2, "it costs no other one");
        assert!(text(&path).contains("{\"n\":7}"));
        assert!(result.unwrap_err().to_string().contains("--reject-bytes"));
    }

    #[test]
    fn a_file_that_can_not_be_written_to_stops_nothing_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(open(dir.path()).is_err() && open(Path::new("/dev/null")).is_err());
        let fifo = dir.path().join("fifo");
        let path = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
        // SAFETY: the path is a string that ends with NUL.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        assert!(open(&fifo).is_err());

        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let (rejects, ended) =
            Rejects::start(dir.path().join("no/file"), 1000, Arc::clone(&report)).unwrap();
        // Each would be alone in the queue, or there is room for it.
        for _ in 0..3 {
            rejects.offer(String::new(), "HTTP 400", 2, &[b"{}\n", b"{}\n"]);
        }
        drop(rejects);
        assert!(ended.recv().is_err());
        let rejects = report.snapshot().rejects;
        assert_eq!((rejects.saved, rejects.unsaved), (0, 6));
    }

    #[test]
    fn what_was_written_or_not_waits_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let path = dir.path().join("file");
        let (rejects, ended) = Rejects::start(path.clone(), 500, Arc::clone(&report)).unwrap();
        let waiting = Arc::clone(&rejects.waiting);
        let large = format!("{{\"large\":\"{}\"}}\n", "x".repeat(500));
        rejects.offer(
            String::new(),
            "HTTP 400",
            3,
            &[b"{\"n\":1}\n", large.as_bytes(), b"{}\n"],
        );
        rejects.offer(String::new(), "HTTP 400", 1, &[b"{\"n\":2}\n"]);
        drop(rejects);
        assert!(ended.recv().is_err());
        let rejects = report.snapshot().rejects;
        assert_eq!((rejects.saved, rejects.unsaved), (3, 1));
        assert_eq!(text(&path).lines().count(), 3);
        assert_eq!(waiting.load(std::sync::atomic::Ordering::Acquire), 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let report = Arc::new(Report::new(Duration::from_secs(10), Vec::new()));
        let (entries, queue) = unbounded();
        let rejects = Rejects {
            entries,
            waiting: Arc::default(),
            report: Arc::clone(&report),
        };
        let large = vec![b'x'; MAX_WAITING + 1];
        for expected in [1, 1] {
            rejects.offer(String::new(), "", 1, &[&large]);
            assert_eq!(queue.len(), expected);
        }
        assert_eq!(report.snapshot().rejects.unsaved, 1);
        rejects
            .waiting
            .store(0, std::sync::atomic::Ordering::Release);
        // Each of the first four takes a quarter of the room.
        for _ in 0..10 {
            rejects.offer(
                String::new(),
                "",
                1,
                &[&large[..MAX_WAITING / 4 - OVERHEAD]],
            );
        }
        assert_eq!(queue.len(), 1 + 4);
    }
}
