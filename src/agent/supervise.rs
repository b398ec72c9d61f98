//! When the agent reports, drains, gives up and ends: a state machine without clock or threads; the main thread's loop
//! does the work for it.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use super::bounds::{AT_ONCE, LAST_WRITES, LAST_WRITES_AT_ONCE, OVERTIME, SENDERS, SOURCES};

/// The same signal within this time is no second request: `timeout` and shells signal a process, and then its group.
const REPEAT: Duration = Duration::from_millis(500);

/// Which signals are requests to end.
#[derive(Debug, Default)]
pub(super) struct Requests {
    latest: Option<(c_int, Instant)>,
}

impl Requests {
    /// Whether this signal is one more request.
    pub(super) fn is_next(&mut self, signal: c_int, now: Instant) -> bool {
        let is_same = |(latest, time)| signal == latest && now.duration_since(time) < REPEAT;
        let is_next = !self.latest.is_some_and(is_same);
        if is_next {
            self.latest = Some((signal, now));
        }
        is_next
    }
}

/// An event for the main thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    Signal,
    /// A source has ended, and everything that it received is counted.
    SourceEnded,
    /// The senders have ended.
    SendersEnded,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Log the summaries.
    Report,
    /// Log the shutdown, and let sources end.
    Drain,
    /// No source will add anything more: let the queue end.
    CloseQueue,
    /// Let sources end, and end the request in flight.
    Abort,
    /// Log that a second signal ends the agent.
    StopAtOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Buffered events are sent.
    Draining {
        until: Instant,
    },
    /// Threads were told to end at once: how long they are waited for while a source runs, and then for senders.
    Aborting {
        sources: Instant,
        senders: Instant,
    },
    /// Nothing more is waited for.
    Over,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Supervisor {
    interval: Duration,
    timeout: Duration,
    /// Sources that have not ended.
    sources: usize,
    has_sender: bool,
    next_report: Instant,
    phase: Phase,
    /// When the time for the shutdown is over, if a signal has come.
    deadline: Option<Instant>,
    is_at_once: bool,
}

impl Supervisor {
    /// For this many sources and one sender; reports every `interval` and drains for `timeout`.
    pub(super) fn new(sources: usize, interval: Duration, timeout: Duration, now: Instant) -> Self {
        Supervisor {
            interval,
            timeout,
            sources,
            has_sender: true,
            next_report: now + interval,
            phase: Phase::Running,
            deadline: None,
            is_at_once: false,
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(super) fn wake(&self) -> Instant {
        self.next_report.min(match self.phase {
            Phase::Draining { until } => until,
            Phase::Aborting { sources, senders } => self.patience(sources, senders),
            Phase::Running | Phase::Over => self.next_report,
        })
    }

    /// Senders can be left behind, as all that they have is counted. What a source has read and not yet counted is not.
    fn patience(&self, sources: Instant, senders: Instant) -> Instant {
        match self.sources {
            0 => senders,
            _ => sources,
        }
    }

    /// Whether the main thread's loop ends.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether a signal asked for the end.
    pub(super) fn was_signalled(&self) -> bool {
        self.deadline.is_some()
    }

    /// Whether threads are still running that the loop did not wait for.
    pub(super) fn has_threads(&self) -> bool {
        self.sources > 0 || self.has_sender
    }

    /// By when the process must be gone, once the loop has ended.
    pub(super) fn end_by(&self, now: Instant) -> Instant {
        let last_writes = match self.is_at_once {
            true => LAST_WRITES_AT_ONCE,
            false => LAST_WRITES,
        };
        let end = now + last_writes;
        self.deadline
            .map_or(end, |deadline| end.min(deadline + OVERTIME))
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if now >= self.next_report && !self.is_over() {
            self.next_report = now + self.interval;
            actions.push(Action::Report);
        }
        match self.phase {
            Phase::Draining { until } if now >= until => {
                actions.push(self.abort(now, SENDERS));
            }
            Phase::Aborting { sources, senders } if now >= self.patience(sources, senders) => {
                self.phase = Phase::Over;
            }
            _ => {}
        }
        actions
    }

    /// Something has happened.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        match (event, self.phase) {
            (_, Phase::Over) => {}
            (Event::Signal, Phase::Running) => {
                let until = now + self.timeout;
                self.deadline = Some(until);
                self.phase = Phase::Draining { until };
                actions.push(Action::Drain);
            }
            (Event::Signal, Phase::Aborting { sources, .. }) if self.deadline.is_none() => {
                self.deadline = Some(sources);
            }
            (Event::Signal, phase) => {
                self.is_at_once = true;
                actions.push(Action::StopAtOnce);
                let soon = now + AT_ONCE;
                if let Phase::Aborting { sources, senders } = phase {
                    let (sources, senders) = (sources.min(soon), senders.min(soon));
                    self.phase = Phase::Aborting { sources, senders };
                } else {
                    actions.push(self.abort(now, AT_ONCE));
                }
            }
            (Event::SourceEnded, _) => {
                self.sources = self.sources.saturating_sub(1);
                if self.sources == 0 {
                    actions.push(Action::CloseQueue);
                }
            }
            (Event::SendersEnded, phase) => {
                self.has_sender = false;
                // Nothing takes what the sources still have: it is counted when they end.
                if self.sources > 0 && !matches!(phase, Phase::Aborting { .. }) {
                    actions.push(self.abort(now, SENDERS));
                }
            }
        }
        if self.sources == 0 && !self.has_sender {
            self.phase = Phase::Over;
        }
        actions
    }

    fn abort(&mut self, now: Instant, senders: Duration) -> Action {
        self.phase = Phase::Aborting {
            sources: now + SOURCES,
            senders: now + senders,
        };
        Action::Abort
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);
    const TIMEOUT: Duration = Duration::from_secs(5);

    /// What happens when, in seconds, and which actions must follow. The last entry says when the loop ends.
    type Script<'a> = &'a [(f32, Option<Event>, &'a [Action])];

    #[test]
    fn every_way_to_the_end() {
        use Action::*;
        use Event::*;
        let cases: [(&str, Script, bool); 10] = [
            (
                "the sources end",
                &[
                    (1.0, Some(SourceEnded), &[]),
                    (10.0, None, &[Report]),
                    (11.0, Some(SourceEnded), &[CloseQueue]),
                    (12.0, Some(SendersEnded), &[]),
                ],
                false,
            ),
            (
                "a signal, and all is drained",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (2.0, Some(SourceEnded), &[]),
                    (3.0, Some(SourceEnded), &[CloseQueue]),
                    (5.0, Some(SendersEnded), &[]),
                ],
                true,
            ),
            (
                "a signal, and the webhook takes nothing",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (1.1, Some(SourceEnded), &[]),
                    (1.2, Some(SourceEnded), &[CloseQueue]),
                    (6.0, None, &[Abort]),
                    (6.1, Some(SendersEnded), &[]),
                ],
                true,
            ),
            (
                "a source waits for room until the sender is gone",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (1.1, Some(SourceEnded), &[]),
                    (6.0, None, &[Abort]),
                    (6.1, Some(SendersEnded), &[]),
                    (6.2, Some(SourceEnded), &[CloseQueue]),
                ],
                true,
            ),
            (
                "a source that is stuck",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (6.0, None, &[Abort]),
                    (6.1, Some(SendersEnded), &[]),
                    (6.9, Some(SourceEnded), &[]),
                    (7.0, None, &[]),
                ],
                true,
            ),
            (
                "a sender that is stuck",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (1.1, Some(SourceEnded), &[]),
                    (1.2, Some(SourceEnded), &[CloseQueue]),
                    (6.0, None, &[Abort]),
                    (6.4, None, &[]),
                ],
                true,
            ),
            (
                "sources that end after a stuck sender was given up",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (6.0, None, &[Abort]),
                    (6.1, Some(SourceEnded), &[]),
                    (6.5, Some(SourceEnded), &[CloseQueue]),
                    (6.5, None, &[]),
                ],
                true,
            ),
            (
                "a second signal",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (1.5, Some(Signal), &[StopAtOnce, Abort]),
                    (1.55, Some(SourceEnded), &[]),
                    (1.7, Some(SourceEnded), &[CloseQueue]),
                    (1.7, None, &[]),
                ],
                true,
            ),
            (
                "a second signal at the last moment",
                &[
                    (1.0, Some(Signal), &[Drain]),
                    (6.0, None, &[Abort]),
                    (6.35, Some(Signal), &[StopAtOnce]),
                    (6.5, None, &[]),
                ],
                true,
            ),
            (
                "the sender gives up, as nobody reads what a dry run prints",
                &[
                    (1.0, Some(SendersEnded), &[Abort]),
                    (1.1, Some(SourceEnded), &[]),
                    (1.2, Some(SourceEnded), &[CloseQueue]),
                ],
                false,
            ),
        ];
        for (name, script, is_signalled) in cases {
            let begin = Instant::now();
            let at = |seconds: f32| begin + Duration::from_secs_f32(seconds);
            let mut supervisor = Supervisor::new(2, INTERVAL, TIMEOUT, begin);
            for (place, (seconds, event, expected)) in script.iter().enumerate() {
                assert!(!supervisor.is_over(), "{name} at {seconds}");
                let now = at(*seconds);
                let actions = match event {
                    Some(event) => supervisor.on(*event, now),
                    None => supervisor.tick(now),
                };
                assert_eq!(actions, *expected, "{name} at {seconds}");
                let is_last = place + 1 == script.len();
                assert_eq!(supervisor.is_over(), is_last, "{name} at {seconds}");
            }
            assert_eq!(supervisor.was_signalled(), is_signalled, "{name}");
        }
    }

    #[test]
    fn the_same_signal_twice_within_a_moment_is_one_request() {
        let begin = Instant::now();
        for (signals, requests) in [
            (&[(15, 0)][..], &[0][..]),
            (&[(15, 0), (15, 0), (15, 499), (15, 500)], &[0, 500]),
            (&[(15, 0), (15, 400), (15, 800), (15, 900)], &[0, 800]),
            (&[(15, 0), (2, 1), (2, 2)], &[0, 1]),
        ] {
            let mut all = Requests::default();
            let at = |time| begin + Duration::from_millis(time);
            let next = signals
                .iter()
                .filter(|(signal, time)| all.is_next(*signal, at(*time)));
            let next: Vec<_> = next.map(|(_, time)| *time).collect();
            assert_eq!(next, requests, "{signals:?}");
        }
    }

    proptest! {
        /// Whatever happens after a signal, the process is gone in time, and aborts at most once.
        #[test]
        fn the_end_comes_in_time(
            events in proptest::collection::vec((0..2000_u64, 0..2_usize), 0..20),
            sources in 0..4_usize,
        ) {
            let begin = Instant::now();
            let mut supervisor = Supervisor::new(sources, INTERVAL, TIMEOUT, begin);
            supervisor.on(Event::Signal, begin);
            let (mut now, mut ended, mut aborts) = (begin, 0, 0);
            let count = |actions: Vec<Action>| actions.iter().filter(|action| **action == Action::Abort).count();
            for (milliseconds, kind) in events {
                let next = now + Duration::from_millis(milliseconds);
                while supervisor.wake() <= next && !supervisor.is_over() {
                    now = supervisor.wake();
                    aborts += count(supervisor.tick(now));
                }
                if supervisor.is_over() {
                    break;
                }
                now = next;
                aborts += match kind {
                    0 if ended < sources => {
                        ended += 1;
                        count(supervisor.on(Event::SourceEnded, now))
                    }
                    1 if supervisor.has_sender => count(supervisor.on(Event::SendersEnded, now)),
                    _ => 0,
                };
            }
            while !supervisor.is_over() {
                now = supervisor.wake();
                aborts += count(supervisor.tick(now));
            }
            prop_assert!(aborts <= 1);
            prop_assert!(now <= begin + TIMEOUT + SOURCES);
            prop_assert!(supervisor.end_by(now) <= begin + TIMEOUT + OVERTIME);
        }
    }
}
