//! What became of requests to the webhook, how long they took, and why some failed.

use std::time::Duration;

use crate::telemetry::labelled::labelled;

/// Upper bounds of the histogram's buckets, in milliseconds; the last bucket counts all requests and has no bound.
pub const BOUNDS: [u64; 11] = [5, 20, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000];

labelled! {
    /// What became of a request to the webhook.
    RequestResult {
        /// Its events were taken.
        Delivered = "delivered";
        /// It failed, and its events are sent again.
        Retried = "retried";
        /// It had events that were rejected.
        Rejected = "rejected";
    }
}

labelled! {
    /// Whose fault a failed request is, as far as that is known.
    Cause {
        /// There was no connection, so nothing of the body was sent.
        Unreachable = "unreachable";
        /// The settings: token, path, certificate. Only an operator can fix it.
        Settings = "settings";
        /// The webhook answered that it does not take the body now, or the reason is unknown.
        Answer = "answer";
        /// The connection ended before an answer.
        Disconnected = "disconnected";
        /// No answer in time.
        Timeout = "timeout";
        /// The agent itself ended the request, because it stops.
        Aborted = "aborted";
    }
}

/// A request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Finished {
    /// What became of it.
    pub result: RequestResult,
    /// Why it failed, if it did.
    pub cause: Option<Cause>,
    /// The time from its beginning to its answer, or to the failure that took the answer's place.
    pub took: Duration,
}

/// All finished requests, summed up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requests {
    by_result: [u64; RequestResult::ALL.len()],
    /// How many requests took at most as long as each bound, and how many there are in total.
    within: [u64; BOUNDS.len() + 1],
    micros: u64,
    /// By cause.
    failures: [u64; Cause::ALL.len()],
}

impl Requests {
    /// Adds one.
    pub fn add(&mut self, finished: Finished) {
        self.by_result[finished.result as usize] += 1;
        let millis = finished.took.as_millis();
        let first = BOUNDS.iter().position(|bound| millis <= u128::from(*bound));
        for within in &mut self.within[first.unwrap_or(BOUNDS.len())..] {
            *within += 1;
        }
        self.micros += u64::try_from(finished.took.as_micros()).unwrap_or_default();
        if let Some(cause) = finished.cause {
            self.failures[cause as usize] += 1;
        }
    }

    /// How many requests had this result.
    pub fn of(&self, result: RequestResult) -> u64 {
        self.by_result[result as usize]
    }

    /// Failures by cause.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Cause::ALL.map(Cause::label).into_iter().zip(self.failures)
    }

    /// As Prometheus defines it: each bucket's bound in seconds and its count, the sum in seconds, the total count.
    pub fn histogram(&self) -> (Vec<(String, u64)>, f64, u64) {
        let bounds = BOUNDS.map(|millis| (millis as f64 / 1e3).to_string());
        let bounds = bounds.into_iter().chain(["+Inf".into()]);
        let buckets = bounds.zip(self.within).collect();
        (buckets, self.micros as f64 / 1e6, self.within[BOUNDS.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_has_all_that_were_as_fast() {
        let mut requests = Requests::default();
        for (millis, result, cause) in [
            (5, RequestResult::Delivered, None),
            (6, RequestResult::Delivered, None),
            (90, RequestResult::Rejected, None),
            (40_000, RequestResult::Retried, Some(Cause::Timeout)),
        ] {
            let took = Duration::from_millis(millis);
            requests.add(Finished {
                result,
                cause,
                took,
            });
        }
        let (buckets, sum, count) = requests.histogram();
        let of = |bound: &str| buckets.iter().find(|(found, _)| found == bound).unwrap().1;
        assert_eq!(
            [of("0.005"), of("0.02"), of("0.1"), of("30"), of("+Inf")],
            [1, 2, 3, 3, 4]
        );
        assert_eq!((sum, count), (40.101, 4));
        let failures: Vec<_> = requests
            .failures()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(failures, [("timeout", 1)]);
        assert_eq!(requests.of(RequestResult::Delivered), 2);
    }

    #[test]
    fn places_are_those_of_the_declaration() {
        for (place, result) in RequestResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, place);
        }
    }
}
