//! Compressed bodies: the limit is of what is sent.

use proptest::collection::vec;
use proptest::prelude::*;

use super::poison::random;
use super::*;

const LIMIT: usize = 1 << 20;

/// What a body is compressed to.
type Packs = fn(&Request) -> usize;

fn with(connections: usize, events: usize, packs: Packs) -> Simulation {
    let settings = Settings {
        connections,
        ..settings()
    };
    seeded(settings, events, 7, packs)
}

fn seeded(settings: Settings, events: usize, seed: u64, packs: Packs) -> Simulation {
    let mut simulation = Simulation::seeded(settings, events, seed);
    let is_compressed = true;
    let terms = Terms {
        is_compressed,
        ..terms()
    };
    simulation.delivery.retarget(2, terms);
    simulation.packs = Some(packs);
    simulation
}

/// Some events are compressed well, others hardly; in one part of the stream most are, in another few.
fn mixed(request: &Request) -> usize {
    let of = |seq: &Seq| match (seq.wrapping_mul(0x9E37_79B9) >> 8) % 8 {
        kind if kind < (seq / 15_000) % 8 => 900,
        _ => 100,
    };
    request.seqs.iter().map(of).sum::<usize>() + 20
}

#[test]
fn bodies_come_close_to_the_limit_and_none_is_larger() {
    let kinds: [(Packs, usize); 4] = [
        (|request| request.bytes / 5, LIMIT),
        (mixed, LIMIT),
        // It gains nothing.
        (|request| request.bytes + 20, LIMIT),
        // What fits before compression is the limit.
        (|request| request.bytes / 20, (8 << 20) / 20),
    ];
    for (connections, (packs, least)) in
        [1, 4].into_iter().flat_map(|n| kinds.map(|kind| (n, kind)))
    {
        let mut simulation = with(connections, 60_000, packs);
        simulation.run_until(MAX, |_| (Outcome::Delivered, QUICK));
        assert!(simulation.delivered_all_but(&[]));
        let sizes: Vec<_> = simulation.requests.iter().map(|it| it.bytes).collect();
        assert!(*sizes.iter().max().unwrap() <= LIMIT);
        // Nothing is known of the first ones, and the last ones are what is left.
        let full = &sizes[2 * connections..sizes.len() - connections];
        let mean = full.iter().sum::<usize>() / full.len();
        let name = format!("{connections}, {least}");
        assert!(mean * 10 >= least * 8, "{name}: {mean}, {sizes:?}");
        // The mixture has changed three times.
        let twice = simulation.oversized;
        assert!(twice <= connections + 6, "{name}: {twice}");
    }
}

#[test]
fn a_limit_that_is_answered_is_that_of_the_compressed_body() {
    for (connections, limit) in [(1, 10 << 10), (1, 100 << 10), (4, 10 << 10), (4, 900_000)] {
        for packs in [mixed, |request: &Request| request.bytes / 5] {
            let mut simulation = with(connections, 60_000, packs);
            simulation.run_until(MAX * 10, |request| match request.bytes > limit {
                true => {
                    let error = DeliveryError::transient(Cause::Answer, "HTTP 413");
                    (Outcome::TooLarge(error), QUICK)
                }
                false => (Outcome::Delivered, QUICK),
            });
            assert!(simulation.delivered_all_but(&[]));
            let sizes = simulation.requests.iter().map(|it| it.bytes);
            let (sent, taken): (usize, usize) = sizes.fold((0, 0), |(sent, taken), size| {
                (sent + size, taken + if size > limit { 0 } else { size })
            });
            let later = &simulation.requests[10..];
            let refused = later.iter().filter(|it| it.bytes > limit).count();
            let name = format!("{connections}, {limit}: {sent} for {taken}");
            assert!(sent <= taken * 12 / 10 + LIMIT, "{name}");
            assert!(refused * 20 <= later.len(), "{name}: {refused} refused");
            let learned = simulation.sizes_learned.len();
            assert!((1..=2).contains(&learned), "{name}: {learned} lines");
        }
    }
}

#[test]
fn one_event_that_is_larger_than_the_limit_goes_alone() {
    let mut simulation = with(1, 100, |request| match request.seqs.contains(&50) {
        true => 2 * LIMIT,
        false => request.bytes / 5,
    });
    simulation.run_until(MAX, |_| (Outcome::Delivered, QUICK));
    assert!(simulation.delivered_all_but(&[]));
    let large: Vec<_> = simulation
        .requests
        .iter()
        .filter(|it| it.bytes > LIMIT)
        .collect();
    assert_eq!((large.len(), &*large[0].seqs), (1, &[50][..]));
    assert!(simulation.requests.is_sorted_by_key(|it| it.seqs[0]));
}

proptest! {
    #[test]
    fn each_event_ends_once_and_no_body_is_larger_than_the_limit(
        script in vec(0u32..8, 1..40),
        events in 1usize..400,
        bytes in 100usize..20_000,
        connections in 1usize..6,
        seed: u64,
    ) {
        let body = Extent { events: 100, bytes };
        let settings = Settings { body, raw_bytes: 8 * bytes, connections, ..settings() };
        let mut simulation = seeded(settings, events, seed, mixed);
        let mut answers = script.iter().cycle().take(200);
        let mut dice = seed | 1;
        simulation.run_until(Duration::from_secs(86_400), |_| {
            let outcome = match answers.next().copied().unwrap_or(7) {
                1 => Outcome::TooLarge(DeliveryError::transient(Cause::Answer, "HTTP 413")),
                2 => failed(Cause::Answer),
                3 => failed(Cause::Disconnected),
                4 => failed(Cause::Timeout),
                _ => Outcome::Delivered,
            };
            (outcome, Duration::from_millis(random(&mut dice) % 500))
        });
        simulation.assert_nothing_forgotten();
        prop_assert_eq!(simulation.delivered.len() + simulation.rejected.len(), events);
        prop_assert!(simulation.requests.iter().all(|it| it.seqs.len() == 1 || it.bytes <= bytes));
    }
}
