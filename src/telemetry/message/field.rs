//! What the fields of messages look like, to people and to programs.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::text::escape::shown;
use crate::text::quantity::{HumanDuration, Size};

/// A longer text is cut.
pub(crate) const MAX_TEXT: usize = 8 << 10;

/// A field's value for programs.
pub trait Field {
    /// As JSON: durations in seconds, sizes in bytes.
    fn json(&self) -> Value;
}

impl Field for String {
    fn json(&self) -> Value {
        shown(self, MAX_TEXT).into()
    }
}

macro_rules! plain {
    ($($type:ty)*) => {$(
        impl Field for $type {
            fn json(&self) -> Value {
                (*self).into()
            }
        }
    )*};
}

plain! { &'static str u64 usize }

impl Field for Size {
    fn json(&self) -> Value {
        self.0.into()
    }
}

impl Field for HumanDuration {
    fn json(&self) -> Value {
        self.0.as_secs_f64().into()
    }
}

/// A number with its noun: `1 event`, `312 events`.
macro_rules! counted {
    ($(#[doc = $doc:literal] $name:ident $noun:literal)*) => {$(
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let plural = if self.0 == 1 { "" } else { "s" };
                write!(f, "{} {}{plural}", self.0, $noun)
            }
        }

        impl Field for $name {
            fn json(&self) -> Value {
                self.0.into()
            }
        }
    )*};
}

counted! {
    /// `1 event`, `312 events`.
    Events "event"
    /// `1 attempt`, `19 attempts`.
    Attempts "attempt"
    /// `1 request`, `20 requests`.
    Requests "request"
    /// `1 buffered event`, `312 buffered events`.
    BufferedEvents "buffered event"
    /// `1 more outage`, `3 more outages`.
    MoreOutages "more outage"
}

/// What is in the buffer: `312 events buffered`, and `, others dropped` if some were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffered {
    /// Events.
    pub events: u64,
    /// Events were dropped recently because there was no room for them.
    pub drops: bool,
}

impl fmt::Display for Buffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped = if self.drops { ", others dropped" } else { "" };
        write!(f, "{} buffered{dropped}", Events(self.events))
    }
}

impl Field for Buffered {
    fn json(&self) -> Value {
        self.events.into()
    }
}

/// How long a summary looks back, ` in 10s`; of a first occurrence nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within(pub Option<Duration>);

impl fmt::Display for Within {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(interval) => write!(f, " in {}", HumanDuration(interval)),
            None => Ok(()),
        }
    }
}

impl Field for Within {
    fn json(&self) -> Value {
        self.0.map(|interval| interval.as_secs_f64()).into()
    }
}

/// The last client of several, `, last from 10.0.0.7`, where it has an address; as `{:#}` a client, ` at 10.0.0.7`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer(pub Option<String>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) if f.alternate() => write!(f, " at {address}"),
            Some(address) => write!(f, ", last from {address}"),
            None => Ok(()),
        }
    }
}

impl Field for Peer {
    fn json(&self) -> Value {
        self.0.as_ref().map(Field::json).into()
    }
}

/// What is not sent or is masked, `; rules: exclude a=b`; nothing without rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules(pub String);

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            "" => Ok(()),
            rules => write!(f, "; rules: {rules}"),
        }
    }
}

impl Field for Rules {
    fn json(&self) -> Value {
        self.0.json()
    }
}

/// How many events were dropped for which reason, ` (buffer full 4821)`; nothing if none was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reasons(pub Vec<(&'static str, u64)>);

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (reason, events)) in self.0.iter().enumerate() {
            let before = if place == 0 { " (" } else { ", " };
            write!(f, "{before}{reason} {events}")?;
        }
        f.write_str(if self.0.is_empty() { "" } else { ")" })
    }
}

impl Field for Reasons {
    fn json(&self) -> Value {
        let reasons = self.0.iter();
        let reasons = reasons.map(|(reason, events)| (reason.replace(' ', "_"), (*events).into()));
        Value::Object(reasons.collect())
    }
}

/// A spool's limit and what an earlier start has left in it, `, spool 1 GiB (312 events recovered)`; nothing without a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spooled(pub Option<(Size, u64)>);

impl fmt::Display for Spooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => Ok(()),
            Some((limit, events)) => write!(f, "; spool {limit} ({} recovered)", Events(events)),
        }
    }
}

impl Field for Spooled {
    fn json(&self) -> Value {
        let spool = self.0;
        spool
            .map(|(limit, events)| serde_json::json!({"limit": limit.0, "recovered": events}))
            .into()
    }
}

/// A count with the words around it; nothing if it is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfAny(pub &'static str, pub u64);

impl fmt::Display for IfAny {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IfAny(_, 0) => Ok(()),
            IfAny(label, count) => write!(f, ", {label} {count}"),
        }
    }
}

impl Field for IfAny {
    fn json(&self) -> Value {
        self.1.into()
    }
}
