//! Indexer acknowledgement, against a stand-in for Splunk: whatever happens, each event is indexed, and counts as
//! delivered only if it is.

use proptest::collection::vec;
use proptest::prelude::*;

use super::splunk::Trouble;
use super::*;
use crate::delivery::route::Mode;

pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(300);

/// Events with this many milliseconds between two of them, for Splunk.
pub(super) fn stream(splunk: Splunk, connections: usize, events: usize, gap: u64) -> Simulation {
    let settings = Settings {
        connections,
        ..settings()
    };
    let mut simulation = Simulation::with(settings, events);
    for (at, arrival) in simulation.arrivals.iter_mut().enumerate() {
        *arrival = Duration::from_millis(at as u64 * gap);
    }
    let endpoints = if splunk.has_endpoints {
        splunk.indexers.len()
    } else {
        1
    };
    let terms = Terms {
        ack_timeout: Some(ACK_TIMEOUT),
        policy: Policy {
            endpoints,
            mode: Mode::Spread,
            ..Policy::default()
        },
        ..terms()
    };
    simulation.delivery.retarget(2, terms);
    simulation.splunk = Some(splunk);
    simulation
}

pub(super) fn run(simulation: &mut Simulation, limit: Duration) -> &mut Splunk {
    simulation.run_until(limit, |_| unreachable!("Splunk answers"));
    simulation.splunk.as_mut().unwrap()
}

#[test]
fn events_count_when_they_are_indexed() {
    let mut simulation = stream(Splunk::new(1), 1, 1000, 0);
    run(&mut simulation, Duration::from_secs(5));
    assert_eq!(
        (simulation.delivered.len(), simulation.delivery.posted()),
        (0, 1000)
    );
    simulation.assert_nothing_forgotten();
    let splunk = run(&mut simulation, MAX);
    assert!(splunk.queries < 12, "{}", splunk.queries);
    assert!(simulation.delivered_all_but(&[]));
    assert_eq!(
        (simulation.delivery.posted(), simulation.redelivered),
        (0, 0)
    );
}

#[test]
fn slow_acknowledgements_do_not_slow_delivery_down() {
    let took = |delay| {
        let mut splunk = Splunk::new(1);
        (splunk.delay, splunk.took) = (delay, Duration::from_millis(100));
        let mut simulation = stream(splunk, 2, 100_000, 0);
        let splunk = run(&mut simulation, MAX * 100);
        assert!(splunk.posts < 110, "{}", splunk.posts);
        assert!(simulation.delivered_all_but(&[]));
        simulation.requests.last().unwrap().at
    };
    let (at_once, slow) = (took(Duration::ZERO), took(Duration::from_secs(10)));
    assert!(slow < at_once + at_once / 5, "{at_once:?}, {slow:?}");
}

#[test]
fn a_query_that_hangs_is_made_again_soon() {
    let mut splunk = Splunk::new(1);
    splunk.hangs = Some(TIMEOUT);
    let mut simulation = stream(splunk, 1, 100_000, 1);
    run(&mut simulation, MAX * 10);
    assert!(simulation.delivered_all_but(&[]));
    let late = simulation.latest();
    assert!(late < TIMEOUT * 2 + MAX / 2, "{late:?}");
    assert_eq!((simulation.queries_failed, simulation.redelivered), (1, 0));
}

/// After a minute it is asked every 10 s.
#[test]
fn a_stop_asks_at_once_and_then_every_second() {
    let minute = Duration::from_secs(60);
    for (stop, took) in [
        (62, 0),
        (65, 0),
        (67, 0),
        (69, 0),
        (50, 0),
        (52, 0),
        (55, 0),
        (55, 3),
        (65, 3),
    ] {
        let (stop, took) = (Duration::from_secs(stop), QUICK + Duration::from_secs(took));
        let mut splunk = Splunk::new(1);
        (splunk.delay, splunk.took) = (minute, took);
        let mut simulation = stream(splunk, 1, 10, 0);
        simulation.stop_at = Some(stop);
        run(&mut simulation, stop + MAX);
        assert!(simulation.delivered_all_but(&[]), "{stop:?}");
        let indexed = minute + took + Duration::from_secs(1);
        let late = simulation.latest().saturating_sub(indexed.max(stop));
        assert!(
            late <= took * 3 + Duration::from_secs(1),
            "{stop:?} {took:?}: {late:?}"
        );
    }
}

/// Two bodies, and what comes in between.
const FEW: usize = 3000;

#[test]
fn what_the_spool_has_is_not_in_memory_until_it_is_indexed() {
    for (connections, unspooled) in [(1, Seq::MAX), (2, Seq::MAX), (1, 100)] {
        let mut simulation = stream(Splunk::new(1), connections, 50_000, 0);
        simulation.unspooled = unspooled;
        run(&mut simulation, Duration::from_secs(8));
        assert_eq!(simulation.delivery.posted(), 50_000);
        let others = 50_000 / unspooled as usize + 1;
        assert!(simulation.in_memory <= others);
        let most = simulation.most_in_memory;
        assert!(most <= FEW * connections + others, "{most}");
        run(&mut simulation, MAX);
        assert!(simulation.delivered_all_but(&[]));
        assert_eq!((simulation.in_memory, simulation.redelivered), (0, 0));
    }
}

#[test]
fn what_only_the_spool_has_is_read_again_before_newer_events() {
    let mut simulation = stream(Splunk::new(1), 1, 30_000, 1);
    simulation.unspooled = Seq::MAX;
    let at = Duration::from_secs(8);
    run(&mut simulation, at).restart(0, at);
    let posts = simulation.requests.len();
    run(&mut simulation, MAX * 2);
    assert!(simulation.delivered_all_but(&[]));
    assert!(simulation.redelivered > 7000);
    assert!(simulation.most_in_memory <= FEW);
    // The one that tells that the indexer counts anew, and then all in order.
    let again: Vec<Seq> = simulation.requests[posts + 1..]
        .iter()
        .flat_map(|request| request.seqs.clone())
        .collect();
    assert_eq!(again[0], 0);
    assert!(again.is_sorted());
}

#[test]
fn what_the_spool_has_lost_does_not_hold_up_the_rest() {
    let mut splunk = Splunk::new(1);
    splunk.delay = Duration::from_secs(1000);
    let mut simulation = stream(splunk, 1, 30, 0);
    simulation.unspooled = Seq::MAX;
    simulation.damaged = "3-5,9,29".parse().unwrap();
    run(&mut simulation, ACK_TIMEOUT - MAX).delay = Duration::ZERO;
    run(&mut simulation, ACK_TIMEOUT + MAX);
    assert_eq!(
        (simulation.redelivered, simulation.delivered.len()),
        (25, 25)
    );
    simulation.assert_nothing_forgotten();
    assert_eq!(simulation.delivery.posted(), 0);
}

#[test]
fn what_is_not_indexed_in_time_is_sent_again() {
    let mut splunk = Splunk::new(1);
    splunk.delay = Duration::from_secs(1000);
    let mut simulation = stream(splunk, 2, 10, 100);
    run(&mut simulation, ACK_TIMEOUT - MAX).delay = Duration::from_secs(10);
    let posts = simulation.requests.len();
    run(&mut simulation, ACK_TIMEOUT + MAX * 2);
    assert_eq!(
        (simulation.redelivered, simulation.delivered.len()),
        (10, 10)
    );
    let again = &simulation.requests[posts..];
    assert!(
        again.iter().all(|request| request.at >= ACK_TIMEOUT),
        "{again:?}"
    );
}

#[test]
fn an_indexer_that_counts_anew_has_lost_what_was_posted() {
    let mut simulation = stream(Splunk::new(1), 1, 200, 100);
    let splunk = run(&mut simulation, Duration::from_secs(8));
    splunk.restart(0, Duration::from_secs(8));
    run(&mut simulation, MAX * 3);
    assert!(simulation.delivered_all_but(&[]));
    let again = simulation.redelivered;
    assert!((70..100).contains(&again), "{again}");
}

#[test]
fn another_cookie_is_another_indexer() {
    let mut simulation = stream(Splunk::new(2), 1, 200, 100);
    let at = Duration::from_secs(8);
    let splunk = run(&mut simulation, at);
    let other = 1 - splunk.cookies[&0];
    splunk.cookies.clear();
    // The other indexer may have counted this channel as far as this one.
    splunk.trouble.restarts = 0;
    splunk.cookies.insert(0, other);
    simulation.delivery.moved(0, 0);
    run(&mut simulation, MAX * 3);
    assert!(simulation.delivered_all_but(&[]));
    assert!(simulation.redelivered > 70);
}

#[test]
fn an_endpoint_that_does_not_index_does_not_hold_up_the_others() {
    for mode in [Mode::Failover, Mode::Spread] {
        let mut splunk = Splunk::new(2);
        (splunk.has_endpoints, splunk.deaf) = (true, Some(0));
        let mut simulation = stream(splunk, 1, 2000, 100);
        let terms = Terms {
            policy: Policy {
                mode,
                ..simulation.delivery.terms.policy
            },
            ..simulation.delivery.terms
        };
        simulation.delivery.retarget(3, terms);
        // After a lost answer only a few bodies may be pending.
        for (at, percent) in [(2000, 100), (2500, 0)] {
            run(&mut simulation, Duration::from_millis(at))
                .trouble
                .answer_lost = percent;
        }
        run(&mut simulation, Duration::from_secs(200));
        // Those that the deaf one has got, and the latest.
        let missing = 2000 - simulation.delivered.len();
        assert!(missing < 400, "{mode:?}: {missing}");
        let last = simulation.delivered.keys().next_back();
        assert!(last > Some(&1850), "{mode:?}: {last:?}");
    }
}

#[test]
fn an_answer_that_gains_nothing_is_followed_by_a_wait() {
    for (renews, first_id) in [(100, 0), (50, 0), (0, u64::MAX), (50, u64::MAX)] {
        for connections in [1, 2] {
            let mut splunk = Splunk::new(1);
            splunk.trouble.renews = renews;
            (splunk.first_id, splunk.delay) = (first_id, Duration::ZERO);
            let mut simulation = stream(splunk, connections, 100, 10);
            let splunk = run(&mut simulation, Duration::from_secs(60));
            let place = format!("{renews} {first_id} {connections}");
            assert!(splunk.posts < 200, "{place}: {}", splunk.posts);
            splunk.trouble.renews = 0;
            run(&mut simulation, MAX * 10);
            assert!(simulation.delivered_all_but(&[]), "{place}");
        }
    }
}

#[test]
fn what_forbids_queries_is_an_outage_with_one_event_at_a_time() {
    let mut simulation = stream(Splunk::new(1), 2, 10_000, 0);
    run(&mut simulation, Duration::from_millis(50));
    let mut at = simulation.elapsed();
    for sender in 0..2 {
        let Some(query) = simulation.delivery.posted.due(sender, simulation.now + MAX) else {
            continue;
        };
        let error = DeliveryError::permanent("HTTP 400", "fix it");
        let answer = simulation
            .delivery
            .asked(&query, Err(error), QUICK, simulation.now);
        answer
            .into_iter()
            .for_each(|effect| simulation.apply(effect));
    }
    assert!(simulation.delivery.posted.distrusts(0));
    let before = simulation.requests.len();
    at += Duration::from_secs(5);
    run(&mut simulation, at);
    let probes = &simulation.requests[before..];
    assert_eq!(
        probes.iter().map(|it| it.seqs.len()).collect::<Vec<_>>(),
        [1]
    );
    run(&mut simulation, MAX * 10);
    assert!(
        simulation.delivered_all_but(&[]),
        "once one was acknowledged"
    );
    assert!(!simulation.delivery.posted.distrusts(0));
}

#[test]
fn an_answer_that_is_lost_casts_doubt_on_what_was_posted() {
    let mut splunk = Splunk::new(1);
    splunk.trouble.answer_lost = 100;
    let mut simulation = stream(splunk, 1, 10, 0);
    run(&mut simulation, Duration::from_millis(100))
        .trouble
        .answer_lost = 0;
    run(&mut simulation, MAX * 2);
    assert_eq!(
        (simulation.redelivered, simulation.delivered.len()),
        (10, 10)
    );
}

#[test]
fn a_changed_webhook_gets_what_was_not_acknowledged() {
    let mut simulation = stream(Splunk::new(1), 2, 100, 0);
    run(&mut simulation, Duration::from_secs(5));
    assert_eq!(simulation.delivery.posted(), 100);
    simulation.splunk = None;
    simulation.delivery.retarget(3, terms());
    simulation.wake(|_| true);
    simulation.run_until(MAX, |_| (Outcome::Delivered, QUICK));
    assert!(simulation.delivered_all_but(&[]));
    assert_eq!(simulation.redelivered, 100);
}

proptest! {
    #[test]
    fn each_event_is_indexed_and_counts_only_then(
        indexers in 1usize..4,
        balancing in 0u8..3,
        connections in 1usize..4,
        trouble in (0u64..20, 0u64..15, 0u64..10, 0u64..5),
        renews in prop_oneof![Just(0), 0u64..101],
        deaf in proptest::option::of(0usize..3),
        first_id in prop_oneof![2 => Just(0), 1 => Just(u64::MAX - 1), 1 => Just(u64::MAX)],
        delay in 0u64..40,
        unspooled in 1u64..4,
        damaged in vec(0u64..100, 0..3),
        gaps in vec(0u64..500, 1..100),
        seed: u64,
    ) {
        let mut splunk = Splunk::new(indexers);
        let (busy, answer_lost, restarts, forgets) = trouble;
        splunk.trouble = Trouble { busy, answer_lost, restarts, forgets, renews };
        (splunk.deaf, splunk.first_id) = (deaf, first_id);
        (splunk.is_sticky, splunk.has_endpoints) = (balancing == 1, balancing == 2);
        (splunk.dice, splunk.delay) = (seed | 1, Duration::from_secs(delay));
        let mut simulation = stream(splunk, connections, gaps.len(), 0);
        simulation.unspooled = unspooled;
        simulation.damaged = damaged.into_iter().map(|seq| seq..seq + 1).collect();
        let mut at = 0;
        simulation.arrivals = gaps.iter().map(|gap| { at += gap; Duration::from_millis(at) }).collect();
        let splunk = run(&mut simulation, Duration::from_secs(3600));
        (splunk.trouble, splunk.deaf) = (Trouble::default(), None);
        simulation.assert_nothing_forgotten();
        // From then on nothing goes wrong any more, except with a balancer without cookies.
        run(&mut simulation, Duration::from_secs(3 * 86_400));
        simulation.assert_nothing_forgotten();
        let lost: Vec<_> = simulation.dropped.iter().copied().collect();
        prop_assert!(lost.iter().all(|seq| simulation.damaged.contains(*seq)));
        prop_assert!(simulation.delivered_all_but(&lost), "{} of {}", simulation.delivered.len(), gaps.len());
        prop_assert_eq!((simulation.delivery.posted(), simulation.in_memory), (0, 0));
        prop_assert!(simulation.rejected.is_empty());
    }
}
