//! Work that may take long in one step of a source: it is known to go on, and ends early at a stop.

use std::cell::Cell;
use std::io::{self, ErrorKind};

use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::watchdog::Watchdog;

/// Who is told that it goes on, and what ends it.
#[derive(Default)]
pub(super) struct LongWork {
    watchdog: Watchdog,
    pub(super) stop: Option<ShutdownSignal>,
    /// Some of it has ended early.
    was_cut: Cell<bool>,
}

impl LongWork {
    /// Without a stop yet.
    pub(super) fn new(watchdog: &Watchdog) -> Self {
        LongWork {
            watchdog: watchdog.clone(),
            ..LongWork::default()
        }
    }

    /// To be called again and again by whoever works for long.
    ///
    /// # Errors
    /// `Interrupted` once the agent stops.
    pub(super) fn goes_on(&self) -> io::Result<()> {
        self.watchdog.goes_on();
        if self.stop.as_ref().is_some_and(ShutdownSignal::is_triggered) {
            self.was_cut.set(true);
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    /// Whether some work has ended early, so that nothing must follow from what it has not found.
    pub(super) fn was_cut(&self) -> bool {
        self.was_cut.get()
    }
}
