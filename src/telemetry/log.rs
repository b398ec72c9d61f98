//! The log: standard error, one line per occurrence, level by `S3_AUDIT_WEBHOOK_LOG`, as text or as JSON. In systemd's
//! journal, which has the time anyway, each line begins with its priority, so that `journalctl -p warning` finds what
//! went wrong.
//!
//! Lines go through a queue, which is bounded in bytes, to a thread of its own: whoever logs never waits for whoever
//! reads the log.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic;
use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use env_logger::{Builder, Logger};
use log::{Level, LevelFilter, Log as _, Metadata};
use serde_json::Value;

use super::line_writer::LineWriter;
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

/// Lines on their way to a sink. Nobody waits for room: lines that find none are counted.
struct Queue {
    entries: Sender<Entry>,
    queued: Receiver<Entry>,
    /// The memory that queued lines take, and may take.
    bytes: AtomicUsize,
    limit: usize,
    /// Lines that found no room since the last that did.
    lost: AtomicU64,
    style: Style,
}

/// What the log's thread does next.
enum Entry {
    /// Writes a line, before which so many are missing. After the last one it writes nothing.
    Line {
        lost: u64,
        text: String,
        is_last: bool,
    },
    /// Says that everything before this is written.
    Flush(Sender<()>),
}

/// The memory that a queued line takes.
fn cost(text: &String) -> usize {
    text.capacity() + size_of::<Entry>()
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

/// The levels that the variable sets.
///
/// # Errors
/// Its value is none.
pub fn filters() -> Result<String, String> {
    let filters = env::var(VARIABLE).unwrap_or_else(|_| "info".into());
    match filters.split(',').all(is_filter) {
        true => Ok(filters),
        false => Err(format!(
            "'{filters}' is no log level; fix: use error, warn, info or off"
        )),
    }
}

/// Starts the log with these [`filters`], and has panics logged. Until then, and in programs other than the agent, nothing
/// is logged.
///
/// # Errors
/// No more threads can be started.
pub fn start(filters: &str, format: LogFormat) -> io::Result<()> {
    let style = Style {
        format,
        is_journal: is_journal(),
    };
    let (_, queue) = LOG.get_or_init(|| {
        let filter = Builder::new().parse_filters(filters).build();
        (filter, Queue::new(style, BACKLOG_BYTES))
    });
    spawn("log", move || queue.run(&mut io::stderr()))?;
    panic::set_hook(Box::new(log_panic));
    Ok(())
}

impl Message {
    /// Writes it to the log, if that was started and the level is enabled. Never waits: a line that the log has no room
    /// for is counted instead.
    pub fn log(&self) {
        if let Some(queue) = queue(self.level()) {
            queue.push(self, false);
        }
    }
}

/// Logs the last message: there is always room for it, and nothing follows.
pub fn write_last(message: &Message) {
    if let Some(queue) = queue(message.level()) {
        queue.push(message, true);
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
        let (entries, queued) = unbounded();
        Queue {
            entries,
            queued,
            bytes: AtomicUsize::new(0),
            limit,
            lost: AtomicU64::new(0),
            style,
        }
    }

    /// Adds a line if there is room, which there always is for the last one.
    fn push(&self, message: &Message, is_last: bool) {
        let text = self.style.line(message, SystemTime::now());
        let cost = cost(&text);
        let used = self.bytes.fetch_add(cost, SeqCst) + cost;
        if used > self.limit && !is_last {
            self.bytes.fetch_sub(cost, SeqCst);
            self.lost.fetch_add(1, SeqCst);
            return;
        }
        let lost = self.lost.swap(0, SeqCst);
        self.send(Entry::Line {
            lost,
            text,
            is_last,
        });
    }

    fn send(&self, entry: Entry) {
        // Both ends are here, so it can't fail.
        let _ = self.entries.send(entry);
    }

    /// Writes lines as they come. What the sink does not take, such as on a full disk, is counted, and reported when it
    /// takes something again.
    fn run(&self, sink: &mut impl Write) {
        let gap = |lines| {
            let message = Message::LogLinesLost { lines };
            self.style.line(&message, SystemTime::now())
        };
        let mut lines = LineWriter::new(sink, gap);
        let mut is_over = false;
        for entry in &self.queued {
            let mut flushed = None;
            match entry {
                Entry::Line { .. } if is_over => {}
                Entry::Line {
                    lost,
                    text,
                    is_last,
                } => {
                    lines.lose(lost);
                    lines.write(&text);
                    self.bytes.fetch_sub(cost(&text), SeqCst);
                    is_over = is_last;
                }
                Entry::Flush(written) => flushed = Some(written),
            }
            // It may take long until another line follows.
            if self.queued.is_empty() && !is_over {
                lines.lose(self.lost.swap(0, SeqCst));
            }
            if let Some(written) = flushed {
                // Nobody may wait for it any more.
                let _ = written.send(());
            }
        }
    }

    fn flush(&self, timeout: Duration) -> bool {
        let (written, is_written) = bounded(1);
        self.send(Entry::Flush(written));
        is_written.recv_timeout(timeout).is_ok()
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
mod tests;
