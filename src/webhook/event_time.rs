//! When an event happened, according to the event itself; without parsing it into a tree.
//!
//! Unless a path says where the time is, it is looked for, ignoring case, in the members `time`, `timestamp`,
//! `@timestamp` and `eventTime` of the object itself, else of the first of its `Records`; if there are none, in `ts`,
//! `start_time` and `startTime`. MinIO, Weka, Versity and Ceph RGW write RFC 3339, SeaweedFS epoch seconds, RustFS
//! epoch milliseconds inside of `Records`; web servers the Common Log Format, Python a comma before the milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memrchr;

use crate::framer::walk::{self, Text};
use crate::text::path;

/// A moment, to the millisecond: HEC's `time` is no finer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTime {
    /// Milliseconds since 1970, UTC.
    pub milliseconds: u64,
}

/// As HEC wants it: epoch seconds, `1774075047.347`.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, rest) = (self.milliseconds / 1000, self.milliseconds % 1000);
        write!(f, "{seconds}.{rest:03}")
    }
}

/// Where in an event its time is: names of members, from the outside in, such as `meta.when`. A number chooses an
/// element of an array: `Records[0].eventTime`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePath(Vec<String>);

impl FromStr for TimePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let has_blank = |names: &Vec<String>| names.iter().any(|name| name.trim().is_empty());
        let names = path::names(text).filter(|names| !has_blank(names));
        names.map(TimePath).ok_or_else(|| {
            "lacks a name; fix: use names with dots between them, such as meta.when".into()
        })
    }
}

impl TimePath {
    /// The value there, as written.
    fn find<'a>(&self, event: &'a [u8]) -> Option<&'a [u8]> {
        self.0.iter().try_fold(event, |value, name| {
            if value.starts_with(b"[") {
                return walk::elements(value).nth(name.parse().ok()?);
            }
            let mut members = walk::members(value);
            members
                .find(|(found, _)| found.is(name.as_bytes()))
                .map(|(_, value)| value)
        })
    }
}

/// Members that say when the event happened.
const NAMES: [&[u8]; 4] = [b"time", b"timestamp", b"@timestamp", b"eventtime"];
/// Members that say so if there are none of the others.
const SECOND_NAMES: [&[u8]; 3] = [b"ts", b"start_time", b"starttime"];

impl EventTime {
    /// The time of a well-formed JSON object: what is at `path`, or, without one, what is found by its name. None if no
    /// time is understood.
    pub fn of(event: &[u8], path: Option<&TimePath>) -> Option<EventTime> {
        match path {
            Some(path) => parse(path.find(event)?),
            None => guess(event),
        }
    }
}

/// By how many seconds the last of these lines, each an event, is dated after `now`; negative if before. None without a
/// date.
pub fn skew_of_last(lines: &[u8], now: SystemTime) -> Option<i64> {
    let lines = lines.strip_suffix(b"\n")?;
    let last = memrchr(b'\n', lines).map_or(lines, |end| &lines[end + 1..]);
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_millis();
    let time = EventTime::of(last, None)?.milliseconds;
    Some((i64::try_from(time).ok()? - i64::try_from(now).ok()?) / 1000)
}

fn guess(event: &[u8]) -> Option<EventTime> {
    let Named {
        time,
        second,
        records,
    } = Named::of(event);
    let of_record = || {
        let record = Named::of(walk::elements(records?).next()?);
        record.time.or(record.second)
    };
    time.or_else(of_record).or(second)
}

/// What an object itself says of its time.
#[derive(Default)]
struct Named<'a> {
    time: Option<EventTime>,
    second: Option<EventTime>,
    records: Option<&'a [u8]>,
}

impl<'a> Named<'a> {
    /// Of an object, up to the time.
    fn of(object: &'a [u8]) -> Self {
        let is_one_of = |names: &[&[u8]], name: &[u8]| {
            let mut names = names.iter();
            names.any(|known| name.eq_ignore_ascii_case(known))
        };
        let mut found = Named::default();
        for (name, value) in walk::members(object) {
            let name = name.raw();
            if is_one_of(&NAMES, name) {
                found.time = parse(value);
                if found.time.is_some() {
                    break;
                }
            } else if name == b"Records" {
                found.records = found.records.or(Some(value));
            } else if found.second.is_none() && is_one_of(&SECOND_NAMES, name) {
                found.second = parse(value);
            }
        }
        found
    }
}

fn parse(value: &[u8]) -> Option<EventTime> {
    let milliseconds = match Text::of(value) {
        Some(text) => {
            let text = text.unescaped();
            let text = std::str::from_utf8(&text).ok()?;
            date(text).or_else(|| epoch(text))?
        }
        None => epoch(std::str::from_utf8(value).ok()?)?,
    };
    Some(EventTime { milliseconds })
}

/// Epoch seconds, or milli-, micro- or nanoseconds: the size tells which, from 2001 to 5138.
fn epoch(text: &str) -> Option<u64> {
    let number: f64 = text.parse().ok()?;
    let milliseconds = match number {
        1e9..1e11 => number * 1e3,
        1e11..1e14 => number,
        1e14..1e17 => number / 1e3,
        1e17..1e20 => number / 1e6,
        _ => return None,
    };
    Some(milliseconds.round() as u64)
}

/// A date and time of day as log files write them. Without an offset it is UTC.
fn date(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let mut rest = Fields(text.as_bytes());
    let (year, month, day) = if text.as_bytes().get(2) == Some(&b'/') {
        clf_day(&mut rest)?
    } else {
        iso_day(&mut rest)?
    };
    let hour = rest.number(2)?;
    rest.one_of(b":")?;
    let minute = rest.number(2)?;
    rest.one_of(b":")?;
    let second = rest.number(2)?;
    let milliseconds = rest.fraction()?;
    let offset = rest.offset()?;
    let in_range = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !in_range {
        return None;
    }
    let seconds = seconds_since_1970((year, month, day), (hour, minute - offset, second));
    u64::try_from(seconds * 1000 + milliseconds).ok()
}

/// From a day (year, month, day) of the proleptic Gregorian calendar and a time (hour, minute, second) of it, in UTC.
fn seconds_since_1970(
    (year, month, day): (i64, i64, i64),
    (hour, minute, second): (i64, i64, i64),
) -> i64 {
    // In years that begin in March.
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}

/// `2026-11-22T`, as in RFC 3339; also with a blank for the `T`, as in `2026-11-22 05:45:48,119`.
fn iso_day(rest: &mut Fields<'_>) -> Option<(i64, i64, i64)> {
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.number(2)?;
    rest.one_of(b"-")?;
    let day = rest.number(2)?;
    rest.one_of(b"Tt ")?;
    Some((year, month, day))
}

/// `22/Nov/2026:`, as in the Common Log Format: `22/Nov/2026:05:45:48 +0000`.
fn clf_day(rest: &mut Fields<'_>) -> Option<(i64, i64, i64)> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let day = rest.number(2)?;
    rest.one_of(b"/")?;
    let name = rest.take(3)?;
    let month = MONTHS.chunks(3).position(|month| month == name)?;
    rest.one_of(b"/")?;
    let year = rest.number(4)?;
    rest.one_of(b":")?;
    Some((year, month as i64 + 1, day))
}

/// The fields of a date that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of this many digits.
    fn number(&mut self, digits: usize) -> Option<i64> {
        let digits = self.take(digits)?;
        digits.iter().try_fold(0, |number, digit| {
            let is_digit = digit.is_ascii_digit();
            is_digit.then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    fn one_of(&mut self, expected: &[u8]) -> Option<u8> {
        let byte = self.take(1)?[0];
        expected.contains(&byte).then_some(byte)
    }

    /// `.119166` or `,119` in milliseconds; 0 if there is none.
    fn fraction(&mut self) -> Option<i64> {
        let [b'.' | b',', digits @ ..] = self.0 else {
            return Some(0);
        };
        let is_other = |byte: &u8| !byte.is_ascii_digit();
        let count = digits.iter().position(is_other).unwrap_or(digits.len());
        let (digits, rest) = digits.split_at(count);
        self.0 = rest;
        let weights = [100, 10, 1].into_iter();
        let digits = digits.iter().zip(weights);
        Some(
            digits
                .map(|(digit, weight)| i64::from(digit - b'0') * weight)
                .sum(),
        )
    }

    /// `Z`, `+02:00` or `+0200`, also behind a blank, in minutes; 0 if there is none.
    fn offset(&mut self) -> Option<i64> {
        self.0 = self.0.trim_ascii_start();
        if matches!(self.0, b"Z" | b"z" | b"") {
            return Some(0);
        }
        let sign = self.one_of(b"+-")?;
        let hours = self.number(2)?;
        self.0 = self.0.strip_prefix(b":").unwrap_or(self.0);
        let minutes = hours * 60 + self.number(2)?;
        let is_all = self.0.is_empty();
        is_all.then_some(if sign == b'-' { -minutes } else { minutes })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    fn of(event: &str) -> Option<u64> {
        EventTime::of(event.as_bytes(), None).map(|time| time.milliseconds)
    }

    #[test]
    fn the_last_event_of_some_says_how_far_from_now_they_are() {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1_774_075_047);
        for (lines, expected) in [
            ("{}\n{\"time\":1774075050}\n", Some(3)),
            ("{\"time\":1774075000}\n", Some(-47)),
            ("{\"time\":1774075000}\n{}\n", None),
            ("", None),
        ] {
            assert_eq!(skew_of_last(lines.as_bytes(), now), expected, "{lines}");
        }
    }

    #[test]
    fn every_form_of_a_time_is_understood() {
        for (time, milliseconds) in [
            (r#""2026-03-21T06:37:27.347712782Z""#, 1_774_075_047_347),
            (r#""2026-11-22 05:45:48.119166Z""#, 1_795_326_348_119),
            (r#""2026-11-22T05:45:48.119166+0000""#, 1_795_326_348_119),
            (r#""2026-11-22T07:45:48.1+02:00""#, 1_795_326_348_100),
            (r#""2026-11-28 10:00:00,123""#, 1_795_860_000_123),
            (r#""1970-01-01T00:00:00Z""#, 0),
            (r#""28/Nov/2026:10:00:00 +0000""#, 1_795_860_000_000),
            (r#""[28/Nov/2026:12:00:00.25 +0200]""#, 1_795_860_000_250),
            (r#""28\/Nov\/2026:10:00:00 -0130""#, 1_795_865_400_000),
            (r#""1774075049.5""#, 1_774_075_049_500),
            ("1774075049.5", 1_774_075_049_500),
            (" 1774075049171 ", 1_774_075_049_171),
            ("1774075049.171e0", 1_774_075_049_171),
            ("1774075049171567", 1_774_075_049_172),
            (r#""1774075049171567890""#, 1_774_075_049_172),
        ] {
            let event = format!(r#"{{"time" :{time},"x":[]}}"#);
            assert_eq!(of(&event), Some(milliseconds), "{event}");
        }
    }

    #[test]
    fn every_servers_name_for_it_is_known() {
        // With how many seconds after 1774075049 the time is.
        for (event, seconds) in [
            (r#"{"a":{"time":1},"Time":1774075049}"#, 0),
            (r#"{"time_local":"x","time":1774075049}"#, 0),
            (r#"{"@timestamp":1774075049}"#, 0),
            (r#"{"timestamp":1774075049}"#, 0),
            (r#"{"s":"\"time\":1,\\","time":1774075049}"#, 0),
            (r#"{"Key":"a","Records":[{"v":1,"time":1774075049}]}"#, 0),
            (r#"{"Records":[{"eventTime":1774075049}]}"#, 0),
            (r#"{"ts":1774075049}"#, 0),
            (r#"{"time_local":"x","start_time":1774075049}"#, 0),
            (r#"{"startTime":1774075049}"#, 0),
            // A name that surely means the time wins.
            (r#"{"ts":1774075049,"TIME":1774075050}"#, 1),
            (r#"{"ts":1774075049,"Records":[{"time":1774075050}]}"#, 1),
            (r#"{"time":null,"ts":"no","start_time":1774075049}"#, 0),
        ] {
            assert_eq!(of(event), Some((1_774_075_049 + seconds) * 1000), "{event}");
        }
        for event in [
            "{}",
            r#"{"a":{"time":1774075049}}"#,
            r#"{"time":null}"#,
            r#"{"time":"yesterday"}"#,
            r#"{"time":12}"#,
            r#"{"time":1e20}"#,
            r#"{"time":"inf"}"#,
            r#"{"time":"nan"}"#,
            r#"{"time":-1774075049}"#,
            r#"{"time":"2026-13-01T00:00:00Z"}"#,
            r#"{"time":"1969-01-01T00:00:00Z"}"#,
            r#"{"Records":[]}"#,
            r#"{"Records":[1]}"#,
            // Only one level deep, since each would be searched to its end.
            r#"{"Records":[{"Records":[{"time":1774075049}]}]}"#,
            r#"{"ts":"28/nov/2026:10:00:00 +0000"}"#,
            r#"{"ts":"28/Nov/2026 10:00:00"}"#,
            r#"{"ts":"2026-11-28 10:00:00 +00:000"}"#,
            r#"{"ts":"2026-11-28 10:00:00 UTC"}"#,
        ] {
            assert_eq!(of(event), None, "{event}");
        }
        assert_eq!(
            EventTime {
                milliseconds: 1_774_075_047_007
            }
            .to_string(),
            "1774075047.007"
        );
    }

    #[test]
    fn a_path_says_where_the_time_is() {
        let event = r#"{"time":1774075049,"meta":{"when":"28/Nov/2026:10:00:00 +0000","on":[1,{"a b":1774075050}]}}"#;
        for (path, milliseconds) in [
            ("meta.when", Some(1_795_860_000_000)),
            ("time", Some(1_774_075_049_000)),
            ("meta.on.1.a b", Some(1_774_075_050_000)),
            ("meta.on.2.a b", None),
            ("meta.on.x", None),
            ("meta", None),
            ("meta.when.deeper", None),
            ("Time", None),
            ("none", None),
        ] {
            let path: TimePath = path.parse().unwrap();
            let found = EventTime::of(event.as_bytes(), Some(&path));
            assert_eq!(
                found.map(|time| time.milliseconds),
                milliseconds,
                "{path:?}"
            );
        }
        let path = "Records[1].on[0][2]".parse::<TimePath>();
        assert_eq!(path, "Records.1.on.0.2".parse());
        for wrong in ["", ".", "a.", ".a", "a..b", "a. .b", "a[]"] {
            assert!(wrong.parse::<TimePath>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_what_a_library_says(milliseconds in 0..253_402_300_800_000_u64) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
            let event = format!(r#"{{"time":"{}"}}"#, humantime::format_rfc3339_nanos(time));
            prop_assert_eq!(of(&event), Some(milliseconds));
        }

        #[test]
        fn no_bytes_panic(event in "[{}\\[\\]\":,\\\\timeRcords 0-9TZ.+-]{0,80}") {
            let _ = of(&event);
            let _ = of(&format!(r#"{{"time":"{event}"}}"#));
            let _ = of(&format!(r#"{{"time":{event}}}"#));
        }
    }
}
