//! Options: where they may stand, which one wins, how a wrong one is refused, and what is never shown.

mod precedence;
mod refused;
mod rows;
mod shown;

use std::process::Stdio;

use crate::support::{Agent, AgentCommand};

const TOKEN: &str = "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0";
/// In what must not be shown, wherever it is put by mistake.
const SECRET: &str = "B5A79AAD-D822";
/// Nobody listens there, and nobody is asked: nothing is read that could be posted.
const NOWHERE: &str = "http://127.0.0.1:9/";

/// Runs the agent on an empty input: its exit code, standard output and log.
fn run(args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    run_as(Agent::command(), args, env)
}

fn run_as(
    agent: AgentCommand,
    args: &[&str],
    env: &[(&str, &str)],
) -> (Option<i32>, String, String) {
    let mut command = agent.stdin(Stdio::null()).args(args);
    for (name, value) in env {
        command = command.env(name, value);
    }
    let ended = command.run();
    (
        ended.code,
        String::from_utf8(ended.stdout).unwrap(),
        ended.log,
    )
}

/// Runs the agent, which must refuse to start, and gives what it says.
#[track_caller]
fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
    let (code, stdout, log) = run(args, env);
    let is_content = args.contains(&"--auth-token-file") && !args.contains(&"--auth-token");
    let expected = if is_content { 1 } else { 2 };
    assert_eq!(code, Some(expected), "{args:?} {env:?} said:\n{log}");
    assert_eq!(stdout, "", "{args:?} {env:?}");
    assert!(!log.contains("started:"), "{args:?} {env:?} said:\n{log}");
    assert!(!log.contains("panicked"), "{args:?} {env:?} said:\n{log}");
    log
}

fn variable(flag: &str) -> String {
    format!("S3_AUDIT_WEBHOOK_{}", flag.to_uppercase().replace('-', "_"))
}
