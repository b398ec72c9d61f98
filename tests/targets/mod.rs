//! What requests look like: every format, compressed or not, holds the events unchanged; headers and Splunk's metadata;
//! what can't work together is refused at start; and all of it changes while the agent runs.

mod bodies;
mod choice;
mod headers;

use super::support::{Agent, Webhook};

/// A path that no service knows.
fn plain(hook: &Webhook) -> String {
    format!("http://{}/hook", hook.address())
}

/// What Splunk's event endpoint is given for an event, if it tells no time.
fn envelope(event: &str) -> String {
    format!("{{\"event\":{event},\"host\":\"h\"}}\n")
}

/// Bodies of these events, and how each format makes them of them.
fn expected(format: &str, events: &[String]) -> Vec<String> {
    match format {
        "ndjson" => vec![events.iter().map(|event| format!("{event}\n")).collect()],
        "single" => events.iter().map(|event| format!("{event}\n")).collect(),
        "array" => vec![format!("[{}]", events.join(","))],
        _ => vec![events.iter().map(|event| envelope(event)).collect()],
    }
}

/// Ends the agent's input, and gives its log. Its balance must say this.
#[track_caller]
fn end(mut agent: Agent, delivered: u64, rejected: u64) -> String {
    agent.close_stdin();
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert_eq!(
        (balance.delivered, balance.rejected, balance.left),
        (delivered, rejected, 0),
        "{}",
        ended.log
    );
    ended.log
}
