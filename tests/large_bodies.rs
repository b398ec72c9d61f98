//! Webhooks that take no large bodies and do not say so: what stands before them, a firewall or a balancer, resets the
//! connection.

use super::delivery::{feed, finish, start};
use super::support::{Answer, Webhook};

/// What the webhook takes at most, in bytes.
const LIMIT: usize = 64 << 10;

fn events(count: usize) -> Vec<String> {
    let filler = "x".repeat(1000);
    (0..count)
        .map(|number| format!(r#"{{"number":{number},"filler":"{filler}"}}"#))
        .collect()
}

#[test]
fn a_webhook_that_resets_on_large_bodies_gets_smaller_ones() {
    for answer in [Answer::reset(), Answer::hang_up()] {
        let hook = Webhook::start();
        hook.answer_by(move |request| {
            if request.body.len() > LIMIT {
                answer.clone()
            } else {
                Answer::ok()
            }
        });
        let mut agent = start(&hook.url(), &["--batch-age", "1h"]);
        let events = events(4000);
        feed(&mut agent, &events);
        finish(agent, &hook, &events);

        let requests = hook.requests();
        let lost = requests.iter().filter(|request| !request.delivered());
        let (lost, all) = (lost.count(), requests.len());
        assert!(lost <= 20 && all <= 20 + 4 * 4000 / 60, "{lost} of {all}");
    }
}

#[test]
fn bodies_grow_again_when_it_was_not_their_size() {
    let hook = Webhook::start();
    hook.script((0..20).map(|_| Answer::reset()));
    let mut agent = start(&hook.url(), &["--batch-bytes", "64KiB"]);
    let events = events(4000);
    feed(&mut agent, &events);
    agent.close_stdin();
    agent.wait().done();
    let all: std::collections::BTreeSet<_> = hook.delivered_events().into_iter().collect();
    assert_eq!(
        all.len(),
        events.len(),
        "each has arrived, in whatever order"
    );

    let requests = hook.requests();
    let sizes: Vec<_> = requests.iter().map(|request| request.body.len()).collect();
    assert!(sizes[19] < 2000, "{sizes:?}");
    assert!(sizes.iter().rev().any(|size| *size > 60_000), "{sizes:?}");
}
