//! Endpoints that take bodies and don't say that they are indexed: they fail, too, and only an acknowledgement shows that
//! they work again.

use super::posted::{ACK_TIMEOUT, run, stream};
use super::*;
use crate::delivery::route::Mode;

const SECOND: Duration = Duration::from_secs(1);

/// A stream of one event per 100 ms, for two indexers.
fn two(mut splunk: Splunk, mode: Mode, connections: usize, events: usize) -> Simulation {
    splunk.has_endpoints = true;
    let mut simulation = stream(splunk, connections, events, 100);
    let terms = simulation.delivery.terms;
    let policy = Policy {
        mode,
        ..terms.policy
    };
    simulation.delivery.retarget(3, Terms { policy, ..terms });
    simulation
}

/// It takes what it is sent, so that only the query fails.
#[test]
fn an_endpoint_that_refuses_queries_is_down_while_another_one_works() {
    for mode in [Mode::Failover, Mode::Spread] {
        for connections in [1, 2] {
            let mut splunk = Splunk::new(2);
            splunk.refuses = Some(0);
            let mut simulation = two(splunk, mode, connections, 3000);
            run(&mut simulation, SECOND * 300);
            let place = format!("{mode:?} {connections}");
            // All but those of the last seconds.
            let delivered = simulation.delivered.len();
            assert!(delivered > 2800, "{place}: {delivered}");
            assert_eq!(simulation.turns[0].0, 0, "{place}");
            assert!(
                simulation
                    .turns
                    .iter()
                    .all(|turn| (turn.0, turn.1) == (0, false))
            );
            assert!(simulation.delays.is_empty(), "it is no outage: {place}");
            // At first a few bodies, and then one event per backoff.
            let again = simulation.redelivered;
            assert!(again < 100, "{place}: {again}");

            run(&mut simulation, SECOND * 301).refuses = None;
            run(&mut simulation, SECOND * 400);
            assert!(simulation.delivered_all_but(&[]), "{place}");
        }
    }
}

/// Its next trial is acknowledged.
#[test]
fn an_endpoint_is_back_once_it_has_acknowledged_something() {
    let mut splunk = Splunk::new(2);
    splunk.refuses = Some(0);
    let mut simulation = two(splunk, Mode::Failover, 1, 3000);
    run(&mut simulation, SECOND * 100).refuses = None;
    run(&mut simulation, SECOND * 200);
    let (last, before) = simulation.turns.split_last().unwrap();
    assert_eq!((last.0, last.1), (0, true));
    assert!(last.2 > SECOND * 100 && before.iter().all(|turn| !turn.1));
    run(&mut simulation, SECOND * 400);
    assert!(simulation.delivered_all_but(&[]));
}

#[test]
fn an_endpoint_that_indexes_nothing_in_time_is_down_while_another_one_works() {
    for mode in [Mode::Failover, Mode::Spread] {
        let mut splunk = Splunk::new(2);
        splunk.deaf = Some(0);
        let mut simulation = two(splunk, mode, 2, 20_000);
        run(&mut simulation, ACK_TIMEOUT * 3);
        // What it was sent before that is sent once more.
        let (again, most) = (
            simulation.redelivered,
            ACK_TIMEOUT.as_millis() as usize / 100,
        );
        assert!(again < most + most / 10, "{mode:?}: {again}");
        let missing = ACK_TIMEOUT.as_millis() as usize * 3 / 100 - simulation.delivered.len();
        assert!(missing < 200, "{mode:?}: {missing}");
        assert!(simulation.delays.is_empty(), "{mode:?}");
        let turns = &simulation.turns;
        assert!(turns.iter().all(|turn| (turn.0, turn.1) == (0, false)));
    }
}

/// It has nobody else to send to; so it sends one event at a time, for as long as none is acknowledged.
#[test]
fn if_no_endpoint_acknowledges_anything_it_is_an_outage() {
    for (indexers, refuses) in [(1, true), (1, false), (2, true)] {
        let mut splunk = Splunk::new(indexers);
        match refuses {
            true => splunk.refuses = Some(0),
            false => splunk.deaf = Some(0),
        }
        if indexers == 2 {
            splunk.deaf = Some(1);
        }
        let mut simulation = two(splunk, Mode::Failover, 2, 1000);
        let far = ACK_TIMEOUT * 4;
        run(&mut simulation, far);
        let place = format!("{indexers} {refuses}");
        assert!(!simulation.delays.is_empty(), "{place}");
        assert_eq!(simulation.delivered.len(), 0, "{place}");
        assert!(
            simulation.redelivered < 2500,
            "{place}: {}",
            simulation.redelivered
        );
        let splunk = simulation.splunk.as_mut().unwrap();
        (splunk.refuses, splunk.deaf) = (None, None);
        run(&mut simulation, far + ACK_TIMEOUT * 2);
        assert!(simulation.delivered_all_but(&[]), "{place}");
    }
}
