//! Channels, and when something is asked; `delivery/tests/posted.rs` follows the events.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::buffer::acks::Seq;
use crate::buffer::chunk::Chunk;
use crate::buffer::run::Run;

const TIMEOUT: Duration = Duration::from_secs(300);
const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

fn posted() -> Posted {
    within(TIMEOUT)
}

/// For bodies that are to be indexed within this time.
fn within(timeout: Duration) -> Posted {
    let mut posted = Posted::default();
    posted.retarget(Some(timeout));
    posted
}

impl Posted {
    /// Whether the sender may post one more body there.
    pub(in crate::delivery) fn has_room(&self, sender: usize, endpoint: usize) -> bool {
        let channel = self.channels.get(&(sender, endpoint));
        channel.is_none_or(|it| it.bodies.is_empty() || it.bodies.len() < it.max_bodies)
    }
}

/// A body of two events of the first sender is taken at this time. Returns how many must be posted again.
fn post(posted: &mut Posted, id: u64, at: Instant) -> usize {
    post_to(posted, (0, 0), id, at)
}

/// The same for a sender and an endpoint.
fn post_to(posted: &mut Posted, (sender, endpoint): (usize, usize), id: u64, at: Instant) -> usize {
    let launch = Launch {
        sender,
        endpoint,
        channel: posted.channel(sender, endpoint, at),
        ..Launch::default()
    };
    let attempt = Attempt::from(Batch::of(b"{}\n{}\n"));
    let body = Body::new(attempt, Ranges::default(), at);
    posted.accepted(launch, id, body).1.len()
}

#[test]
fn no_channel_has_the_number_of_another() {
    let now = Instant::now();
    assert_eq!(Posted::default().channel(0, 0, now), None);
    let mut posted = posted();
    for (number, (sender, endpoint)) in (1..).zip([(0, 0), (0, 1), (1, 0), (0, 1)]) {
        if number == 4 {
            posted.lose(0, 1, MOVED);
        }
        for _ in 0..2 {
            assert_eq!(posted.channel(sender, endpoint, now), Some(number));
        }
    }
    posted.retarget(Some(TIMEOUT));
    assert_eq!(posted.channel(0, 0, now), Some(5));
}

#[test]
fn the_older_a_body_is_and_the_slower_the_answer_the_less_often_is_asked() {
    for (age, took, pause) in [
        (1, 0, 1),
        (4, 0, 1),
        (8, 0, 2),
        (36, 0, 9),
        (100, 0, 10),
        (8, 1, 10),
        (100, 1, 10),
        (8, 3, 10),
        (8, 30, 30),
        (100, 300, 300),
    ] {
        let (begin, mut posted) = (Instant::now(), posted());
        assert_eq!(posted.next_due(0), None);
        post(&mut posted, 0, begin);
        post(&mut posted, 1, begin + SECOND / 2);
        assert_eq!(posted.next_due(0), Some(begin + SECOND));
        assert_eq!(posted.due(0, begin + SECOND - NANOSECOND), None);
        let now = begin + SECOND * age;
        assert_eq!(posted.due(1, now), None, "the other sender's");
        let query = posted.due(0, now).unwrap();
        assert_eq!(query.ids, [0, 1]);
        posted.answered(&query, &[], SECOND * took, now);
        assert_eq!(posted.next_due(0), Some(now + SECOND * pause));
    }
}

#[test]
fn after_a_doubt_half_as_many_bodies_wait_and_more_when_some_are_indexed() {
    let now = Instant::now();
    for (lost, most) in [(0, 100), (1, 1), (5, 3), (6, 3)] {
        let (mut posted, mut id) = (posted(), lost);
        let mut fill = |posted: &mut Posted| {
            let fits = |_: &usize| {
                id += 1;
                posted.may_post(0, 0) && post(posted, id, now) == 0
            };
            (0..100).take_while(fits).count()
        };
        for id in 0..lost {
            assert_eq!(post(&mut posted, id, now), 0);
        }
        assert_eq!(posted.lose(0, 0, MOVED).len() as u64, lost);
        assert_eq!(posted.events(), 0);
        assert_eq!(fill(&mut posted), most, "{lost}");
        if lost > 0 {
            let query = posted.due(0, now + SECOND).unwrap();
            posted.answered(&query, &[], SECOND, now);
            assert_eq!(fill(&mut posted), 0, "none is indexed");
            posted.answered(&query, &query.ids[..1], SECOND, now);
            assert_eq!(fill(&mut posted), most + 1, "twice as many in all");
        }
    }
}

#[test]
fn an_id_that_was_there_casts_doubt_on_all() {
    for (id, again) in [(4, 0), (3, 2), (0, 2)] {
        let (now, mut posted) = (Instant::now(), posted());
        post(&mut posted, 3, now);
        assert_eq!(post(&mut posted, id, now), again);
        assert_eq!(posted.events(), 4 - 2 * again);
    }
}

#[test]
fn what_is_not_indexed_in_time_is_given_up_one_after_the_other() {
    let (begin, mut posted) = (Instant::now(), posted());
    post(&mut posted, 0, begin);
    post(&mut posted, 1, begin + SECOND);
    let query = posted.due(0, begin + SECOND).unwrap();
    for (after, bodies, left) in [
        (TIMEOUT - NANOSECOND, 0, 4),
        (TIMEOUT, 1, 2),
        (TIMEOUT + SECOND - NANOSECOND, 0, 2),
        (TIMEOUT + SECOND, 1, 0),
    ] {
        let (given_up, why) = posted.expire(&query, begin + after);
        assert_eq!((given_up.len(), posted.events()), (bodies, left));
        assert_eq!(why.is_some(), bodies > 0);
    }
}

/// A body is posted after another one of its sender's, and one of another sender's and of another endpoint's.
#[test]
fn an_endpoint_that_has_acknowledged_something_else_meanwhile_is_not_silent() {
    for (sender, endpoint, indexed, is_silent) in [
        (0, 0, 9, true),
        (0, 0, 10, false),
        (1, 0, 9, true),
        (1, 0, 11, false),
        (0, 1, 11, true),
    ] {
        let (begin, mut posted) = (Instant::now(), posted());
        post_to(&mut posted, (sender, endpoint), 0, begin);
        let query = posted.due(sender, begin + SECOND).unwrap();
        post(&mut posted, 1, begin + SECOND * 10);
        posted.answered(&query, &[0], SECOND, begin + SECOND * indexed);
        let now = begin + SECOND * 10 + TIMEOUT;
        let query = posted.due(0, now).unwrap();
        let (given_up, why) = posted.expire(&query, now);
        let place = format!("{sender} {endpoint} {indexed}");
        assert_eq!((given_up.len(), why.is_some()), (1, is_silent), "{place}");
    }
}

/// Whichever sender's it is.
#[test]
fn at_a_distrusted_endpoint_one_body_waits() {
    let (now, mut posted) = (Instant::now(), posted());
    for (id, (endpoint, may)) in (0..).zip([(1, false), (0, true)]) {
        posted.distrust(1);
        post_to(&mut posted, (0, 1), id, now);
        assert_eq!(posted.may_post(1, endpoint), may);
        assert_eq!(
            (posted.distrusts(1), posted.distrusts_all(2)),
            (true, false)
        );
        let query = posted.due(0, now + SECOND).unwrap();
        posted.answered(&query, &[id], SECOND, now);
        assert!(posted.may_post(1, 1));
        assert_eq!([posted.trust(1), posted.trust(1)], [true, false]);
    }
}

proptest! {
    /// However long posts and queries take.
    #[test]
    fn nothing_is_given_up_too_early_and_the_next_query_is_never_far(
        timeout in prop_oneof![1u64..2000, 1u64..100_000],
        actions in vec((0u64..40_000, prop_oneof![Just(0), Just(5), 0u64..40_000], any::<bool>()), 1..100),
    ) {
        let timeout = Duration::from_millis(timeout);
        let (begin, mut posted) = (Instant::now(), within(timeout));
        let (mut now, mut at) = (begin, Vec::new());
        for (waits, took, posts) in actions {
            let took = Duration::from_millis(took);
            if let Some(query) = posted.due(0, now) {
                now += took;
                posted.answered(&query, &[], took, now);
                let pause = posted.next_due(0).unwrap() - now;
                prop_assert!(pause > Duration::ZERO && pause <= timeout);
                prop_assert!(pause <= INTERVAL.1.max(took));
                for body in posted.expire(&query, now).0 {
                    let number = body.attempt.batch.seqs().next().unwrap().start;
                    prop_assert!(now - at[number as usize] >= timeout);
                }
            } else if posts {
                now += took;
                let launch = Launch { channel: posted.channel(0, 0, now), ..Launch::default() };
                let chunk = Chunk { bytes: b"{}\n".to_vec(), events: 1 };
                let attempt = Attempt::from(Batch::from(Run::new(chunk, at.len() as Seq)));
                posted.accepted(launch, at.len() as u64, Body::new(attempt, Ranges::default(), now));
                at.push(now);
            } else {
                now += Duration::from_millis(waits);
            }
        }
    }
}
