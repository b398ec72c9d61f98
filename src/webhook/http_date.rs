//! Moments as HTTP writes them (RFC 9110, 5.6.7): all three forms, of which servers use the first.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::webhook::event_time::seconds_since_1970;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The moment that the text names. A year of two digits is one that is not over 50 years after `now`.
pub fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    let words: Vec<_> = text
        .split([' ', ',', '-'])
        .filter(|word| !word.is_empty())
        .collect();
    let (day, month, year, time) = match words[..] {
        // Sun, 06 Nov 1994 08:49:37 GMT, and Sunday, 06-Nov-94 08:49:37 GMT
        [_, day, month, year, time, "GMT" | "UTC"] => (day, month, year, time),
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] => (day, month, year, time),
        _ => return None,
    };
    let month = MONTHS
        .iter()
        .position(|name| month.eq_ignore_ascii_case(name))?;
    let parts: Vec<i64> = time.split(':').filter_map(number).collect();
    let [hour @ 0..24, minute @ 0..60, second @ 0..=60] = parts[..] else {
        return None;
    };
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let at = |year| {
        let seconds = seconds_since_1970((year, month as i64 + 1, day), (hour, minute, second));
        Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?))
    };
    let whole = number(year)?;
    if year.len() > 2 {
        return at(whole);
    }
    const FIFTY_YEARS: Duration = Duration::from_secs(50 * 31_556_952);
    at(2000 + whole)
        .filter(|moment| {
            moment
                .duration_since(now)
                .is_ok_and(|ahead| ahead <= FIFTY_YEARS)
                || *moment <= now
        })
        .or_else(|| at(1900 + whole))
}

fn number(digits: &str) -> Option<i64> {
    let is_short = digits.len() <= 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_short.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_795_000_000)
    }

    #[test]
    fn all_three_forms_are_understood() {
        let moment = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 6 nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(text, now()), Some(moment), "{text}");
        }
        let soon = parse("Friday, 20-Nov-26 08:49:37 GMT", now()).unwrap();
        let year = Duration::from_secs(366 * 86_400);
        assert!(soon < now() + year && soon > now() - year);
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "7",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 99999 08:49:37 GMT",
            "Sun, 06 Nov 1894 08:49:37 GMT",
            "Sun, -6 Nov 1994 08:-9:37 GMT",
        ] {
            assert_eq!(parse(text, now()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(Sun,? ?)?[0-9]{0,5}[- ](Nov|Feb)[- ][0-9]{0,5} [0-9:]{0,9} (GMT)?") {
            let _ = parse(&text, now());
        }
    }
}
