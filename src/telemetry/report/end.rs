//! What the report says at the agent's end.

use super::Report;
use super::source::Source;
use super::state::State;
use crate::telemetry::counters::Balance;
use crate::telemetry::snapshot::Snapshot;

impl Report {
    /// Whether a source runs whose writers do not know what is read: if it still does at the end, some of what they have
    /// written may be in no count.
    pub fn source_reads(&self, source: usize, reads: bool) {
        self.end_of(source, |source| source.reads = reads);
    }

    /// Such a source has ended while its writers went on writing.
    pub fn source_cut_off(&self, source: usize) {
        self.end_of(source, |source| source.is_cut_off = true);
    }

    fn end_of(&self, source: usize, note: impl FnOnce(&mut Source)) {
        if let Some(source) = self.state().sources.get_mut(source) {
            note(source);
        }
    }

    /// Events did not get into the queue before the end, and the next start reads them again.
    pub fn left(&self, events: usize) {
        self.state().left += events as u64;
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
            false => state.left + queued as u64,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::telemetry::ReportedSource;

    #[test]
    fn what_no_count_has_is_said_before_the_balance() {
        // Whether the source still reads, and whether it has ended too early.
        for (reads, is_cut_off) in [(false, false), (true, false), (false, true), (true, true)] {
            let source = ReportedSource {
                name: "stdin".into(),
                resumes: false.into(),
            };
            let report = Report::new(Duration::from_secs(1), vec![source]);
            report.source_reads(0, true);
            if is_cut_off {
                report.source_cut_off(0);
            }
            report.source_reads(0, reads);
            let last = report.snapshot();
            let lines = report.state().stopped(&last);
            let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
            let expected = "stdin: the agent ended before it had read all that was written; what is unread is in no count";
            let expected: &[_] = if reads || is_cut_off {
                &[expected]
            } else {
                &[]
            };
            assert_eq!(lines, expected);
        }
    }
}
