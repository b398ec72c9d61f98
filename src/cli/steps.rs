//! For `test`: shows each step of a connection, with its duration, as it is made.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::cli::terminal::show;
use crate::text::quantity::HumanDuration;
use crate::webhook::observer::Observer;

/// The step under way.
#[derive(Debug)]
pub struct Steps(Mutex<Step>);

#[derive(Debug)]
struct Step {
    name: &'static str,
    /// To whom it goes.
    subject: String,
    since: Instant,
}

impl Default for Steps {
    /// The state before the first step.
    fn default() -> Self {
        Steps(Mutex::new(Step::new("request", "")))
    }
}

impl Observer for Steps {
    fn begin(&self, name: &'static str, subject: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Step::new(name, subject);
    }

    fn end(&self, result: &str) {
        let step = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let colon = if step.subject.is_empty() { "" } else { ": " };
        let result = format!("{}{colon}{result}", step.subject);
        let time = HumanDuration(step.since.elapsed());
        show(step.name, &format!("{result:<50} {time}"));
    }

    fn note(&self, name: &'static str, what: &str) {
        show(name, what);
    }
}

impl Step {
    fn new(name: &'static str, subject: &str) -> Self {
        Step {
            name,
            subject: subject.to_owned(),
            since: Instant::now(),
        }
    }
}
