//! What a sender of a [`Simulation`] does, and what follows from it.

use super::*;
use crate::delivery::compression::Packed;

impl Simulation {
    /// What a sender does from now on.
    pub(super) fn act(
        &mut self,
        sender: usize,
        doing: Doing,
        webhook: &mut impl FnMut(&Request) -> (Outcome, Duration),
    ) -> Doing {
        match doing {
            Doing::Nothing => match self.step(sender) {
                Step::Collect { wanted, until } => match self.collect(wanted, until) {
                    true => Doing::Nothing,
                    false => Doing::Collecting { wanted, until },
                },
                Step::Wait(until) => {
                    self.assert_no_endpoint_is_idle(sender);
                    Doing::Waiting(until)
                }
                Step::Finished => Doing::Ended,
                Step::Ask(query) => self.ask(query),
                Step::Read(seqs) => self.read(&seqs),
                Step::Send(flight) => self.send(sender, flight, webhook),
            },
            Doing::Collecting { wanted, until } if self.collect(wanted, until) => Doing::Nothing,
            Doing::Waiting(Some(until)) if until <= self.now => Doing::Nothing,
            Doing::Posting {
                flight,
                outcome,
                took,
                has_moved,
                until,
            } if until <= self.now => {
                if has_moved {
                    self.delivery.moved(sender, flight.endpoint());
                }
                let seqs: Vec<_> = flight.batch().seqs().flatten().collect();
                self.expect_redelivered(&seqs, &outcome);
                let is_accepted = matches!(outcome, Outcome::Accepted(_));
                let before = self.delivery.posted.events();
                for effect in self.delivery.on(flight, outcome, took, self.now) {
                    self.apply(effect);
                }
                assert_eq!(self.redelivered, self.expected_redelivered);
                if is_accepted && self.delivery.posted.events() <= before {
                    self.rests[sender] = self.now + MIN;
                }
                Doing::Nothing
            }
            Doing::Asking {
                query,
                answer,
                took,
                has_moved,
                until,
            } if until <= self.now => {
                if has_moved {
                    self.delivery.moved(sender, query.endpoint);
                }
                for effect in self.delivery.asked(&query, answer, took, self.now) {
                    self.apply(effect);
                }
                Doing::Nothing
            }
            doing => doing,
        }
    }

    fn send(
        &mut self,
        sender: usize,
        mut flight: Box<Flight>,
        webhook: &mut impl FnMut(&Request) -> (Outcome, Duration),
    ) -> Doing {
        let body = flight.batch();
        let text = body.lines().collect::<Vec<_>>().concat();
        let number = |line: &[u8]| {
            let digits = line.iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0, |number, digit| number * 10 + Seq::from(digit - b'0'))
        };
        let mut request = Request {
            at: self.now - self.start,
            sender,
            endpoint: flight.endpoint(),
            seqs: text.chunks_exact(self.size).map(number).collect(),
            bytes: text.len(),
        };
        assert_eq!(body.extent().events, request.seqs.len());
        let is_rested = self.now >= self.rests[sender] || self.delivery.stopping;
        assert!(is_rested, "no wait after a post that gained nothing");
        if let Some(packs) = self.packs {
            self.ahead_used += usize::from(self.ahead.take().as_ref() == Some(&request.seqs));
            let plain = request.bytes;
            request.bytes = packs(&request);
            let packed = Packed {
                plain,
                bytes: request.bytes,
            };
            if request.bytes > flight.max_bytes() {
                self.oversized += 1;
                self.delivery.oversized(flight, packed, self.now);
                return Doing::Nothing;
            }
            flight.packed(Some(packed));
        }
        let ahead = self.delivery.ahead();
        self.ahead = ahead.map(|(batch, _)| batch.seqs().flatten().collect());
        self.ahead_made += usize::from(self.ahead.is_some());
        let (outcome, took, has_moved) = match &mut self.splunk {
            Some(splunk) => splunk.post(&request, flight.channel().unwrap()),
            None => {
                let (outcome, took) = webhook(&request);
                (outcome, took, false)
            }
        };
        let spooled = request.seqs.iter().filter(|seq| *seq % self.unspooled != 0);
        flight.spooled(spooled.map(|seq| *seq..seq + 1).collect());
        self.requests.push(request);
        Doing::Posting {
            flight,
            outcome,
            took,
            has_moved,
            until: self.now + took,
        }
    }

    /// A sender waits: while nothing has failed, that is because there is nothing to send, or nowhere to send it.
    fn assert_no_endpoint_is_idle(&self, sender: usize) {
        let it = &self.delivery;
        let is_old = |since| self.now >= since + it.settings.age;
        let has_events = !it.retry.is_empty() || it.fresh_since.is_some_and(is_old);
        if has_events
            && !self.is_disabled
            && !it.is_down()
            && it.waits_for(sender, self.now).is_zero()
            && it.pace.rests_until(self.now).is_none()
        {
            let mut open = it.route.working();
            let open = open.find(|place| it.posted.has_room(sender, *place));
            assert_eq!(open, None, "it works, but is idle");
        }
    }

    /// An endpoint that failed is tried again, unless a body is on its way to do so.
    pub(super) fn assert_only_trials_in_flight_are_tried(&self) {
        let it = &self.delivery;
        let trials = it.in_flight.iter().map(|flight| flight.launch);
        let trials = trials.filter(|launch| launch.is_trial && launch.generation == it.generation);
        let trials: BTreeSet<_> = trials.map(|launch| launch.endpoint).collect();
        assert_eq!(it.route.tried(), trials);
    }

    fn read(&mut self, seqs: &Ranges) -> Doing {
        let mut batch = Batch::default();
        for seqs in seqs.without(&self.damaged).iter() {
            let events = (seqs.end - seqs.start) as usize;
            self.comes(events);
            batch.push(self.lines(seqs.start as usize, events));
        }
        let missing = seqs.without(&batch.seqs().collect());
        self.dropped.extend(missing.iter().flatten());
        self.delivery.read(Some(batch));
        Doing::Nothing
    }

    fn ask(&mut self, query: Query) -> Doing {
        let at = self.elapsed();
        let splunk = self.splunk.as_mut().unwrap();
        let (answer, took, has_moved) = splunk.ask(&query, at);
        Doing::Asking {
            query,
            answer,
            took,
            has_moved,
            until: self.now + took,
        }
    }

    fn delivered(&mut self, seqs: impl Iterator<Item = Seq>, elapsed: Duration) {
        for seq in seqs {
            let splunk = self.splunk.as_mut();
            assert!(
                splunk.is_none_or(|splunk| splunk.has(seq, elapsed)),
                "{seq} is lost"
            );
            assert!(self.delivered.insert(seq, elapsed).is_none(), "{seq} twice");
            assert!(!self.rejected.contains_key(&seq), "{seq} twice");
        }
    }

    pub(super) fn apply(&mut self, effect: Effect) {
        let elapsed = self.elapsed();
        match effect {
            Effect::Delivered(batch) => {
                self.in_memory -= batch.extent().events;
                self.delivered(batch.seqs().flatten(), elapsed);
            }
            Effect::Indexed(seqs, bytes) => {
                assert_eq!(bytes, seqs.events() * self.size);
                self.delivered(seqs.iter().flatten(), elapsed);
            }
            Effect::Released(batch) => self.in_memory -= batch.extent().events,
            Effect::Rejected(batch, message) => {
                self.in_memory -= batch.extent().events;
                for seq in batch.seqs().flatten() {
                    assert!(
                        self.rejected.insert(seq, message.clone()).is_none(),
                        "{seq} twice"
                    );
                    assert!(!self.delivered.contains_key(&seq), "{seq} twice");
                }
            }
            Effect::Failed(_, delay) => self.delays.push(delay),
            Effect::Divided => {}
            Effect::Redelivered(events, _) => self.redelivered += events,
            Effect::BodySizeLearned(bytes) => self.sizes_learned.push(bytes),
            Effect::Passed => {}
            Effect::QueryAnswered => {}
            Effect::QueryFailed(_) => self.queries_failed += 1,
            Effect::EndpointFailed(place, _) => self.turns.push((place, false, elapsed)),
            Effect::EndpointRestored(place) => self.turns.push((place, true, elapsed)),
            Effect::SetAside(_) => self.set_aside += 1,
        }
    }
}
