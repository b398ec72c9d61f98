//! Sizes, counts and durations: parsed from what people write, and shown to them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A size: `4096`, `64KiB`, `1 MiB`, `2GiB`; `k`, `M` and `G` alone mean the same.
///
/// # Errors
/// It is not a size; the error shows what one looks like.
pub fn parse_size(text: &str) -> Result<usize, String> {
    const WRONG: &str = "is no size; fix: use one such as 65536, 64KiB or 1MiB";
    let (number, unit) = split_number(text);
    let factor: usize = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(WRONG.into()),
    };
    let number: Option<usize> = number.parse().ok();
    let size = number.and_then(|number| number.checked_mul(factor));
    size.ok_or_else(|| WRONG.into())
}

/// A number of things: `10000`.
///
/// # Errors
/// It is not a number; the error shows what one looks like.
pub fn parse_count<N: FromStr>(text: &str) -> Result<N, String> {
    text.trim()
        .parse()
        .map_err(|_| "is no whole number; fix: use one such as 10000".into())
}

/// A duration: `1s`, `500ms`, `5m`, `1h`, `1.5s`; a bare number means seconds. The max is a year, so
/// that it can be added to any moment.
///
/// # Errors
/// It is not a duration; the error shows what one looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const WRONG: &str = "is no duration; fix: use one such as 500ms, 1s or 5m, max 365d";
    const MAX: Duration = Duration::from_secs(365 * 86_400);
    let (number, unit) = split_number(text);
    let milliseconds = match unit.to_ascii_lowercase().as_str() {
        "ms" => 1.0,
        "" | "s" => 1000.0,
        "m" | "min" => 60_000.0,
        "h" => 3_600_000.0,
        "d" => 86_400_000.0,
        _ => return Err(WRONG.into()),
    };
    let number: Option<f64> = number.parse().ok();
    number
        .and_then(|number| Duration::try_from_secs_f64(number * milliseconds / 1000.0).ok())
        .filter(|duration| *duration <= MAX)
        .ok_or_else(|| WRONG.into())
}

fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Shows a size: `64 MiB`, `1000 bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{} {unit}", self.0 / factor);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// Shows a duration: `350ms`, `1.4s`, `10s`, `5m12s`, `2h05m`, `30d20h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            0 => write!(f, "{}ms", self.0.as_millis()),
            1..10 if self.0.subsec_millis() >= 100 => {
                write!(f, "{}.{}s", seconds, self.0.subsec_millis() / 100)
            }
            1..60 => write!(f, "{seconds}s"),
            60..3600 => write!(f, "{}m{:02}s", seconds / 60, seconds % 60),
            3600..172_800 => write!(f, "{}h{:02}m", seconds / 3600, seconds / 60 % 60),
            _ => write!(f, "{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("4096", 4096),
            ("64KiB", 65_536),
            ("1 MiB", 1 << 20),
            ("2g", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1",
            "1.5MiB",
            "1 TiB",
            "99999999999999999999",
            "99999999999G",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!(Size(64 << 20).to_string(), "64 MiB");
        assert_eq!(Size(1000).to_string(), "1000 bytes");
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in [
            ("0", 0),
            ("1", 1000),
            ("500ms", 500),
            ("1.5s", 1500),
            ("5m", 300_000),
            ("1 h", 3_600_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "-1s",
            "1y",
            "1e9",
            "1.2.3s",
            "366d",
            "99999999999999999999999d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_shown() {
        for (milliseconds, text) in [
            (0, "0ms"),
            (350, "350ms"),
            (1400, "1.4s"),
            (10_000, "10s"),
            (59_999, "59s"),
            (312_000, "5m12s"),
            (7_500_000, "2h05m"),
            (172_799_000, "47h59m"),
            (2_664_000_000, "30d20h"),
        ] {
            assert_eq!(
                HumanDuration(Duration::from_millis(milliseconds)).to_string(),
                text
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_size(&text), parse_duration(&text));
        }

        #[test]
        fn a_size_reads_as_it_is_shown(size in 0..usize::MAX >> 1) {
            prop_assert_eq!(parse_size(&Size(size).to_string().replace("bytes", "b")), Ok(size));
        }
    }
}
