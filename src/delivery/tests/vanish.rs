//! Endpoints that come and go: nobody waits while one of them answers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::route::{SLOW, stream, to};
use super::*;
use crate::delivery::route::Mode;

/// Endpoints that are killed and come back, in turns of `shortest` to `longest` ms; at least one is up at any time.
fn kills(seed: u64, turns: usize, shortest: u64, longest: u64) -> Vec<(Duration, [bool; 3])> {
    let mut dice = seed | 1;
    let mut random = || super::poison::random(&mut dice);
    let (mut at, mut alive, mut script) = (5000, [true; 3], Vec::new());
    for _ in 0..turns {
        let place = (random() % 3) as usize;
        alive[place] = !alive[place];
        if alive == [false; 3] {
            alive[(place + 1 + (random() % 2) as usize) % 3] = true;
        }
        script.push((Duration::from_millis(at), alive));
        at += shortest + random() % (longest - shortest + 1);
    }
    script.push((Duration::from_millis(at), [true; 3]));
    script
}

/// Those that were killed accept no connections, and their requests under way end.
#[test]
fn endpoints_that_are_killed_and_come_back_keep_nobody_waiting() {
    for (mode, connections) in [(Mode::Failover, 1), (Mode::Failover, 4), (Mode::Spread, 3)] {
        for seed in 0..60 {
            let script = kills(seed * 77 + 5, 30, 500, 3000);
            let mut simulation = stream(to(3, mode, connections, 3000), 20);
            let is_alive = |endpoint: usize, at: Duration| {
                let place = script.partition_point(|(turn, _)| *turn <= at);
                place == 0 || script[place - 1].1[endpoint]
            };
            simulation.run_until(MAX * 100, |request| {
                let (endpoint, at) = (request.endpoint, request.at);
                match (is_alive(endpoint, at), is_alive(endpoint, at + SLOW)) {
                    (false, _) => (failed(Cause::Unreachable), QUICK),
                    (_, false) => (failed(Cause::Disconnected), SLOW),
                    _ => (Outcome::Delivered, SLOW),
                }
            });
            let place = format!("{mode:?} {connections} {seed}");
            assert!(simulation.delivered_all_but(&[]), "{place}");
            let times: BTreeSet<_> = simulation.delivered.values().collect();
            let pauses = times.iter().zip(times.iter().skip(1));
            let longest = pauses.map(|(at, next)| **next - **at).max().unwrap();
            // A body waits a second for its events.
            assert!(longest < Duration::from_secs(3), "{place}: {longest:?}");
        }
    }
}

/// One endpoint after the other vanishes for a while: a request to it fails after a second, as what `cause` says. Returns
/// the longest time without a delivery.
fn vanish(
    (mode, connections): (Mode, usize),
    turns: &[(usize, u64)],
    mut cause: impl FnMut() -> Cause,
) -> Duration {
    let timeout = Duration::from_secs(1);
    let mut at = Duration::from_secs(5);
    let ends: Vec<_> = turns
        .iter()
        .map(|(_, lasts)| {
            at += Duration::from_millis(*lasts);
            at
        })
        .collect();
    let dead = |at: Duration| {
        let turn = ends.partition_point(|end| *end <= at);
        turns.get(turn).map(|(endpoint, _)| endpoint % 3)
    };
    let events = (at.as_millis() / 20) as usize;
    let mut simulation = stream(to(3, mode, connections, events), 20);
    let mut failures = Vec::new();
    simulation.run_until(MAX * 100, |request| {
        let is_dead = |at| dead(at) == Some(request.endpoint);
        match is_dead(request.at) || is_dead(request.at + SLOW) {
            true => {
                failures.push((request.at + timeout, request.endpoint));
                (failed(cause()), timeout)
            }
            false => (Outcome::Delivered, SLOW),
        }
    });
    assert!(simulation.delivered_all_but(&[]));
    assert!(simulation.delays.is_empty(), "{:?}", simulation.delays);
    for (at, endpoint) in failures {
        let next = simulation.requests.iter().find(|request| request.at >= at);
        let is_next = next.is_none_or(|next| next.at == at && next.endpoint != endpoint);
        assert!(is_next, "{endpoint} failed at {at:?}, then {next:?}");
    }
    let times: BTreeSet<_> = simulation.delivered.values().collect();
    let pauses = times.iter().zip(times.iter().skip(1));
    pauses.map(|(at, next)| **next - **at).max().unwrap()
}

const SENDERS: [(Mode, usize); 4] = [
    (Mode::Failover, 1),
    (Mode::Failover, 4),
    (Mode::Spread, 1),
    (Mode::Spread, 4),
];

#[test]
fn endpoints_that_vanish_in_turns_cost_their_timeout_only() {
    for senders in SENDERS {
        for cause in [Cause::Unreachable, Cause::Disconnected, Cause::Timeout] {
            for lasts in [2500, 3000, 4000, 7000] {
                let turns: Vec<_> = (0..40).map(|turn| (turn, lasts)).collect();
                let longest = vanish(senders, &turns, || cause);
                // A body waits a second for its events, and a try of an endpoint that was down may come first.
                let most = Duration::from_millis(3200);
                assert!(longest < most, "{senders:?} {cause:?} {lasts}: {longest:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn while_another_endpoint_answers_a_failure_is_followed_by_a_try_at_once(
        senders in prop::sample::select(&SENDERS[..]),
        turns in vec((0usize..3, 2500u64..9000), 1..30),
        causes in vec(prop::sample::select(&[Cause::Unreachable, Cause::Disconnected, Cause::Timeout][..]), 1..20),
    ) {
        let mut causes = causes.iter().cycle();
        vanish(senders, &turns, || *causes.next().unwrap());
    }
}
