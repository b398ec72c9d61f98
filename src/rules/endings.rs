//! Where names may end, found in many bytes at once: by the last two bytes of a name and the byte after them.

mod wide;

use wide::{Tables, WINDOW};

/// What may follow a name: an equals sign or a quote, which may be escaped as in URLs or in JSON; or a colon.
pub(super) const BEHIND: &[u8] = b"=\"%\\:";

/// What escapes begin with.
pub(super) const ESCAPES: &[u8] = b"%\\";

/// How names end, in upper or lower case: windows, in sets.
#[derive(Debug, Clone)]
pub(super) struct Endings {
    tables: Tables,
    /// The same, by whole bytes.
    whole: Box<[[u8; 256]; WINDOW]>,
}

/// Sets for escapes: of letters and `_`, or in JSON; and of `-`, or of a percent sign. All others are for names.
const LETTER: u8 = 1 << 7;
const HYPHEN: u8 = 1 << 6;
const SETS: usize = 6;

impl Endings {
    /// For names in lower case, with `-` for `_`.
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut endings = Endings {
            tables: Tables::default(),
            whole: Box::new([[0; 256]; WINDOW]),
        };
        // One set for each last byte, while there are free ones.
        let mut last_bytes = Vec::new();
        for name in names {
            let (Some(last), before) = (name.last(), name.iter().nth_back(1)) else {
                continue;
            };
            let known = last_bytes.iter().position(|known| known == last);
            let set = known.unwrap_or(last_bytes.len());
            if known.is_none() {
                last_bytes.push(*last);
            }
            let set = 1 << (set % SETS);
            match before {
                Some(before) => endings.add(0, &spellings(*before), set),
                None => endings.add(0, &ASCII, set),
            }
            endings.add(1, &spellings(*last), set);
            endings.add(2, BEHIND, set);
        }
        for (second, third, set) in [
            (&b"4567u\\"[..], &b"0123456789ABCDEFabcdef\\u"[..], LETTER),
            (b"2", b"5Dd\\", HYPHEN),
        ] {
            endings.add(0, ESCAPES, set);
            endings.add(1, second, set);
            endings.add(2, third, set);
        }
        for (place, whole) in endings.whole.iter_mut().enumerate() {
            for byte in ASCII {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                whole[usize::from(byte)] =
                    endings.tables.low[place][low] & endings.tables.high[place][high];
            }
        }
        endings
    }

    fn add(&mut self, place: usize, bytes: &[u8], set: u8) {
        for byte in bytes {
            self.tables.low[place][usize::from(byte & 15)] |= set;
            self.tables.high[place][usize::from(byte >> 4)] |= set;
        }
    }

    /// The first window at or after `from` in which a name may end, or an escaped byte of a name begin.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Option<usize> {
        let at = match self.tables.next(text, from) {
            Ok(found) => return Some(found),
            Err(rest) => rest,
        };
        let [first, second, third] = &*self.whole;
        let found = text.get(at..)?.windows(WINDOW).position(|window| {
            let byte = |place: usize| usize::from(window[place]);
            first[byte(0)] & second[byte(1)] & third[byte(2)] != 0
        });
        found.map(|found| at + found)
    }
}

const ASCII: [u8; 128] = {
    let mut all = [0; 128];
    let mut byte = 0;
    while byte < all.len() {
        all[byte] = byte as u8;
        byte += 1;
    }
    all
};

/// A byte of a name as it may be written.
fn spellings(byte: u8) -> [u8; 2] {
    match byte {
        b'-' => *b"-_",
        _ => [byte, byte.to_ascii_uppercase()],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endings() -> Endings {
        Endings::of([&b"signature"[..], b"sig", b"user-id", b"oo-k", b"x-"])
    }

    #[test]
    fn no_ending_is_overlooked_and_few_others_are_found() {
        let found = |text: &str| endings().next(text.as_bytes(), 0);
        for (text, expected) in [
            ("x-amz-signature=", 13),
            ("\"SIGNATURE\" :", 8),
            ("?Sig%3d", 2),
            ("\\\"USER_ID\\\":", 7),
            ("oo_K\\u003d", 2),
            ("x_\"", 0),
            ("a%67=", 1),
            ("a%2D=", 1),
            ("%\\u0036", 0),
            ("\\\\\\u0041", 0),
        ] {
            assert_eq!(found(text), Some(expected), "{text}");
        }
        for text in [
            "\"code\":",
            "status=",
            "a%2F",
            "size\"",
            "\\n",
            "é=",
            "sig",
            "",
            "=\"",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(Endings::of([&b"k"[..]]).next(b"{\"k\":1", 0), Some(1));
    }

    proptest! {
        /// The search of many bytes at once finds what a search of each byte finds.
        #[test]
        fn all_are_found_in_order(text in "([a-z=\"%\\\\é0-9_-]|re=|ig\"|%4){0,200}", from in 0..300_usize) {
            let (text, endings) = (text.as_bytes(), endings());
            let is_found = |at: &usize| {
                let places = text[*at..*at + WINDOW].iter().enumerate();
                places.fold(u8::MAX, |sets, (place, byte)| sets & endings.whole[place][usize::from(*byte)]) != 0
            };
            let expected = (from..(text.len() + 1).saturating_sub(WINDOW)).filter(is_found);
            let found = std::iter::successors(endings.next(text, from), |at| endings.next(text, at + 1));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}
