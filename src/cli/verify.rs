//! `verify`: whether anything is missing from an export of an archive.
//!
//! With `--json` it prints one object, whose names are stable: `explained`; `others`, lines of no stream; `unreadable`,
//! lines that are not JSON objects; and `streams`, each with `stream`, `host`, `from` and `to` (the times of its first
//! and last record), `events`, `numbers` (those that should be there), `seen`, `doubled`, `missing`, `owned` (by
//! reason), `counted` (of which a record only says how many there are), `killed`, `unexplained`, `missing_records` and
//! `conflicting_records`. Sets of numbers are texts such as `3-5,9`; `seen` and `doubled` are counts.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::cli::terminal::{print, shown};
use crate::config::error::CommandError;
use crate::config::options::VerifyOptions;
use crate::framer::{Frame, Framer, MAX_DEPTH};
use crate::sys::exit;
use crate::telemetry::message::Events;
use crate::text::ranges::Ranges;
use crate::trail::verify::{Found, Stream};
use crate::trail::{READ_AGAIN, RESENT};

/// The most bytes of an event, with all that an export wraps around it.
const MAX_EVENT: usize = 64 << 20;
/// How many levels an export wraps around an event.
const WRAPPING: usize = 8;

/// How many ranges of a set are shown to people.
const SHOWN: usize = 20;

/// Reads the exports, and reports what is missing. The exit code is 1 if something is missing that no record explains,
/// or if a line has no stream.
///
/// # Errors
/// An export can't be read.
pub fn verify(options: &VerifyOptions) -> Result<ExitCode, CommandError> {
    let mut found = Found::default();
    for path in &options.files {
        read(path, &mut found)
            .map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))?;
    }
    let text = match options.json {
        true => format!("{:#}\n", as_json(&found)),
        false => as_text(&found),
    };
    print(io::stdout(), &text)?;
    Ok(exit::code(found.is_explained()))
}

fn read(path: &Path, found: &mut Found) -> io::Result<()> {
    let mut export: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(path)?),
    };
    // One line for each event, an array, or objects that span several lines.
    let mut framer = Framer::new(MAX_EVENT);
    framer.set_max_depth(MAX_DEPTH + WRAPPING);
    loop {
        let count = match export.read(framer.space()) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            count => count?,
        };
        match count {
            0 => framer.end(),
            _ => framer.filled(count),
        }
        while let Some(frame) = framer.next() {
            match frame {
                Frame::Event(event) => found.add(event.raw()),
                Frame::Lost(_) => found.unreadable += 1,
            }
        }
        if count == 0 {
            return Ok(());
        }
    }
}

fn as_json(found: &Found) -> Value {
    let streams = found.streams.iter().map(|(name, stream)| {
        let (from, to) = stream.times.clone().unzip();
        let owned = missing_by_reason(stream)
            .map(|(reason, numbers)| (reason.to_owned(), numbers.to_string().into()));
        json!({
            "stream": name,
            "host": stream.host,
            "from": from,
            "to": to,
            "events": stream.events,
            "numbers": stream.expected().to_string(),
            "seen": stream.seen.count(),
            "doubled": stream.doubled.count(),
            "missing": stream.missing().to_string(),
            "owned": owned.collect::<Map<_, _>>(),
            "counted": stream.counted().to_string(),
            "killed": stream.killed.to_string(),
            "unexplained": stream.unexplained().to_string(),
            "missing_records": stream.lost_records().to_string(),
            "conflicting_records": stream.conflicts().to_string(),
        })
    });
    json!({
        "explained": found.is_explained(),
        "others": found.others,
        "unreadable": found.unreadable,
        "streams": streams.collect::<Vec<_>>(),
    })
}

/// The missing numbers that records explain.
fn missing_by_reason(stream: &Stream) -> impl Iterator<Item = (&str, Ranges)> {
    let missing = stream.missing();
    let gaps = stream.gaps.iter().map(move |(reason, owned)| {
        let here = missing.without(&missing.without(owned));
        (reason.as_str(), here)
    });
    gaps.filter(|(_, numbers)| !numbers.is_empty())
}

/// A set, cut if it gets too long.
fn listed(numbers: &Ranges) -> String {
    let ranges = numbers.iter();
    let first: Ranges = ranges.take(SHOWN).collect();
    let more = numbers.len() - first.len();
    match more {
        0 => first.to_string(),
        more => format!("{first} and {more} more ranges"),
    }
}

fn as_text(found: &Found) -> String {
    let streams = found.streams.iter();
    let mut text: String = streams.map(|(name, stream)| block(name, stream)).collect();
    if found.others > 0 {
        text += &format!("{} lines have no stream\n", found.others);
    }
    if found.unreadable > 0 {
        text += &format!("{} lines are no JSON objects\n", found.unreadable);
    }
    text += match found.is_explained() {
        true => "all is explained\n",
        false if found.streams.is_empty() => "no stream of a trail is in it\n",
        false if found.lacks_numbers() => {
            "no event of the export has a number: nothing is known about them\n"
        }
        false if found.are_streams_explained() => {
            "all that has a number is explained; nothing is known about the other lines\n"
        }
        false => "NOT all is explained\n",
    };
    text
}

/// All about a stream, in a few lines.
fn block(name: &str, stream: &Stream) -> String {
    let (from, to) = (stream.times.clone()).unwrap_or_else(|| ("?".into(), "?".into()));
    let (name, host) = (shown(name), shown(&stream.host));
    let mut text = format!(
        "stream {name} of {host}, {} to {}\n",
        shown(&from),
        shown(&to)
    );
    let mut line = |name: &str, rest: String| text += &format!("  {name:12}{rest}\n");
    let repeated = match stream.doubled.count() {
        0 => String::new(),
        times => format!("; {} came more than once", Events(times)),
    };
    let numbers = match stream.has_events() {
        true => {
            let (numbers, seen) = (listed(&stream.expected()), Events(stream.present()));
            let more = match stream.seen.count() - stream.present() {
                0 => String::new(),
                more => format!(", and {more} more that no record calls final"),
            };
            format!("{numbers}: {seen} seen{more}{repeated}")
        }
        false => {
            format!("no event here has one: only the trail's own records were checked{repeated}")
        }
    };
    line("numbers", numbers);
    for (name, numbers, what) in findings(stream) {
        if !numbers.is_empty() {
            line(name, what);
        }
    }
    text
}

/// What is said about sets of numbers, unless they are empty.
fn findings(stream: &Stream) -> Vec<(&'static str, Ranges, String)> {
    let explained = missing_by_reason(stream).map(|(reason, numbers)| {
        let (lost, list) = (Events(numbers.count()), listed(&numbers));
        let what = match reason {
            RESENT => format!("numbers of records that were sent again: {list}"),
            READ_AGAIN => format!("{lost} read again, with other numbers: {list}"),
            _ => format!(
                "{lost} lost ({}), which the trail says: {list}",
                shown(reason)
            ),
        };
        ("explained", numbers, what)
    });
    let mut all: Vec<_> = explained.collect();
    let mut add = |name, numbers: Ranges, what: &dyn Fn(Events, String) -> String| {
        let what = what(Events(numbers.count()), listed(&numbers));
        all.push((name, numbers, what));
    };
    add("explained", stream.counted(), &|lost, list| {
        format!("{lost} lost, of which the trail says how many, but not which: {list}")
    });
    add("unknown", stream.killed.clone(), &|_, list| {
        let what = "the agent was killed; what was given of these and did not arrive is lost, or was sent again with \
                    others";
        format!("{list}: {what}")
    });
    add("MISSING", stream.unexplained(), &|lost, list| {
        format!("{lost}, which nobody explains: {list}")
    });
    add("DOUBTFUL", stream.conflicts(), &|_, list| {
        let what = "several records have this number: two agents write this stream, as with a copied state \
                    directory, or somebody else writes records";
        format!("{list}: {what}")
    });
    add("MISSING", stream.lost_records(), &|_, list| {
        format!("records of the trail: {list}")
    });
    all
}
