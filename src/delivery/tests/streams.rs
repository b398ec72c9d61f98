//! Streams that go on while events in them fail: slowly, often, or many in a row.

use super::*;

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
