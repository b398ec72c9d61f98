//! `spool`: what is in a spool, its events as lines, and whether it is sound. It reads the spool as it is, even while
//! an agent uses it.
//!
//! With `--json`, `list` and `verify` print one object, whose names are stable: `dir`; `position`, the number of the
//! first event that was not delivered; `bytes`; `events`, how many were not delivered; `damaged_bytes` and
//! `missing_events`; and `segments`, each with `name`, `first` (the number of its first event), `events`, `bytes`,
//! `damaged_bytes`, `missing_events` (before it and in it), and `from` and `to`, when its first and last events were
//! written. Times are RFC 3339; what does not apply is null.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_seconds;
use memchr::memchr_iter;
use serde_json::{Value, json};

use crate::buffer::spool::dir::{Access, Dir, RealDir, SpoolFile};
use crate::buffer::spool::position::{self, Stored};
use crate::buffer::spool::record::RECORD_HEAD;
use crate::buffer::spool::scan::{Scan, Scanned};
use crate::buffer::spool::segments::{self, Segment};
use crate::cli::terminal::{columns, note, print, shown};
use crate::config::error::CommandError;
use crate::config::options::{SpoolAction, SpoolOptions};
use crate::sys::exit;
use crate::text::quantity::Size;

/// What was found in one segment.
struct Found {
    segment: Segment,
    events: u64,
    /// Events from the position on.
    left: u64,
    damaged: u64,
    missing: u64,
    times: Option<(u32, u32)>,
    /// Why not all of it can be read.
    error: Option<String>,
}

impl Found {
    /// Nothing yet, in a segment before which so many events are missing.
    fn in_segment(segment: Segment, missing: u64) -> Self {
        Found {
            segment,
            events: 0,
            left: 0,
            damaged: 0,
            missing,
            times: None,
            error: None,
        }
    }

    /// The missing segment, if events with these numbers were written but are not there.
    fn missing_after(next: u64, end: u64) -> Option<Self> {
        let missing = end.checked_sub(next).filter(|missing| *missing > 0)?;
        Some(Found::in_segment(Segment::new(next, 0), missing))
    }
}

/// Does what the options ask for.
///
/// # Errors
/// There is no spool, some of it can't be read, or `verify` or `cat` has found damage.
pub fn spool(options: &SpoolOptions) -> Result<ExitCode, CommandError> {
    let path = options.spool.directory();
    let failed = |error: io::Error| CommandError::Failed(format!("{}: {error}", path.display()));
    let no_spool = |why: &dyn Display| {
        let fix = "fix: give --spool-dir, or --state-dir, as the agent has it";
        CommandError::Failed(format!("{}: {why}; {fix}", path.display()))
    };
    let dir = RealDir::existing(&path).map_err(|error| no_spool(&error))?;
    // Must come before the segments are listed: a running agent adds to them.
    let end = position::read(&dir).map_err(failed)?.resume(None).end;
    let segments = segments::as_read(&dir, end).map_err(failed)?;
    let stored = stored(&dir).map_err(failed)?;
    if stored == Stored::Missing && segments.is_empty() {
        return Err(no_spool(&"there is no spool"));
    }
    // Without a readable position, the agent would deliver everything.
    let position = stored
        .resume(segments.first().map(|segment| segment.first))
        .acked;
    let mut has_failed = is_doubtful(&stored);
    let mut out = BufWriter::new(io::stdout().lock());
    let is_cat = options.action == SpoolAction::Cat;
    let mut next = Some(position);
    let mut all = Vec::new();
    for segment in segments {
        let file = match dir.open(&segment.name(), Access::Read) {
            // The agent has delivered and removed it, so it is not missing.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                next = None;
                continue;
            }
            opened => opened,
        };
        let print = |lines: &[u8]| if is_cat { out.write_all(lines) } else { Ok(()) };
        let found = match read(file, segment, position, &mut next, print) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(CommandError::Failed(format!("standard output: {error}"))),
            Ok(found) => found,
        };
        if let Some(error) = &found.error {
            has_failed = true;
            note(&format!(
                "{}: {error}; {} bytes are left out",
                found.segment.name(),
                found.damaged
            ));
        }
        all.push(found);
    }
    all.extend(next.and_then(|next| Found::missing_after(next, end)));
    let damaged: u64 = all.iter().map(|found| found.damaged).sum();
    let missing: u64 = all.iter().map(|found| found.missing).sum();
    let is_whole = damaged + missing == 0;
    let text = match (is_cat, options.json) {
        (true, _) => String::new(),
        (false, true) => format!("{:#}\n", as_json(&path, position, &all)),
        (false, false) => as_text(&path, &all),
    };
    print(out, &text)?;
    if is_cat && !is_whole {
        note(&format!(
            "not all events are here: {damaged} bytes are damaged, {missing} events are missing"
        ));
    }
    let is_right = is_whole || options.action == SpoolAction::List;
    Ok(exit::code(is_right && !has_failed))
}

/// What the position says.
///
/// # Errors
/// It can't be read.
fn stored(dir: &dyn Dir) -> io::Result<Stored> {
    match position::read(dir)? {
        // A running agent may just have been writing it.
        Stored::Older(_) => position::read(dir),
        stored => Ok(stored),
    }
}

/// Whether the position says too little, which is noted.
fn is_doubtful(stored: &Stored) -> bool {
    let doubt = match stored {
        Stored::Damaged => "damaged; so all events are taken for undelivered",
        Stored::Missing => "missing; so all events are taken for undelivered",
        Stored::Older(_) => {
            "half of it is damaged; so delivered events may be taken for undelivered"
        }
        Stored::At(_) | Stored::Newer => return false,
    };
    note(&format!("{}: {doubt}", position::NAME));
    true
}

/// Goes through a segment, whatever of it can't be read, and shows the lines of those of its events that were not
/// delivered.
///
/// # Errors
/// They can't be shown.
fn read(
    file: io::Result<Arc<dyn SpoolFile>>,
    segment: Segment,
    position: u64,
    following: &mut Option<u64>,
    mut show: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Found> {
    let next = following.get_or_insert(segment.first);
    let missing = segment.first.saturating_sub(*next);
    let mut found = Found::in_segment(segment, missing);
    *next += found.missing;
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            found.damaged = found.segment.bytes;
            found.error = Some(error.to_string());
            return Ok(found);
        }
    };
    let mut scan = Scan::default();
    loop {
        match scan.next(&*file, found.segment.bytes) {
            Ok(Scanned::Record(head, lines)) if head.end() > found.segment.until => {
                // The next segment has what begins beyond its first number.
                if head.first < found.segment.until {
                    found.damaged += (RECORD_HEAD + lines.len()) as u64;
                }
            }
            Ok(Scanned::Record(head, lines)) => {
                found.events += u64::from(head.events);
                found.times = Some((found.times.map_or(head.time, |times| times.0), head.time));
                found.missing += head.first.saturating_sub(*next);
                // Duplicates are shown only once.
                let known = position.max(*next).saturating_sub(head.first);
                *next = head.end().max(*next);
                if known < u64::from(head.events) {
                    let mut ends = memchr_iter(b'\n', lines);
                    let start = match known {
                        0 => 0,
                        _ => ends
                            .nth(known as usize - 1)
                            .map_or(lines.len(), |end| end + 1),
                    };
                    show(&lines[start..])?;
                    found.left += u64::from(head.events) - known;
                }
            }
            Ok(Scanned::Damaged(bytes)) => found.damaged += bytes as u64,
            Ok(Scanned::Newer) => {
                let what = "a newer version of this program has written it";
                (found.damaged, found.error) = (found.segment.bytes, Some(what.into()));
                return Ok(found);
            }
            Ok(Scanned::End(_)) => return Ok(found),
            Err(error) => {
                found.error.get_or_insert(error.to_string());
                let skipped = scan.skip_unreadable(Some(&*file), found.segment.bytes);
                found.damaged += skipped;
                if skipped == 0 {
                    return Ok(found);
                }
            }
        }
    }
}

fn time(seconds: u32) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into());
    format_rfc3339_seconds(time).to_string()
}

fn as_json(path: &Path, position: u64, all: &[Found]) -> Value {
    let sum = |of: fn(&Found) -> u64| all.iter().map(of).sum::<u64>();
    let segments = all.iter().map(|found| {
        json!({
            "name": found.segment.name(),
            "first": found.segment.first,
            "events": found.events,
            "bytes": found.segment.bytes,
            "damaged_bytes": found.damaged,
            "missing_events": found.missing,
            "from": found.times.map(|times| time(times.0)),
            "to": found.times.map(|times| time(times.1)),
        })
    });
    json!({
        "dir": path.to_string_lossy(),
        "position": position,
        "bytes": sum(|found| found.segment.bytes),
        "events": sum(|found| found.left),
        "damaged_bytes": sum(|found| found.damaged),
        "missing_events": sum(|found| found.missing),
        "segments": segments.collect::<Vec<_>>(),
    })
}

fn as_text(path: &Path, all: &[Found]) -> String {
    let size = |bytes: u64| Size(usize::try_from(bytes).unwrap_or(usize::MAX)).to_string();
    let bytes = all.iter().map(|found| found.segment.bytes).sum();
    let left: u64 = all.iter().map(|found| found.left).sum();
    let dir = shown(&path.to_string_lossy());
    let mut text = format!(
        "{dir}: {left} events not delivered, {} on disk\n",
        size(bytes)
    );
    let rows: Vec<_> = all
        .iter()
        .map(|found| {
            let mut rest = size(found.segment.bytes);
            if let Some((from, to)) = found.times {
                rest += &format!(", {} to {}", time(from), time(to));
            }
            if found.damaged + found.missing > 0 {
                let (bytes, events) = (found.damaged, found.missing);
                rest += &format!("; DAMAGED: {bytes} bytes, {events} events missing");
            }
            [
                found.segment.name(),
                format!("{} events, {} not delivered", found.events, found.left),
                rest,
            ]
        })
        .collect();
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.each_ref().map(String::as_str))
        .collect();
    text += &columns(&rows);
    text
}
