//! The end of a story about numbered events: what arrived is what the agent reports as delivered, and nothing is
//! unaccounted for.

use std::fmt::Display;

use super::{Agent, Balance, Webhook};

/// An event with this number.
pub(crate) fn event(number: impl Display) -> String {
    format!(r#"{{"n":{number}}}"#)
}

/// What the webhook has taken, as text.
pub(crate) fn arrived(hook: &Webhook) -> Vec<String> {
    let text = |event: Vec<u8>| String::from_utf8(event).unwrap();
    hook.delivered_events().into_iter().map(text).collect()
}

/// Asserts that exactly these events arrive, in this order.
#[track_caller]
pub(crate) fn assert_arrive(hook: &Webhook, numbers: impl IntoIterator<Item = u64>) {
    let expected: Vec<_> = numbers.into_iter().map(event).collect();
    hook.wait_for_events(expected.len());
    assert_eq!(arrived(hook), expected);
}

/// Ends the agent with SIGTERM.
#[track_caller]
pub(crate) fn end(agent: Agent, hook: &Webhook) -> Balance {
    agent.signal(libc::SIGTERM);
    wait_for_end(agent, hook)
}

/// What the agent reports as delivered is what the webhook got, and nothing is unaccounted for.
#[track_caller]
pub(crate) fn wait_for_end(agent: Agent, hook: &Webhook) -> Balance {
    let balance = agent.wait().done();
    assert_eq!(balance.delivered, hook.event_count() as u64);
    balance
}

/// Ends the agent, and asserts that all it read was delivered.
#[track_caller]
pub(crate) fn end_without_loss(agent: Agent, hook: &Webhook) {
    let balance = end(agent, hook);
    assert_eq!(balance.dropped, 0, "{balance:?}");
}

/// Ends the agent's input; returns its balance and its log.
#[track_caller]
pub(crate) fn end_input(mut agent: Agent) -> (Balance, String) {
    agent.close_stdin();
    let ended = agent.wait();
    (ended.done(), ended.log)
}
