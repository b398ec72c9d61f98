//! What leaves the host: which events are sent, and what is masked in them. This works between a source's framer and
//! the queue, in the source's thread, on the bytes of whole lines.

mod authorization;
mod endings;
pub mod filter;
mod header;
mod mask;
mod name;
pub mod redact;
mod secrets;
mod work;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use memchr::memchr;

use self::filter::{Action, Filter};
use self::redact::Redactor;
use crate::buffer::chunk::Chunk;

/// After this many events, it is logged which paths none of them had.
pub const FIRST_EVENTS: usize = 10_000;

/// The rules in effect.
#[derive(Debug, Default)]
pub struct Rules {
    filter: Filter,
    redactor: Option<Redactor>,
    /// What is masked, as it was configured.
    masked: Vec<String>,
    /// Events that the filter has seen.
    seen: AtomicUsize,
    /// For each path of the filter, whether an event had it.
    found: Vec<AtomicBool>,
}

/// What was done to some events.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Screened {
    /// Events that are not sent, by rule.
    pub filtered: Vec<(Arc<str>, usize)>,
    /// Values that were masked.
    pub redacted: usize,
    /// Events that were dropped because they could not be masked.
    pub unredactable: usize,
    /// Paths that none of the [first events](FIRST_EVENTS) had; given only once.
    pub unseen: Vec<String>,
}

impl Screened {
    /// Events that were removed.
    pub fn events(&self) -> usize {
        let filtered = self.filtered.iter().map(|(_, events)| events);
        filtered.sum::<usize>() + self.unredactable
    }
}

impl Rules {
    /// Takes these parts. `masked` says what is masked, in the user's words.
    pub fn new(filter: Filter, redactor: Option<Redactor>, masked: Vec<String>) -> Self {
        Rules {
            found: filter
                .paths
                .iter()
                .map(|_| AtomicBool::new(false))
                .collect(),
            filter,
            redactor,
            masked,
            seen: AtomicUsize::new(0),
        }
    }

    /// Whether what was configured so is masked, maybe by another rule.
    fn masks(&self, what: &str) -> bool {
        let is_named = |redactor: &Redactor| redactor.masks(what);
        self.masked.iter().any(|own| own == what) || self.redactor.as_ref().is_some_and(is_named)
    }

    /// All rules in one line: `include http_status>=400, exclude operation=get_*, redact s3`. Empty if there are none.
    pub fn describe(&self) -> String {
        let rules = self.filter.rules().map(|(action, text)| match action {
            Action::Exclude => format!("exclude {text}"),
            Action::Include => format!("include {text}"),
        });
        let masked = self.masked.iter().map(|what| format!("redact {what}"));
        rules.chain(masked).collect::<Vec<_>>().join(", ")
    }

    /// Removes and masks what the rules require, in a chunk's lines from this byte on.
    pub fn screen(&self, chunk: &mut Chunk, from: usize) -> Screened {
        let mut screened = Screened::default();
        if !self.filter.is_empty() {
            self.leave_out(chunk, from, &mut screened);
        }
        if let Some(redactor) = &self.redactor {
            let redacted = redactor.redact(chunk, from);
            (screened.redacted, screened.unredactable) = (redacted.values, redacted.dropped);
        }
        screened
    }

    fn leave_out(&self, chunk: &mut Chunk, from: usize, screened: &mut Screened) {
        let lines = &mut chunk.bytes;
        let (mut read, mut written) = (from, from);
        let mut events = 0;
        while read < lines.len() {
            let end = memchr(b'\n', &lines[read..]).map_or(lines.len(), |at| read + at + 1);
            let values = self.filter.values(&lines[read..end]);
            if self.seen.load(Relaxed) < FIRST_EVENTS {
                let found = self.found.iter().enumerate();
                let found = found.filter(|(path, _)| values.has(*path));
                found.for_each(|(_, found)| found.store(true, Relaxed));
            }
            events += 1;
            match self.filter.excluded_by(&values) {
                Some(rule) => {
                    chunk.events = chunk.events.saturating_sub(1);
                    let mut known = screened.filtered.iter_mut();
                    match known.find(|(known, _)| known == rule) {
                        Some((_, events)) => *events += 1,
                        None => screened.filtered.push((Arc::clone(rule), 1)),
                    }
                }
                None => {
                    if written < read {
                        lines.copy_within(read..end, written);
                    }
                    written += end - read;
                }
            }
            read = end;
        }
        lines.truncate(written);
        self.look_for_unseen(events, screened);
    }

    fn look_for_unseen(&self, events: usize, screened: &mut Screened) {
        if self.seen.load(Relaxed) >= FIRST_EVENTS {
            return;
        }
        let before = self.seen.fetch_add(events, Relaxed);
        if before < FIRST_EVENTS && before + events >= FIRST_EVENTS {
            let paths = self.filter.paths.iter().zip(&self.found);
            let unseen = paths.filter(|(_, found)| !found.load(Relaxed));
            screened.unseen = unseen.map(|(path, _)| path.clone()).collect();
        }
    }
}

/// The rules of a running agent, which may be replaced.
#[derive(Debug, Clone, Default)]
pub struct LiveRules(Arc<RwLock<Arc<Rules>>>);

impl LiveRules {
    /// These rules, for now.
    pub fn new(rules: Rules) -> Self {
        LiveRules(Arc::new(RwLock::new(Arc::new(rules))))
    }

    fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes and masks what the current rules require, in a chunk's lines from this byte on.
    pub fn screen(&self, chunk: &mut Chunk, from: usize) -> Screened {
        self.current().screen(chunk, from)
    }

    /// All rules in one line; see [`Rules::describe`].
    pub fn describe(&self) -> String {
        self.current().describe()
    }

    /// The rules that exclude events, as they were written.
    pub fn excluding(&self) -> Vec<Arc<str>> {
        let rules = self.current();
        let excluding = rules.filter.rules();
        let excluding = excluding.filter(|(action, _)| *action == Action::Exclude);
        excluding.map(|(_, text)| Arc::clone(text)).collect()
    }

    /// What would not be masked any more with these rules.
    pub fn unmasked_by(&self, rules: &Rules) -> Vec<String> {
        let mut unmasked = self.current().masked.clone();
        unmasked.retain(|what| !rules.masks(what));
        unmasked
    }

    /// Applies these rules from now on. Returns what is not masked any more.
    pub fn replace(&self, rules: Rules) -> Vec<String> {
        let unmasked = self.unmasked_by(&rules);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        unmasked
    }
}

#[cfg(test)]
mod tests;
