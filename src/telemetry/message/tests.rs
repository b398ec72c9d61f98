//! What the operator's pages need of every message.

use std::collections::BTreeSet;

use super::*;

#[test]
fn what_needs_a_look_has_a_fix() {
    for message in DESCRIPTIONS {
        let about = message.about.join("");
        let (cause, fix) = about.split_once("**Fix:** ").unwrap_or((&about, ""));
        assert!(!cause.trim().is_empty(), "why is it? {}", message.name);
        let needs_fix = message.level < Level::Info;
        assert_eq!(needs_fix, !fix.is_empty(), "the fix of {}", message.name);
    }
}

#[test]
fn names_are_unique_words_in_snake_case() {
    let names: BTreeSet<_> = DESCRIPTIONS.iter().map(|message| message.name).collect();
    assert_eq!(names.len(), DESCRIPTIONS.len());
    let is_plain = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    assert!(names.into_iter().all(is_plain));
}
