//! How events reach the webhook: what a request looks like, what each answer means, and what becomes of events while
//! the webhook fails in one of its many ways. Whatever happens, what the agent counts as delivered is what the webhook
//! has answered with 2xx.

mod answers;
mod connection;

use std::io::Write;
use std::path::Path;

use super::support::{Agent, AgentCommand, BINARY, Balance, STATE_DIR, Webhook};

pub(crate) const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";

/// An agent that sends at once and tries again soon. It sums up so rarely that a test sees only what is logged at once.
pub(crate) fn prompt() -> AgentCommand {
    promptly(Agent::command())
}

/// Has this agent send at once, and so on.
pub(crate) fn promptly(mut command: AgentCommand) -> AgentCommand {
    // By the environment, so that a test's own flags win.
    for (name, value) in [
        ("BATCH_AGE", "0"),
        ("BACKOFF_MIN", "5ms"),
        ("BACKOFF_MAX", "20ms"),
        ("REPORT_INTERVAL", "1h"),
    ] {
        command = command.env(&format!("S3_AUDIT_WEBHOOK_{name}"), value);
    }
    command
}

/// Such an agent that reads a pipe, unless `more` says otherwise.
pub(crate) fn start(endpoint: &str, more: &[&str]) -> Agent {
    spawn(prompt(), endpoint, more)
}

/// Such an agent that reads this named pipe.
pub(crate) fn start_at(pipe: &Path, endpoint: &str, more: &[&str]) -> Agent {
    spawn(promptly(Agent::command_at(pipe)), endpoint, more)
}

fn spawn(command: AgentCommand, endpoint: &str, more: &[&str]) -> Agent {
    let command = command.env("S3_AUDIT_WEBHOOK_AUTH_TOKEN", TOKEN);
    command.arg("run").endpoint(endpoint).args(more).spawn()
}

/// Events with these numbers.
pub(crate) fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers
        .map(|number| format!(r#"{{"number":{number}}}"#))
        .collect()
}

/// Writes events to the agent's standard input, a line each.
pub(crate) fn feed(agent: &mut Agent, events: &[String]) {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    agent.stdin().write_all(lines.as_bytes()).unwrap();
}

/// What the webhook has taken, as text.
pub(crate) fn taken(hook: &Webhook) -> Vec<String> {
    texts(hook.delivered_events())
}

fn texts(events: Vec<Vec<u8>>) -> Vec<String> {
    events
        .into_iter()
        .map(|event| String::from_utf8(event).unwrap())
        .collect()
}

/// Ends the agent's input and waits for it to end well; the webhook must have `events` by then, each once and in order,
/// and the agent must say the same. Gives the balance and the log.
#[track_caller]
pub(crate) fn finish(agent: Agent, hook: &Webhook, events: &[String]) -> (Balance, String) {
    let ended = finish_in_any_order(agent, hook, events);
    assert_eq!(taken(hook), events, "{}", ended.1);
    ended
}

/// The same in any order: a webhook that is down is tried with other events than the oldest, too.
#[track_caller]
pub(crate) fn finish_in_any_order(
    mut agent: Agent,
    hook: &Webhook,
    events: &[String],
) -> (Balance, String) {
    agent.close_stdin();
    let ended = agent.wait();
    let (mut taken, mut events) = (taken(hook), events.to_vec());
    taken.sort();
    events.sort();
    assert_eq!(taken, events, "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    assert_eq!((ended.code, balance.left), (Some(0), 0), "{}", ended.log);
    assert_eq!(balance.delivered, events.len() as u64, "{}", ended.log);
    (balance, ended.log)
}

/// The log's lines of this level.
pub(crate) fn lines_of<'a>(level: &str, log: &'a str) -> Vec<&'a str> {
    log.lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(level))
        .collect()
}

/// An agent that sees `file` where others see `place`, such as `/etc/hosts`; none where nobody may mount in a namespace
/// of his own.
pub(crate) fn start_seeing(
    file: &Path,
    place: &str,
    endpoint: &str,
    more: &[&str],
) -> Option<Agent> {
    let unshare = |script: &str| {
        AgentCommand::of("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(file)
            .arg(place)
    };
    if unshare(r#"mount --bind "$1" "$2""#).run().code != Some(0) {
        eprintln!("skipped: nobody may mount in a namespace of his own here");
        return None;
    }
    let agent = unshare(r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#)
        .arg(BINARY)
        .args(["run", "--endpoint", endpoint, "--auth-token", TOKEN])
        .args(["--batch-age=0", "--backoff-min=5ms", "--backoff-max=20ms"])
        .args(["--shutdown-timeout=300ms", "--no-proxy"])
        .args(more)
        .env(STATE_DIR, file.parent().unwrap());
    Some(agent.spawn())
}
