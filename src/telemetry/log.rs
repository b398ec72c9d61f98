//! The log: standard error, one line per occurrence, level by `S3_AUDIT_WEBHOOK_LOG`, as text or as JSON. In systemd's
//! journal, which has the time anyway, each line begins with its priority, so that `journalctl -p warning` finds what
//! went wrong.
//!
//! Lines go through a bounded backlog to a thread of its own: whoever logs never waits for whoever reads the log.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::str::FromStr;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use env_logger::{Builder, Logger};
use log::{Level, LevelFilter, Log as _, Metadata};
use serde_json::Value;

use super::backlog::{Backlog, Entry};
use super::message::{MAX_TEXT, Message};
use crate::sys::thread::spawn;
use crate::text::choice::choose;
use crate::text::escape::shown;

/// Sets the levels, in env_logger's syntax.
pub const VARIABLE: &str = "S3_AUDIT_WEBHOOK_LOG";

/// The most memory that lines waiting for standard error take.
const BACKLOG_BYTES: usize = 256 << 10;
/// How long a panic waits for the log.
const LAST_WAIT: Duration = Duration::from_millis(300);

/// The time between two attempts to write to a non-blocking sink that is full.
const NEXT_TRY: Duration = Duration::from_millis(10);

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Time, level and text.
    Text,
    /// A JSON object with time, level, message name, text and fields.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        choose(
            text,
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
        )
    }
}

/// Lines on their way to a sink.
struct Queue {
    backlog: Mutex<Backlog>,
    /// Something was added.
    added: Condvar,
    /// Everything was written.
    written: Condvar,
    style: Style,
}

/// How lines are formatted.
#[derive(Debug, Clone, Copy)]
struct Style {
    format: LogFormat,
    /// Lines have priorities instead of times.
    is_journal: bool,
}

/// The log of this process. Libraries write headers and addresses to their own logs, so those go nowhere.
static LOG: OnceLock<(Logger, Queue)> = OnceLock::new();

/// Starts the log, and has panics logged. Until then, and in programs other than the agent, nothing is logged.
///
/// # Errors
/// The variable's value is not a level, or no more threads can be started.
pub fn start(format: LogFormat) -> Result<(), String> {
    let filters = env::var(VARIABLE).unwrap_or_else(|_| "info".into());
    if !filters.split(',').all(is_filter) {
        return Err(format!(
            "'{filters}' is no log level; fix: use error, warn, info or off"
        ));
    }
    let style = Style {
        format,
        is_journal: is_journal(),
    };
    let (_, queue) = LOG.get_or_init(|| {
        let filter = Builder::new().parse_filters(&filters).build();
        (filter, Queue::new(style, BACKLOG_BYTES))
    });
    let spawned = spawn("log", move || queue.run(&mut io::stderr()));
    spawned.map_err(|error| error.to_string())?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

impl Message {
    /// Writes it to the log, if that was started and the level is enabled. Never waits: a line that the log has no room
    /// for is counted instead.
    pub fn log(&self) {
        if let Some(queue) = queue(self.level()) {
            queue.push(self);
        }
    }
}

/// Logs the last message: there is always room for it, and nothing follows.
pub fn write_last(message: &Message) {
    if let Some(queue) = queue(message.level()) {
        queue.push_last(message);
    }
}

/// Waits up to `timeout` until all lines are written. True if they are.
pub fn flush(timeout: Duration) -> bool {
    LOG.get().is_none_or(|(_, queue)| queue.flush(timeout))
}

/// The log, if it takes messages of this level.
fn queue(level: Level) -> Option<&'static Queue> {
    let (filter, queue) = LOG.get()?;
    let target = env!("CARGO_CRATE_NAME");
    let metadata = Metadata::builder().level(level).target(target).build();
    filter.enabled(&metadata).then_some(queue)
}

fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let thread = thread::current();
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let what = text.unwrap_or("?");
    Message::Panicked {
        thread: thread.name().unwrap_or("?").into(),
        message: format!("{what} at {place}"),
    }
    .log();
    flush(LAST_WAIT);
}

impl Queue {
    fn new(style: Style, limit: usize) -> Self {
        Queue {
            backlog: Mutex::new(Backlog::new(limit)),
            added: Condvar::new(),
            written: Condvar::new(),
            style,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, message: &Message) {
        let line = self.style.line(message, SystemTime::now());
        self.lock().push(line);
        self.added.notify_one();
    }

    fn push_last(&self, message: &Message) {
        let line = self.style.line(message, SystemTime::now());
        self.lock().push_last(line);
        self.added.notify_one();
    }

    /// Writes lines as they come, up to the last one.
    fn run(&self, sink: &mut impl Write) {
        while let Some(entry) = self.next() {
            let line = match entry {
                Entry::Line(line) => line,
                Entry::Lost(lines) => {
                    let message = Message::LogLinesLost { lines };
                    self.style.line(&message, SystemTime::now())
                }
            };
            write_whole(sink, line.as_bytes());
        }
    }

    /// The next entry, once the one before it is written. `None` after the last one.
    fn next(&self) -> Option<Entry> {
        let mut backlog = self.lock();
        loop {
            let entry = backlog.pop();
            if entry.is_some() {
                return entry;
            }
            self.written.notify_all();
            if backlog.is_over() {
                return None;
            }
            let waited = self.added.wait(backlog);
            backlog = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut backlog = self.lock();
        while !backlog.is_written() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.written.wait_timeout(backlog, left);
            backlog = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Standard error may be a terminal or a pipe that another process has made non-blocking.
fn write_whole(sink: &mut impl Write, mut line: &[u8]) {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return,
            Ok(count) => line = &line[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NEXT_TRY),
            Err(_) => return,
        }
    }
}

impl Style {
    /// The line for a message, with its newline, of bounded length.
    fn line(self, message: &Message, now: SystemTime) -> String {
        let level = message.level();
        let time = humantime::format_rfc3339_seconds(now);
        let text = shown(&message.text(), MAX_TEXT);
        let priority = match self.is_journal {
            true => format!("<{}>", priority(level)),
            false => String::new(),
        };
        match self.format {
            LogFormat::Text if self.is_journal => format!("{priority}{level:5} {text}\n"),
            LogFormat::Text => format!("{time} {level:5} {text}\n"),
            LogFormat::Json => {
                let quoted = Value::from(text);
                let fields = Value::Object(message.fields());
                let (name, level) = (message.name(), level.as_str().to_ascii_lowercase());
                format!(
                    "{priority}{{\"time\":\"{time}\",\"level\":\"{level}\",\"message\":\"{name}\",\"text\":{quoted},\
                     \"fields\":{fields}}}\n"
                )
            }
        }
    }
}

/// Whether standard error goes to the journal, according to `JOURNAL_STREAM` as systemd.exec(5) describes it.
fn is_journal() -> bool {
    let Ok(journal) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stream = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let found = stream.and_then(|stream| stream.metadata());
    found.is_ok_and(|found| journal == format!("{}:{}", found.dev(), found.ino()))
}

/// As syslog(3) numbers them.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// env_logger takes a word that is not a level for a module's name, and then logs nothing else.
fn is_filter(part: &str) -> bool {
    let (module, level) = part
        .split_once('=')
        .unwrap_or((env!("CARGO_CRATE_NAME"), part));
    module == env!("CARGO_CRATE_NAME") && level.trim().parse::<LevelFilter>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const TEXT: Style = Style {
        format: LogFormat::Text,
        is_journal: false,
    };

    /// Takes a line when it is allowed to, and passes it on.
    struct Sink {
        allowed: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.allowed.try_recv().is_err() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let _ = self
                .written
                .send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A running queue of `limit` bytes, the sender that lets it write a line, and what it has written.
    fn blocked(limit: usize) -> (Arc<Queue>, Sender<()>, Receiver<String>) {
        let queue = Arc::new(Queue::new(TEXT, limit));
        let ((allow, allowed), (written, lines)) = (channel(), channel());
        let running = Arc::clone(&queue);
        thread::spawn(move || running.run(&mut Sink { allowed, written }));
        (queue, allow, lines)
    }

    fn message(number: usize) -> Message {
        Message::SettingNeedsRestart {
            setting: format!("number {number}"),
        }
    }

    #[test]
    fn a_sink_that_takes_nothing_delays_nobody_and_what_did_not_fit_is_counted() {
        let (queue, allow, lines) = blocked(1 << 10);
        for number in 0..100 {
            queue.push(&message(number));
        }
        assert!(!queue.flush(Duration::from_millis(20)));
        for _ in 0..100 {
            allow.send(()).unwrap();
        }
        assert!(queue.flush(Duration::from_secs(60)));
        let (mut accounted, mut lost) = (0, 0);
        for line in lines.try_iter() {
            if line.contains(" log lines were lost ") {
                let count = line.split_whitespace().nth(2).unwrap();
                lost += count.parse::<usize>().unwrap();
                accounted += count.parse::<usize>().unwrap();
            } else {
                let expected = format!("number {accounted} has changed");
                assert!(line.contains(&expected), "{line}");
                accounted += 1;
            }
        }
        assert_eq!(accounted, 100);
        assert!((1..100).contains(&lost), "{lost}");

        queue.push(&message(100));
        queue.push_last(&message(101));
        queue.push(&message(102));
        assert!(queue.flush(Duration::from_secs(60)));
        assert_eq!(lines.try_iter().count(), 2);
    }

    #[test]
    fn a_line_is_text_or_json_for_a_terminal_or_for_the_journal() {
        let message = Message::SourceUnavailable {
            source: "file:/a\u{1b}[2J".into(),
            error: "no \"b\"\nc".into(),
        };
        for (format, is_journal, expected) in [
            (
                LogFormat::Text,
                false,
                "1970-01-01T00:00:00Z WARN  file:/a\\u{1b}[2J: unavailable: no \"b\"\\nc; retrying\n",
            ),
            (
                LogFormat::Text,
                true,
                "<4>WARN  file:/a\\u{1b}[2J: unavailable: no \"b\"\\nc; retrying\n",
            ),
            (
                LogFormat::Json,
                false,
                "{\"time\":\"1970-01-01T00:00:00Z\",\"level\":\"warn\",\"message\":\"source_unavailable\",\
                 \"text\":\"file:/a\\\\u{1b}[2J: unavailable: no \\\"b\\\"\\\\nc; retrying\",\"fields\":{\
                 \"error\":\"no \\\"b\\\"\\\\nc\",\"source\":\"file:/a\\\\u{1b}[2J\"}}\n",
            ),
        ] {
            let style = Style { format, is_journal };
            assert_eq!(style.line(&message, SystemTime::UNIX_EPOCH), expected);
        }
    }

    #[test]
    fn only_levels_of_this_program_are_filters() {
        for filter in ["info", "WARN", "s3_audit_webhook=debug", "off"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "verbose", "ureq=trace", "info=ureq"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }
}
