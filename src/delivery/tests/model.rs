//! Whatever the webhook answers: each event becomes final exactly once, and only for a reason found in the answers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::parts::partial;
use super::*;
use crate::delivery::outcome::EventOutcome;

/// What a webhook answers to one request, whatever is in it.
#[derive(Debug, Clone)]
enum Answer {
    Delivered,
    /// With the place of the wrong event, if that is known.
    Rejected(Option<usize>),
    TooLarge,
    Failed(Cause),
    /// One outcome per event, over and over.
    Partial(Vec<EventOutcome>),
}

fn answer() -> impl Strategy<Value = Answer> {
    let cause = prop_oneof![
        Just(Cause::Answer),
        Just(Cause::Disconnected),
        Just(Cause::Timeout),
        Just(Cause::Unreachable),
        Just(Cause::Settings),
        Just(Cause::Aborted),
    ];
    let event = prop_oneof![
        Just(EventOutcome::Delivered),
        Just(EventOutcome::Rejected),
        Just(EventOutcome::Retry),
        Just(EventOutcome::Failed),
        Just(EventOutcome::Unknown),
    ];
    prop_oneof![
        6 => Just(Answer::Delivered),
        2 => proptest::option::of(0usize..40).prop_map(Answer::Rejected),
        2 => Just(Answer::TooLarge),
        6 => cause.prop_map(Answer::Failed),
        2 => vec(event, 1..6).prop_map(Answer::Partial),
    ]
}

/// What an event that becomes final now may be, judging by the answer to the request that it was in.
#[derive(Debug, Default)]
struct Allowed {
    delivered: BTreeSet<Seq>,
    rejected: BTreeSet<Seq>,
    /// How often in a row each event has failed for no clear reason.
    failures: BTreeMap<Seq, u32>,
}

impl Allowed {
    /// Notes an answer, and makes an outcome of it.
    fn note(&mut self, answer: &Answer, seqs: &[Seq]) -> Outcome {
        self.delivered.clear();
        self.rejected.clear();
        match answer {
            Answer::Delivered => {
                self.delivered.extend(seqs);
                Outcome::Delivered
            }
            Answer::Rejected(wrong) => {
                self.rejected
                    .extend(seqs.iter().filter(|_| seqs.len() == 1));
                Outcome::Rejected(DeliveryError {
                    wrong: *wrong,
                    ..DeliveryError::transient(Cause::Answer, "HTTP 400")
                })
            }
            Answer::TooLarge => {
                self.rejected
                    .extend(seqs.iter().filter(|_| seqs.len() == 1));
                Outcome::TooLarge(DeliveryError::transient(Cause::Answer, "HTTP 413"))
            }
            Answer::Failed(cause) => {
                if !matches!(cause, Cause::Unreachable | Cause::Aborted) {
                    seqs.iter()
                        .for_each(|seq| *self.failures.entry(*seq).or_default() += 1);
                }
                failed(*cause)
            }
            Answer::Partial(pattern) => {
                let events: Vec<_> = pattern.iter().copied().cycle().take(seqs.len()).collect();
                for (seq, event) in seqs.iter().zip(&events) {
                    match event {
                        EventOutcome::Delivered => drop(self.delivered.insert(*seq)),
                        EventOutcome::Rejected => drop(self.rejected.insert(*seq)),
                        EventOutcome::Failed => {
                            *self.failures.entry(*seq).or_default() += 1;
                        }
                        EventOutcome::Retry | EventOutcome::Unknown => {}
                    }
                }
                partial(events)
            }
        }
    }
}

/// Runs a script of answers, over and over, and then a webhook that takes everything.
fn run(
    simulation: &mut Simulation,
    script: &[Answer],
    reject_after: u32,
) -> Result<(), TestCaseError> {
    let mut allowed = Allowed::default();
    let mut place = 0;
    let mut final_before: BTreeSet<Seq> = BTreeSet::new();
    for phase in 0..2 {
        let requests = 150;
        for _ in 0..requests {
            let mut asked = None;
            let limit = simulation.elapsed() + Duration::from_secs(86_400);
            let mut is_first = true;
            // One request at a time, so that what became final can be compared with its answer.
            simulation.run_one(limit, |request| {
                assert!(std::mem::take(&mut is_first));
                let answer = match phase {
                    0 => &script[place % script.len()],
                    _ => &Answer::Delivered,
                };
                place += 1;
                asked = Some(answer.clone());
                allowed.note(answer, &request.seqs)
            });
            if asked.is_none() {
                break;
            }
            let request = simulation.requests.last().unwrap();
            prop_assert!(!request.seqs.is_empty());
            prop_assert!(
                request.seqs.iter().all(|seq| !final_before.contains(seq)),
                "sent though final"
            );
            for seq in simulation
                .delivered
                .keys()
                .filter(|seq| !final_before.contains(*seq))
            {
                prop_assert!(allowed.delivered.contains(seq), "{} was not delivered", seq);
            }
            for seq in simulation
                .rejected
                .keys()
                .filter(|seq| !final_before.contains(*seq))
            {
                let often = allowed.failures.get(seq).copied().unwrap_or(0);
                let is_convict = reject_after > 0 && often >= reject_after;
                prop_assert!(
                    allowed.rejected.contains(seq) || is_convict,
                    "{} was rejected after {} failures",
                    seq,
                    often
                );
            }
            final_before.extend(
                simulation
                    .delivered
                    .keys()
                    .chain(simulation.rejected.keys()),
            );
            let is_final = simulation.delivered.len() + simulation.rejected.len();
            prop_assert_eq!(is_final + simulation.delivery.buffered(), simulation.taken);
        }
    }
    prop_assert_eq!(
        final_before.len(),
        simulation.arrivals.len(),
        "all are final in the end"
    );
    Ok(())
}

impl Simulation {
    /// Runs until one request was answered, or there is nothing to do.
    fn run_one(&mut self, limit: Duration, mut webhook: impl FnMut(&Request) -> Outcome) {
        let before = self.requests.len();
        let mut steps = 0;
        let is_posting =
            |it: &Simulation| matches!(it.senders.first(), Some(Doing::Posting { .. }));
        while (self.requests.len() == before || is_posting(self)) && self.elapsed() < limit {
            steps += 1;
            assert!(steps < 10_000, "it goes round in circles");
            if !self.advance(&mut |request: &Request| (webhook(request), QUICK)) {
                return;
            }
        }
    }
}

proptest! {
    #[test]
    fn each_event_ends_once_and_for_a_reason(
        script in vec(answer(), 1..60),
        gaps in vec(0u64..2000, 1..150),
        size in 20usize..600,
        bytes in 400usize..40_000,
        reject_after in 0u32..7,
        rate in prop_oneof![Just(0), 1_000usize..1_000_000],
        seed: u64,
        stop in proptest::option::of(0u64..100),
        other_target in proptest::option::of(0u64..100),
    ) {
        let body = Extent { events: 50, bytes };
        let settings = Settings { body, reject_after, rate, ..settings() };
        let mut simulation = Simulation::seeded(settings, gaps.len(), seed);
        simulation.size = size;
        let mut at = 0;
        simulation.arrivals = gaps.iter().map(|gap| { at += gap; Duration::from_millis(at) }).collect();
        if let Some(events) = other_target {
            simulation.delivery.retarget(2, Terms { max_events: 1 + events as usize, ..terms() });
        }
        if stop.is_some() {
            simulation.delivery.stop(simulation.now);
            simulation.arrivals.iter_mut().for_each(|at| *at = Duration::ZERO);
            // After a stop, what fails is left for the next start, and everything is final or buffered.
            let mut allowed = Allowed::default();
            let mut place = 0;
            simulation.run_until(Duration::from_secs(3600), |request| {
                place += 1;
                (allowed.note(&script[place % script.len()], &request.seqs), QUICK)
            });
            simulation.assert_nothing_forgotten();
        } else {
            run(&mut simulation, &script, reject_after)?;
        }
    }
}
