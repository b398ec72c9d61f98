//! What the report says at the agent's end.

use super::Report;
use super::state::State;
use crate::telemetry::counters::Balance;
use crate::telemetry::snapshot::Snapshot;

impl Report {
    /// Events did not get into the queue before the end, and the next start reads them again.
    pub fn left(&self, events: usize) {
        self.state().left += events as u64;
    }

    /// Of the events in the queue, the next start does not find so many after all.
    pub fn not_left(&self, events: u64) {
        self.state().not_left += events;
    }

    /// The counts at the end: what is still in memory is lost, except for what the next start reads again, which
    /// includes `queued` events of the queue.
    pub fn last_balance(&self, queued: usize) -> Balance {
        let state = self.state();
        self.at_end(&state, self.balance(), queued)
    }

    fn at_end(&self, state: &State, balance: Balance, queued: usize) -> Balance {
        balance.at_end(match self.resumes(None) {
            true => u64::MAX,
            false => state.left(queued as u64),
        })
    }

    /// Logs what no line has reported yet, and then the [balance](Self::last_balance), the log's last line.
    pub fn stopped(&self, queued: usize) -> Snapshot {
        let mut state = self.state();
        let mut last = state.snapshot(self.balance());
        last.balance = self.at_end(&state, last.balance, queued);
        for message in state.stopped(&last) {
            state.log(&message);
        }
        state.log_last(&last);
        last
    }
}
