//! When an event happened, as the event itself says it; without parsing it into a tree.
//!
//! Looked at are the members `time`, `timestamp`, `@timestamp` and `eventTime` of the object itself, in any
//! case of letters, or else of the first of its `Records`: MinIO, Weka, Versity and Ceph RGW write RFC 3339,
//! SeaweedFS epoch seconds, RustFS epoch milliseconds inside of `Records`.

use std::fmt;

use memchr::memchr2;

use crate::text::quantity::parse_decimal;

/// A moment, to the millisecond: HEC's `time` has no more.
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

impl EventTime {
    /// The time of a well-formed JSON object. None if there is none that can be understood.
    pub fn of(event: &[u8]) -> Option<EventTime> {
        let mut walk = Walk { rest: event };
        walk.skip_byte(b'{')?;
        let mut records = None;
        while let Some((key, value)) = walk.member() {
            if is_time(key) {
                if let Some(time) = parse(value) {
                    return Some(time);
                }
            } else if key == b"Records" {
                records = records.or(value.strip_prefix(b"["));
            }
        }
        let first = records?.trim_ascii_start();
        first.starts_with(b"{").then(|| EventTime::of(first))?
    }
}

fn is_time(key: &[u8]) -> bool {
    [&b"time"[..], b"timestamp", b"@timestamp", b"eventtime"]
        .iter()
        .any(|name| key.eq_ignore_ascii_case(name))
}

/// Goes through the members of an object that is known to be well-formed.
struct Walk<'a> {
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    fn skip_byte(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.trim_ascii_start().strip_prefix(&[byte])?;
        Some(())
    }

    /// The next member: its key without quotes, and its value. None at the object's end.
    fn member(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        self.rest = self.rest.trim_ascii_start();
        self.rest = self
            .rest
            .strip_prefix(b",")
            .unwrap_or(self.rest)
            .trim_ascii_start();
        let key = self.string()?;
        self.skip_byte(b':')?;
        self.rest = self.rest.trim_ascii_start();
        let before = self.rest;
        self.skip_value()?;
        let value = &before[..before.len() - self.rest.len()];
        Some((key, value.trim_ascii_end()))
    }

    /// A string without its quotes, as it is written.
    fn string(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.strip_prefix(b"\"")?;
        let mut at = 0;
        loop {
            at += memchr2(b'"', b'\\', text.get(at..)?)?;
            if text[at] == b'"' {
                self.rest = &text[at + 1..];
                return Some(&text[..at]);
            }
            at += 2;
        }
    }

    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match *self.rest.first()? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.rest = &self.rest[1..];
                }
                b'}' | b']' if depth == 0 => return Some(()),
                b',' if depth == 0 => return Some(()),
                byte => {
                    depth -= usize::from(matches!(byte, b'}' | b']'));
                    self.rest = &self.rest[1..];
                }
            }
        }
    }
}

fn parse(value: &[u8]) -> Option<EventTime> {
    let text = std::str::from_utf8(value).ok()?;
    let milliseconds = match text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(text) => rfc3339(text).or_else(|| epoch(text))?,
        None => epoch(text)?,
    };
    Some(EventTime { milliseconds })
}

/// Epoch seconds, or milli-, micro- or nanoseconds: by its size, from 2001 to 5138.
fn epoch(text: &str) -> Option<u64> {
    const BILLION: u128 = 1_000_000_000;
    let billionths = parse_decimal(text)?;
    // How many of them are a millisecond.
    let unit = match billionths / BILLION {
        1_000_000_000..100_000_000_000 => BILLION / 1000,
        100_000_000_000..100_000_000_000_000 => BILLION,
        100_000_000_000_000..100_000_000_000_000_000 => BILLION * 1000,
        100_000_000_000_000_000..100_000_000_000_000_000_000 => BILLION * 1_000_000,
        _ => return None,
    };
    u64::try_from((billionths + unit / 2) / unit).ok()
}

/// `2026-11-22T05:45:48.119166Z`, with a blank for the `T` and with an offset too.
fn rfc3339(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        let are_digits = digits.iter().all(u8::is_ascii_digit);
        are_digits.then(|| {
            digits
                .iter()
                .fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let is = |at: usize, among: &[u8]| bytes.get(at).is_some_and(|byte| among.contains(byte));
    let shape = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let ranges = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !shape || !ranges {
        return None;
    }
    let rest = &text[19..];
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(
            rest.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len()),
        ),
    };
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let offset = match zone.trim_start().as_bytes() {
        b"Z" | b"z" | b"" => 0,
        [sign @ (b'+' | b'-'), digits @ ..] => {
            let digits: Vec<_> = digits.iter().filter(|byte| **byte != b':').collect();
            let [hours, tens, tenths, ones] = digits[..] else {
                return None;
            };
            let minutes = [(hours, 600), (tens, 60), (tenths, 10), (ones, 1)]
                .into_iter()
                .map(|(digit, weight)| {
                    digit
                        .is_ascii_digit()
                        .then(|| i64::from(digit - b'0') * weight)
                })
                .sum::<Option<i64>>()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = seconds_since_1970((year, month, day), (hour, minute - offset, second));
    u64::try_from(seconds * 1000 + milliseconds).ok()
}

/// Of a day (year, month, day) of the proleptic Gregorian calendar and a time (hour, minute, second) of it, in UTC.
pub fn seconds_since_1970(
    (year, month, day): (i64, i64, i64),
    (hour, minute, second): (i64, i64, i64),
) -> i64 {
    // In years that begin in March.
    let year = year - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    ((days * 24 + hour) * 60 + minute) * 60 + second
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;

    fn of(event: &str) -> Option<u64> {
        EventTime::of(event.as_bytes()).map(|time| time.milliseconds)
    }

    #[test]
    fn every_servers_form_is_understood() {
        for (event, milliseconds) in [
            (
                r#"{"time":"2026-03-21T06:37:27.347712782Z","a":1}"#,
                1_774_075_047_347,
            ),
            (
                r#"{"a":{"time":1},"Time":"2026-03-21T06:37:27Z"}"#,
                1_774_075_047_000,
            ),
            (
                r#"{"time":"2026-11-22 05:45:48.119166Z"}"#,
                1_795_326_348_119,
            ),
            (
                r#"{"time_local":"x","time":"2026-11-22T05:45:48.119166+0000"}"#,
                1_795_326_348_119,
            ),
            (
                r#"{"@timestamp":"2026-11-22T07:45:48.1+02:00"}"#,
                1_795_326_348_100,
            ),
            (
                r#"{"s":"\"time\":1,\\","time":1774075049}"#,
                1_774_075_049_000,
            ),
            (
                r#"{"timestamp" : 1774075049171 , "x":[]}"#,
                1_774_075_049_171,
            ),
            (r#"{"time":"1774075049.5"}"#, 1_774_075_049_500),
            (
                r#"{"Key":"a","Records":[{"v":1,"time":1774075049171}]}"#,
                1_774_075_049_171,
            ),
            (
                r#"{"Records":[{"eventTime":"2026-03-21T06:37:27Z"}]}"#,
                1_774_075_047_000,
            ),
            (r#"{"time":"1970-01-01T00:00:00Z"}"#, 0),
        ] {
            assert_eq!(of(event), Some(milliseconds), "{event}");
        }
        for event in [
            "{}",
            r#"{"a":{"time":1774075049}}"#,
            r#"{"time":null}"#,
            r#"{"time":"yesterday"}"#,
            r#"{"time":12}"#,
            r#"{"time":"2026-13-01T00:00:00Z"}"#,
            r#"{"time":"1969-01-01T00:00:00Z"}"#,
            r#"{"Records":[]}"#,
            r#"{"Records":[1]}"#,
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
