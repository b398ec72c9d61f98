//! Lines of the log that are not written yet: bounded in bytes; lines that did not fit are counted.

use std::collections::VecDeque;

/// What a line costs besides its bytes.
const OVERHEAD: usize = size_of::<Entry>();

/// What the log's thread writes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A whole line, with its newline.
    Line(String),
    /// This many lines did not fit here.
    Lost(u64),
}

/// The lines. Nobody waits for room.
#[derive(Debug)]
pub(super) struct Backlog {
    entries: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
    /// Lines that did not fit since the last entry.
    lost: u64,
    is_closed: bool,
    /// The entry that was taken last is not written yet.
    is_writing: bool,
}

impl Backlog {
    /// For `limit` bytes, the entries' own size included.
    pub(super) fn new(limit: usize) -> Self {
        Backlog {
            entries: VecDeque::new(),
            bytes: 0,
            limit,
            lost: 0,
            is_closed: false,
            is_writing: false,
        }
    }

    /// Adds a line if there is room; otherwise, or once it is closed, the line is only counted.
    pub(super) fn push(&mut self, line: String) {
        let cost = line.capacity() + OVERHEAD;
        let gap = if self.lost > 0 { OVERHEAD } else { 0 };
        if self.is_closed || self.bytes + gap + cost > self.limit {
            self.lost += 1;
            return;
        }
        self.append(line);
    }

    /// Adds the last line, for which there is always room. Later ones are left out.
    pub(super) fn push_last(&mut self, line: String) {
        if !self.is_closed {
            self.append(line);
            self.is_closed = true;
        }
    }

    fn append(&mut self, line: String) {
        if self.lost > 0 {
            self.entries
                .push_back(Entry::Lost(std::mem::take(&mut self.lost)));
            self.bytes += OVERHEAD;
        }
        self.bytes += line.capacity() + OVERHEAD;
        self.entries.push_back(Entry::Line(line));
    }

    /// The oldest entry, to be written before the next call. Lines that were lost after all others are reported when
    /// those have been written.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        let entry = match self.entries.pop_front() {
            // Once the log is closed, further lines are not counted as lost.
            None if self.lost > 0 && !self.is_closed => {
                Some(Entry::Lost(std::mem::take(&mut self.lost)))
            }
            None => None,
            Some(entry) => {
                self.bytes -= OVERHEAD;
                if let Entry::Line(line) = &entry {
                    self.bytes -= line.capacity();
                }
                Some(entry)
            }
        };
        self.is_writing = entry.is_some();
        entry
    }

    /// Whether everything was written.
    pub(super) fn is_written(&self) -> bool {
        self.entries.is_empty() && !self.is_writing && (self.lost == 0 || self.is_closed)
    }

    /// Whether everything was written and nothing will follow.
    pub(super) fn is_over(&self) -> bool {
        self.is_closed && self.is_written()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn line(text: &str) -> Option<Entry> {
        Some(Entry::Line(text.into()))
    }

    /// Room for this many lines of two bytes.
    fn of_lines(lines: usize) -> Backlog {
        Backlog::new(lines * (2 + OVERHEAD))
    }

    #[test]
    fn lines_that_do_not_fit_are_counted_where_they_are_missing() {
        let mut backlog = of_lines(3);
        for text in ["1\n", "2\n", "3\n", "4\n", "5\n"] {
            backlog.push(text.into());
        }
        assert_eq!(backlog.pop(), line("1\n"));
        // Room for a line, but not for the count before it.
        backlog.push("6\n".into());
        assert_eq!(backlog.pop(), line("2\n"));
        backlog.push("7\n".into());
        assert_eq!(backlog.pop(), line("3\n"));
        assert_eq!(backlog.pop(), Some(Entry::Lost(3)));
        assert_eq!(backlog.pop(), line("7\n"));
        assert_eq!(backlog.pop(), None);
    }

    #[test]
    fn a_loss_is_reported_when_nothing_follows_it() {
        let mut backlog = of_lines(1);
        backlog.push("1\n".into());
        backlog.push("2\n".into());
        assert_eq!(backlog.pop(), line("1\n"));
        assert_eq!(backlog.pop(), Some(Entry::Lost(1)));
        assert!(!backlog.is_written());
        assert_eq!(backlog.pop(), None);
        assert!(backlog.is_written() && !backlog.is_over());
    }

    #[test]
    fn there_is_room_for_the_last_line_and_none_after_it() {
        let mut backlog = of_lines(1);
        for text in ["1\n", "2\n"] {
            backlog.push(text.into());
        }
        backlog.push_last("last\n".into());
        backlog.push("late\n".into());
        backlog.push_last("later\n".into());
        assert_eq!(backlog.pop(), line("1\n"));
        assert_eq!(backlog.pop(), Some(Entry::Lost(1)));
        assert_eq!(backlog.pop(), line("last\n"));
        assert!(!backlog.is_over());
        assert_eq!(backlog.pop(), None);
        assert!(backlog.is_over());
    }

    proptest! {
        /// Whatever is pushed and popped, every line is written or counted, in order, within the limit.
        #[test]
        fn no_line_is_unaccounted_for(steps in proptest::collection::vec(0..40_usize, 0..200), limit in 100..2000_usize) {
            let mut backlog = Backlog::new(limit);
            let (mut pushed, mut seen) = (0_u64, 0_u64);
            let take = |entry, seen: &mut u64| match entry {
                Entry::Line(line) => {
                    let number = line.trim().parse::<u64>().unwrap();
                    assert_eq!(number, *seen);
                    *seen += 1;
                }
                Entry::Lost(lines) => *seen += lines,
            };
            for step in steps {
                if step < 10 {
                    if let Some(entry) = backlog.pop() {
                        take(entry, &mut seen);
                    }
                } else {
                    backlog.push(format!("{pushed:step$}\n"));
                    pushed += 1;
                }
                prop_assert!(backlog.bytes <= limit);
            }
            while let Some(entry) = backlog.pop() {
                take(entry, &mut seen);
            }
            prop_assert_eq!((pushed, backlog.bytes), (seen, 0));
        }
    }
}
