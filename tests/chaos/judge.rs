//! Whether each request was justified, and what became of each event: worked out from all requests, in the order in
//! which the agent made them.
//!
//! An answer was surely heard if the next request came over the same connection, or if nothing had happened that can
//! lose it: no network fault, and less time than the agent waits. What was taken or refused by an answer that was
//! surely heard must not come again. After any other answer it may, and the agent must count it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::books::{Fate, Id, Meaning};

/// No more complaints than this are listed.
const COMPLAINTS: usize = 20;

/// A request that arrived whole.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub(super) connection: usize,
    pub(super) events: Vec<Id>,
    pub(super) meaning: Meaning,
    /// Its answer may be lost.
    pub(super) shaken: bool,
    /// When its head had arrived.
    pub(super) at: Instant,
}

/// What came since the books were last closed.
pub(super) struct Interval {
    /// In the agent's order.
    pub(super) posts: Vec<Post>,
    /// How long the agent waits for an answer.
    pub(super) timeout: Duration,
    /// Over connections up to this number something may have been read late.
    pub(super) broken: usize,
    /// Something happened that can leave the agent in doubt whether a request has arrived.
    pub(super) doubtful: bool,
    /// How many events the agent says it has redelivered since its start.
    pub(super) redelivered: u64,
}

/// Numbers of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Taken.
    pub(super) delivered: u64,
    /// Refused, each alone.
    pub(super) refused: u64,
    /// Sent again after they had been taken, because the answer was lost.
    pub(super) repeated: u64,
    /// Sent again after they may have arrived, as far as the agent knew: the repeated ones and others.
    pub(super) redelivered: u64,
    /// Requests.
    pub(super) requests: u64,
}

/// What was settled each time the books were closed.
pub(super) struct Ledger {
    pub(super) account: Account,
    fates: Vec<Vec<Fate>>,
    /// The number that the agent reported last.
    redelivered: u64,
}

impl Ledger {
    /// For events from this many sources.
    pub(super) fn new(sources: usize) -> Self {
        Self {
            account: Account::default(),
            fates: vec![Vec::new(); sources],
            redelivered: 0,
        }
    }

    /// What became of this event.
    pub(super) fn fate(&self, (source, number): Id) -> Fate {
        self.fates[source].get(number).copied().unwrap_or_default()
    }

    fn settle(&mut self, (source, number): Id, fate: Fate) {
        match fate {
            Fate::Taken => self.account.delivered += 1,
            Fate::Refused => self.account.refused += 1,
            Fate::Unseen => {}
        }
        let fates = &mut self.fates[source];
        if fates.len() <= number {
            fates.resize(number + 1, Fate::Unseen);
        }
        fates[number] = fate;
    }
}

impl Post {
    /// The fate of each of its events according to its answer.
    fn fate(&self) -> Fate {
        match self.meaning {
            Meaning::Taken => Fate::Taken,
            Meaning::Refused if self.events.len() == 1 => Fate::Refused,
            Meaning::Refused | Meaning::Again | Meaning::Unclear => Fate::Unseen,
        }
    }

    /// Whether its answer came too late for the agent, if the agent made the `next` request because of that.
    fn timed_out(&self, next: &Post, timeout: Duration) -> bool {
        next.at.saturating_duration_since(self.at) >= timeout
    }

    fn was_surely_heard(&self, next: &Post, timeout: Duration) -> bool {
        self.connection == next.connection || !(self.shaken || self.timed_out(next, timeout))
    }
}

impl std::fmt::Display for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} of {} events over connection {}{}, {:?} ago",
            self.meaning,
            self.events.len(),
            self.connection,
            if self.shaken { " under a fault" } else { "" },
            self.at.elapsed(),
        )
    }
}

/// Enters what has come, after which the agent buffers nothing; returns what is wrong with it.
pub(super) fn enter(ledger: &mut Ledger, interval: &Interval) -> Vec<String> {
    let posts = &interval.posts;
    let mut wrong = Vec::new();
    // The latest request of each event, which has the reason why it may come again.
    let mut latest: HashMap<Id, usize> = HashMap::new();
    let mut due = 0;
    for (place, post) in posts.iter().enumerate() {
        for id in &post.events {
            let settled = ledger.fate(*id);
            if settled != Fate::Unseen {
                // Sent long ago over a connection that was cut since, and only read now: nobody hears the answer.
                if post.connection > interval.broken {
                    wrong.push(format!("{id:?} was {settled:?} for good, and then {post}"));
                }
                continue;
            }
            let Some(before) = latest.insert(*id, place) else {
                continue;
            };
            let (previous, next) = (&posts[before], &posts[before + 1..=place]);
            let is_heard = next
                .first()
                .is_none_or(|next| previous.was_surely_heard(next, interval.timeout));
            if previous.fate() != Fate::Unseen && is_heard {
                wrong.push(format!("{id:?} was {previous}, and then {post}"));
            }
            ledger.account.repeated += u64::from(previous.fate() == Fate::Taken);
            due += u64::from(matches!(
                previous.meaning,
                Meaning::Taken | Meaning::Unclear
            ));
        }
    }
    for (id, place) in latest {
        let fate = posts[place].fate();
        if fate == Fate::Unseen {
            wrong.push(format!("{id:?} was given up after {}", posts[place]));
        }
        ledger.settle(id, fate);
    }
    ledger.account.requests += posts.len() as u64;
    ledger.account.redelivered += due;
    wrong.extend(wrong_count(ledger, interval, due));
    let more = wrong.len().saturating_sub(COMPLAINTS);
    if more > 0 {
        wrong.truncate(COMPLAINTS);
        wrong.push(format!("and {more} more"));
    }
    wrong
}

/// The agent counts all that it knows it has sent again, some of it lost on the way, and nothing without a reason.
fn wrong_count(ledger: &mut Ledger, interval: &Interval, due: u64) -> Option<String> {
    let before = std::mem::replace(&mut ledger.redelivered, interval.redelivered);
    let counted = interval.redelivered.saturating_sub(before);
    let mut pairs = interval.posts.windows(2);
    let is_doubtful =
        interval.doubtful || pairs.any(|pair| pair[0].timed_out(&pair[1], interval.timeout));
    if counted < due {
        return Some(format!("redelivered: {counted} more, but {due} came again"));
    }
    (counted > 0 && !is_doubtful).then(|| format!("redelivered: {counted} more, but without doubt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    /// Requests with these events: over which connection, with which answer, under a fault or not, and at which second.
    fn judged(
        posts: &[(usize, &[usize], Meaning, bool, u64)],
        redelivered: u64,
    ) -> (Account, Vec<String>) {
        let began = Instant::now();
        let posts = posts
            .iter()
            .map(|(connection, events, meaning, shaken, second)| Post {
                connection: *connection,
                events: events.iter().map(|number| (0, *number)).collect(),
                meaning: *meaning,
                shaken: *shaken,
                at: began + Duration::from_secs(*second),
            })
            .collect::<Vec<_>>();
        let interval = Interval {
            doubtful: posts.iter().any(|post| post.shaken),
            posts,
            timeout: TIMEOUT,
            broken: 0,
            redelivered,
        };
        let mut ledger = Ledger::new(1);
        let wrong = enter(&mut ledger, &interval);
        (ledger.account, wrong)
    }

    #[test]
    fn what_was_taken_may_come_again_only_if_the_answer_may_be_lost() {
        use Meaning::Taken;
        for (what, shaken, connection, second, is_right) in [
            ("no fault", false, 2, 0, false),
            ("a fault", true, 2, 0, true),
            ("a fault, but the connection is in use", true, 1, 0, false),
            ("a timeout", false, 2, 1, true),
            (
                "a timeout, but the connection is in use",
                false,
                1,
                1,
                false,
            ),
        ] {
            // With another request in between, which decides the case.
            for between in [
                None,
                Some((connection, &[7_usize][..], Taken, false, second)),
            ] {
                let posts = [
                    Some((1, &[5, 6][..], Taken, shaken, 0)),
                    between,
                    Some((connection, &[6][..], Taken, false, second)),
                ];
                let posts: Vec<_> = posts.into_iter().flatten().collect();
                let (account, wrong) = judged(&posts, u64::from(is_right));
                assert_eq!(wrong.is_empty(), is_right, "{what}: {wrong:?}");
                assert_eq!(account.repeated, 1, "{what}");
                assert_eq!(account.delivered, posts.len() as u64, "{what}");
            }
        }
    }

    #[test]
    fn what_may_have_arrived_and_comes_again_is_counted() {
        for meaning in [Meaning::Taken, Meaning::Unclear] {
            let posts = [
                (1, &[5, 6][..], meaning, true, 0),
                (2, &[5][..], Meaning::Again, false, 0),
                (2, &[5][..], Meaning::Taken, false, 0),
                (2, &[6][..], Meaning::Taken, false, 0),
            ];
            for (counted, is_right) in [(1, false), (2, true), (3, true)] {
                let (_, wrong) = judged(&posts, counted);
                assert_eq!(
                    wrong.is_empty(),
                    is_right,
                    "{meaning:?}, {counted}: {wrong:?}"
                );
            }
        }
        let posts = [(1, &[5][..], Meaning::Taken, false, 0)];
        assert_eq!(judged(&posts, 1).1.len(), 1, "nothing was in doubt");
    }

    #[test]
    fn nothing_is_given_up_without_a_refusal_of_its_own() {
        for (meaning, events, is_right) in [
            (Meaning::Taken, &[5, 6][..], true),
            (Meaning::Refused, &[5][..], true),
            (Meaning::Refused, &[5, 6][..], false),
            (Meaning::Again, &[5][..], false),
            (Meaning::Unclear, &[5][..], false),
        ] {
            let (_, wrong) = judged(&[(1, events, meaning, false, 0)], 0);
            assert_eq!(wrong.is_empty(), is_right, "{meaning:?}: {wrong:?}");
        }
    }
}
