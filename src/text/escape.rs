//! Foreign texts for people: what an answer, a file name or a peer says, in one harmless line.

/// These are shown as they are, though Rust escapes them in its own literals.
const PLAIN: [char; 3] = ['"', '\'', '\\'];

/// The text, with each character escaped that could deceive a terminal or a reader, as `\n` or `\u{202e}`:
/// control, format, unassigned and private ones, and blanks other than the ordinary one. If it is longer than
/// `max_chars` characters, it is cut and ends with `…`.
pub fn shown(text: &str, max_chars: usize) -> String {
    // In pieces between plain characters, since combining marks are escaped only at the beginning, where they have
    // nothing to combine with.
    let escaped = text.split_inclusive(PLAIN).flat_map(|piece| {
        let body = piece.trim_end_matches(PLAIN);
        body.escape_debug().chain(piece[body.len()..].chars())
    });
    let mut shown = String::new();
    for (place, c) in escaped.take(max_chars.saturating_add(1)).enumerate() {
        if place == max_chars {
            shown.pop();
            shown.extend((max_chars > 0).then_some('…'));
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_deceives_is_escaped() {
        for (text, expected) in [
            ("a \"plain\" 'text' \\ {1}", "a \"plain\" 'text' \\ {1}"),
            (
                "Größe, 日本語, हिन्दी, e\u{301}",
                "Größe, 日本語, हिन्दी, e\u{301}",
            ),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("a\r\n\tb\0", "a\\r\\n\\tb\\0"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            (
                "a\u{200b}\u{2066}\u{2069}\u{feff}b",
                "a\\u{200b}\\u{2066}\\u{2069}\\u{feff}b",
            ),
            (
                "a\u{2028}b\u{a0}\u{ad}\u{e0041}",
                "a\\u{2028}b\\u{a0}\\u{ad}\\u{e0041}",
            ),
            ("", ""),
        ] {
            assert_eq!(shown(text, 100), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_long_is_cut() {
        assert_eq!(shown("abcdef", 6), "abcdef");
        assert_eq!(shown("abcdefg", 6), "abcde…");
        assert_eq!(shown("\u{1b}\u{1b}", 6), "\\u{1b}"[..5].to_owned() + "…");
        assert_eq!(shown("abc", 1), "…");
        assert_eq!(shown("abc", 0), "");
    }

    proptest! {
        #[test]
        fn nothing_else_is_shown(text in "[a\\PC\\x00-\\x1f\u{200b}-\u{202e}\u{feff}]{0,40}", max in 1_usize..50) {
            let shown = shown(&text, max);
            prop_assert!(shown.chars().count() <= max);
            let deceives = |c: char| c.is_control() || ['\u{200b}', '\u{2028}', '\u{202e}', '\u{feff}'].contains(&c);
            prop_assert!(!shown.contains(deceives));
        }
    }
}
