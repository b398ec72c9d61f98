//! Streams that go on while events in them fail: slowly, often, or many in a row.

use super::*;
use crate::delivery::attempt::Attempt;

/// A stream of so many events per second, for so many seconds.
fn stream(per_second: usize, seconds: usize, connections: usize) -> Simulation {
    let settings = Settings {
        connections,
        ..settings()
    };
    let events = per_second * seconds;
    let mut simulation = Simulation::with(settings, events);
    simulation.size = 100;
    let at = |event| Duration::from_secs(1) * event as u32 / per_second as u32;
    simulation.arrivals = (0..events).map(at).collect();
    simulation
}

/// How long the slowest took of the delivered events but for so many.
fn latest_but(simulation: &Simulation, slowest: usize) -> Duration {
    let took = simulation.delivered.iter();
    let took = took.map(|(seq, at)| *at - simulation.arrivals[*seq as usize]);
    let mut took: Vec<_> = took.collect();
    took.sort();
    took[took.len() - 1 - slowest]
}

#[test]
fn an_event_whose_requests_hang_takes_a_tenth_of_the_time_at_most() {
    for (cause, hangs, connections) in [
        (Cause::Timeout, 30, 1),
        (Cause::Answer, 10, 1),
        (Cause::Disconnected, 20, 1),
        (Cause::Timeout, 30, 4),
    ] {
        let hangs = Duration::from_secs(hangs);
        let mut simulation = stream(20, 3600, connections);
        let mut hung = Vec::new();
        simulation.run_until(MAX * 130, |request| match request.seqs.contains(&1000) {
            true => {
                hung.push(request.at);
                (failed(cause), hangs)
            }
            false => (Outcome::Delivered, QUICK),
        });
        let place = format!("{cause:?} {hangs:?} {connections}: {hung:?}");
        assert!(simulation.delivered_all_but(&[1000]), "{place}");
        assert_eq!(simulation.rejected.len(), 1, "{place}");
        // Two in a row, once.
        let late = latest_but(&simulation, 20 * 30);
        assert!(late < hangs * 2 + MIN * 8, "{place}: {late:?}");
        // Those that shared a body with it are looked through meanwhile.
        let late = latest_but(&simulation, 0);
        assert!(late < hangs * 5, "{place}: {late:?}");
        let search = hung[0] + hangs * 11;
        let later = hung.iter().filter(|at| **at > search).count() as u32;
        let share = hangs * later * 10;
        assert!(share < simulation.elapsed(), "{place}");
    }
}

#[test]
fn a_backlog_flows_past_an_event_whose_requests_hang() {
    let mut simulation = Simulation::new(60_000);
    simulation.run_until(MAX * 3, |request| match request.seqs.contains(&1000) {
        true => (failed(Cause::Timeout), TIMEOUT),
        false => (Outcome::Delivered, QUICK * 10),
    });
    let left = simulation.arrivals.len() - simulation.delivered.len();
    assert!(left < 1100, "{left}");
}

#[test]
fn many_that_fail_hold_nobody_up_at_any_rate() {
    for (per_second, one_in, cause) in [
        (100, 100, Cause::Answer),
        (100, 50, Cause::Disconnected),
        (300, 100, Cause::Answer),
    ] {
        let mut simulation = stream(per_second, 60, 1);
        let is_culprit = |seq: &Seq| seq % one_in == 3;
        simulation.run_until(Duration::from_secs(62), |request| {
            match request.seqs.iter().any(is_culprit) {
                true => (failed(cause), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        let place = format!("one in {one_in} of {per_second} {cause:?}");
        let culprits = (0..per_second as Seq * 60).filter(is_culprit);
        let culprits: Vec<_> = culprits.collect();
        assert!(simulation.delivered_all_but(&culprits), "{place}");
        let late = simulation.latest();
        assert!(late < Duration::from_secs(6), "{place}: {late:?}");
        let kept = culprits.len() - simulation.rejected.len();
        assert!(kept < culprits.len() / 5, "{place}: {kept}");
    }
}

#[test]
fn a_run_of_culprits_does_not_stop_a_stream() {
    for (length, per_second, seconds) in
        [(20, 20, 5), (100, 50, 12), (500, 100, 30), (2000, 2000, 12)]
    {
        let run = 500..500 + length;
        let mut simulation = stream(per_second, 40, 1);
        simulation.run_until(Duration::from_secs(70), |request| {
            match request.seqs.iter().any(|seq| run.contains(seq)) {
                true => (failed(Cause::Answer), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        let place = format!("{length} at {per_second}/s");
        let run: Vec<_> = run.collect();
        assert!(simulation.delivered_all_but(&run), "{place}");
        // Those next to the run are looked through with it.
        let late = latest_but(&simulation, per_second);
        assert!(late < Duration::from_secs(seconds), "{place}: {late:?}");
    }
}

#[test]
fn a_wait_that_is_asked_for_one_event_is_not_for_all() {
    for (is_overload, longest) in [(false, 2), (true, 4)] {
        let mut simulation = stream(10, 300, 1);
        let mut failures = Vec::new();
        simulation.run_until(Duration::from_secs(310), |request| {
            let error = DeliveryError {
                is_overload,
                retry_after: Some(MAX * 2),
                ..DeliveryError::transient(Cause::Answer, "HTTP 403")
            };
            match request.seqs.contains(&20) {
                true => {
                    failures.push(request.at);
                    (Outcome::Failed(error), QUICK)
                }
                false => (Outcome::Delivered, QUICK),
            }
        });
        assert!(simulation.delivered_all_but(&[20]), "{is_overload}");
        let late = simulation.latest();
        assert!(
            late < MAX * longest + MIN * 4,
            "{is_overload}: {late:?} {failures:?}"
        );
    }
}

#[test]
fn what_failed_while_others_passed_is_held_back() {
    for (trouble, passes, rejected, expected) in [
        (None, 5, 0, 0),
        (Some(5), 5, 0, 0),
        (Some(4), 5, 0, 3),
        (None, 0, 4, 0),
        (None, 5, 3, 0),
        (None, 5, 4, 5),
    ] {
        let mut delivery = Simulation::new(0).delivery;
        let events = || Batch::of(b"{}\n{}\n");
        delivery.fresh = events();
        delivery.retry.push_back(Attempt::from(events()));
        let one = Attempt::from(Batch::of(b"{}\n"));
        delivery.set_aside(None, one, "no", Instant::now());
        (delivery.trouble, delivery.passes) = (trouble, passes);
        delivery.rejected_in_a_row = rejected;
        assert_eq!(delivery.held_back().events, expected, "{trouble:?}");
    }
}

#[test]
fn an_outage_that_looks_like_a_rejected_event_costs_none() {
    for seed in 0..2 {
        let mut simulation = stream(10, 900, 1);
        let mut state = seed;
        simulation.run_until(Duration::from_secs(1200), |request| {
            let fails = match request.at.as_secs() {
                200..300 => true,
                400..600 => super::poison::random(&mut state) < u64::MAX / 2,
                700..800 => request.at.as_secs() / 10 % 2 == 0,
                _ => false,
            };
            match fails || request.seqs.contains(&100) {
                true => (failed(Cause::Answer), QUICK),
                false => (Outcome::Delivered, QUICK),
            }
        });
        let rejected: Vec<_> = simulation.rejected.keys().copied().collect();
        assert_eq!(rejected, [100], "{seed}");
        assert!(simulation.delivered_all_but(&[100]), "{seed}");
    }
}

/// What comes too soon after another request is refused, which says nothing of its events.
#[test]
fn a_limit_on_requests_rejects_no_other_event() {
    let poison = 20;
    for (connections, per_second, apart, took) in [
        (4, 7, 20, 1),
        (4, 17, 20, 1),
        (4, 10, 5, 1),
        (4, 200, 60, 20),
        (1, 30, 60, 20),
        (1, 200, 200, 1),
        (1, 200, 5, 1),
    ] {
        let mut simulation = stream(per_second, 100, connections);
        let (apart, took) = (Duration::from_millis(apart), Duration::from_millis(took));
        let mut last = None;
        simulation.run_until(Duration::from_secs(120), |request| {
            let error = DeliveryError {
                is_overload: true,
                ..DeliveryError::transient(Cause::Answer, "HTTP 429")
            };
            let is_soon = last.is_some_and(|last| request.at < last + apart);
            if request.seqs.contains(&poison) || is_soon {
                return (Outcome::Failed(error), took);
            }
            last = Some(request.at);
            (Outcome::Delivered, took)
        });
        let innocent = simulation.rejected.keys().filter(|seq| **seq != poison);
        assert_eq!(innocent.count(), 0, "{connections} {per_second} {apart:?}");
    }
}

/// A deploy that goes wrong: of the servers behind the balancer only one still works.
#[test]
fn a_balancer_of_which_most_servers_are_broken_costs_hardly_any_event() {
    for (servers, per_second, connections, age) in
        [(3, 10, 1, 100), (4, 50, 1, 1000), (3, 50, 2, 1000)]
    {
        for shift in 0..2 {
            let mut simulation = stream(per_second, 60, connections);
            simulation.delivery.settings.age = Duration::from_millis(age);
            let mut request = shift;
            simulation.run_until(Duration::from_secs(90), |asked| {
                request += 1;
                let is_deploy = (10..50).contains(&asked.at.as_secs());
                match is_deploy && request % servers != 0 {
                    true => (failed(Cause::Answer), QUICK),
                    false => (Outcome::Delivered, QUICK),
                }
            });
            let place = format!("{servers} {per_second} {connections} {shift}");
            let rejected: Vec<_> = simulation.rejected.keys().copied().collect();
            assert!(simulation.delivered_all_but(&rejected), "{place}");
            assert!(rejected.len() <= 2, "{place}: {}", rejected.len());
        }
    }
}
