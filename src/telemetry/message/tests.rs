//! The pages on the log and the messages say the same.

use std::collections::BTreeSet;

use super::*;

const PAGES: [&str; 2] = [
    include_str!("../../../packaging/docs/log-messages.md"),
    include_str!("../../../packaging/docs/log-messages-sources.md"),
];

/// A message as the page has it: its name, and its level and text with `…` for what varies.
fn described(level: Level, text: &str, name: &str) -> String {
    let mut shown = String::new();
    for (place, part) in text.split(['{', '}']).enumerate() {
        // Every other part is a field; those that touch are one.
        if place % 2 == 0 {
            shown += part;
        } else if !shown.ends_with('…') {
            shown.push('…');
        }
    }
    // Markdown puts code that has backquotes between two of them.
    match shown.contains('`') {
        true => format!("`{name}` `` {level} {shown} ``"),
        false => format!("`{name}` `{level} {shown}`"),
    }
}

#[test]
fn the_pages_list_every_message_and_no_other() {
    let items = PAGES.iter().flat_map(|page| page.split("\n- ").skip(1));
    let items = items.map(|item| item.split_whitespace().collect::<Vec<_>>().join(" "));
    let items: Vec<_> = items.collect();
    let described = |(level, text, name): &(Level, &str, &str)| described(*level, text, name);
    let mut messages: Vec<_> = ALL.iter().map(described).collect();
    for item in items {
        let found = messages
            .iter()
            .position(|message| item.starts_with(message));
        let found = found.unwrap_or_else(|| panic!("on the pages, but no message: {item}"));
        let message = messages.swap_remove(found);
        let needs_fix = !message.contains("` `INFO ") && !message.contains("` `` INFO ");
        assert!(
            !needs_fix || item.contains("**Fix:** "),
            "what is to be done? {item}"
        );
    }
    assert!(
        messages.is_empty(),
        "not on the pages of packaging/docs: {messages:#?}"
    );
}

#[test]
fn names_are_unique_words_in_snake_case() {
    let names: BTreeSet<_> = ALL.iter().map(|(_, _, name)| name).collect();
    assert_eq!(names.len(), ALL.len());
    let is_plain = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    assert!(names.into_iter().all(|name| is_plain(name)));
}
