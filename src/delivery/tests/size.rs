//! Bodies that are too large, or take too long.

use super::*;

fn too_large() -> Outcome {
    Outcome::TooLarge(DeliveryError::transient(Cause::Answer, "HTTP 413"))
}

#[test]
fn a_limit_that_is_answered_is_learned() {
    let cases = [
        (10 << 10, 1050),
        (100 << 10, 1050),
        (1_000_000, 1050),
        (10 << 10, 300),
    ];
    for (connections, (limit, size)) in [1, 8].into_iter().flat_map(|n| cases.map(|case| (n, case)))
    {
        let settings = Settings {
            connections,
            ..settings()
        };
        let mut simulation = Simulation::with(settings, 20_000);
        simulation.size = size;
        simulation.run_until(Duration::from_secs(3600), |request| {
            match request.bytes > limit {
                true => (too_large(), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert!(simulation.delivered_all_but(&[]), "{limit}");
        let is_refused = |request: &&Request| request.bytes > limit;
        let bytes: usize = simulation
            .requests
            .iter()
            .map(|request| request.bytes)
            .sum();
        // The first bodies are halved until one passes, which costs at most twice the first.
        assert!(
            bytes <= 20_000 * size * 105 / 100 + (2 << 20),
            "{connections}, {limit}: {bytes} bytes"
        );
        let later = &simulation.requests[10..];
        let refused = later.iter().filter(is_refused).count();
        assert!(
            refused * 20 <= later.len(),
            "{connections}, {limit}: {refused} of {}",
            later.len()
        );
        assert!(
            simulation.elapsed() < Duration::from_secs(60),
            "nothing is waited for"
        );
        assert_eq!(
            simulation.sizes_learned.len(),
            1,
            "{connections}, {limit}: one line: {:?}",
            simulation.sizes_learned
        );
    }
}

#[test]
fn what_the_encoding_adds_is_part_of_the_size() {
    let overhead = Overhead {
        per_event: 200,
        per_body: 2,
    };
    let mut simulation = Simulation::new(5000);
    simulation.delivery.retarget(
        2,
        Terms {
            overhead,
            ..terms()
        },
    );
    let limit = 1 << 20;
    simulation.run_until(MAX, |request| {
        match request.bytes + request.seqs.len() * 200 + 2 > limit {
            true => (too_large(), QUICK),
            false => (Outcome::Delivered, QUICK),
        }
    });
    assert!(simulation.delivered_all_but(&[]));
    assert_eq!(
        simulation.requests.len(),
        5000 / (limit / 1200) + 1,
        "none was refused"
    );
}

#[test]
fn one_event_over_the_limit_is_rejected_and_costs_itself_only() {
    let mut simulation = Simulation::new(1000);
    simulation.run_until(MAX, |request| match request.seqs.contains(&700) {
        true => (too_large(), QUICK),
        false => (Outcome::Delivered, QUICK),
    });
    assert!(simulation.delivered_all_but(&[700]));
    assert_eq!(simulation.rejected[&700], "HTTP 413");
}

/// A webhook that takes this long for each event and byte of a request, and goes on after the agent has given up.
fn slow(per_event: Duration, bytes_a_second: usize) -> impl FnMut(&Request) -> (Outcome, Duration) {
    move |request| {
        let line = Duration::from_secs_f64(request.bytes as f64 / bytes_a_second as f64);
        let took = per_event * request.seqs.len() as u32 + line;
        match took > TIMEOUT {
            true => (failed(Cause::Timeout), TIMEOUT),
            false => (Outcome::Delivered, took),
        }
    }
}

#[test]
fn a_slow_webhook_and_a_slow_line_deliver_steadily_and_at_most_the_first_body_twice() {
    let day = Duration::from_secs(86_400);
    let fast = usize::MAX;
    for (size, per_event, line) in [
        (100, Duration::from_millis(4), fast),
        (1000, Duration::from_millis(4), fast),
        (1000, Duration::from_millis(40), fast),
        (1000, Duration::ZERO, 24 << 10),
    ] {
        let mut simulation = Simulation::new(20_000);
        simulation.size = size;
        simulation.run_until(day, slow(per_event, line));
        assert!(
            simulation.delivered_all_but(&[]),
            "{size} {per_event:?} {line}"
        );
        let first = simulation.requests[0].seqs.len();
        assert!(
            simulation.redelivered <= first,
            "{size} {per_event:?}: {} again",
            simulation.redelivered
        );
        let least = (per_event * 20_000).as_secs_f64() + (20_000 * size) as f64 / line as f64;
        let took = simulation.elapsed().as_secs_f64();
        assert!(
            took <= least * 1.05 + 40.0,
            "{size} {per_event:?}: {took} instead of {least}"
        );
    }
}

#[test]
fn a_body_that_breaks_the_connection_comes_through_in_smaller_ones() {
    for limit in [3_000, 50_000, 400_000] {
        for cause in [Cause::Disconnected, Cause::Answer] {
            let mut simulation = Simulation::new(5000);
            simulation.run_until(Duration::from_secs(3600), |request| {
                match request.bytes > limit {
                    true => (failed(cause), QUICK),
                    false => (Outcome::Delivered, QUICK),
                }
            });
            assert!(simulation.delivered_all_but(&[]), "{limit} {cause:?}");
            assert!(simulation.rejected.is_empty());
            let failed = simulation
                .requests
                .iter()
                .filter(|request| request.bytes > limit)
                .count();
            let passed = simulation.requests.len() - failed;
            assert!(
                failed <= 30 + passed / 8,
                "{limit} {cause:?}: {failed} failed, {passed} passed"
            );
        }
    }
}

#[test]
fn a_limit_by_events_is_learned_too() {
    for cause in [Cause::Answer, Cause::Disconnected] {
        let mut simulation = Simulation::new(5000);
        simulation.run_until(Duration::from_secs(3600), |request| {
            match request.seqs.len() > 100 {
                true => (failed(cause), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert!(
            simulation.delivered_all_but(&[]),
            "{cause:?}: {}",
            simulation.delivered.len()
        );
    }
}

#[test]
fn a_webhook_that_fails_now_and_then_gets_large_bodies_all_the_same() {
    for connections in [1, 4] {
        for seed in 1..4 {
            let settings = Settings {
                connections,
                ..settings()
            };
            let mut simulation = Simulation::seeded(settings, 100_000, seed);
            let mut dice = seed * 77 + 1;
            simulation.run_until(Duration::from_secs(86_400), |_| {
                match super::poison::random(&mut dice) % 8 {
                    0 => (failed(Cause::Answer), QUICK),
                    1 => (failed(Cause::Disconnected), QUICK),
                    _ => (Outcome::Delivered, QUICK),
                }
            });
            assert!(simulation.delivered_all_but(&[]), "{connections} {seed}");
            let bytes: usize = simulation.requests.iter().map(|it| it.bytes).sum();
            let average = bytes / simulation.requests.len();
            assert!(average >= 1 << 19, "{connections} {seed}: {average} bytes");
        }
    }
}
