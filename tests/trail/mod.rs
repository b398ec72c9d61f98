//! `--trail`: the archive alone shows whether something is missing, through overload, outages, kills and restarts; and
//! `verify` says so.

mod exports;
mod indexed;
mod records;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Agent, AgentCommand, Webhook};

const PATIENCE: Duration = Duration::from_secs(60);
const BULK: &str = r#"--event-prefix={"create":{}}"#;
/// No record comes between those of the start and of the end.
const SELDOM: &str = "--trail-interval=1h";

/// An agent with a state directory that outlives it.
fn agent(hook: &Webhook, dir: &Path, options: &[&str]) -> AgentCommand {
    agent_of(hook.address(), dir, options)
}

/// The same for whatever is at this address.
fn agent_of(webhook: SocketAddr, dir: &Path, options: &[&str]) -> AgentCommand {
    let is_plain = options.contains(&"--format=ndjson");
    let (format, path) = match is_plain {
        true if options.contains(&BULK) => ("ndjson", "s3-audit/_bulk"),
        true => ("ndjson", "services/collector/raw"),
        false => ("hec", "services/collector/event"),
    };
    Agent::command()
        // So that a test's own flag wins.
        .env("S3_AUDIT_WEBHOOK_TRAIL_INTERVAL", "100ms")
        .args([
            "run",
            "--auth-token=Splunk test",
            "--endpoint",
            &format!("http://{webhook}/{path}"),
            "--trail",
        ])
        .args([
            "--batch-age=5ms",
            "--backoff-min=10ms",
            "--backoff-max=20ms",
        ])
        .arg(format!("--format={format}"))
        .arg("--state-dir")
        .arg(dir)
        .args(
            options
                .iter()
                .filter(|option| **option != "--format=ndjson"),
        )
}

fn feed(agent: &mut Agent, events: std::ops::Range<usize>) {
    let lines: String = events
        .map(|number| format!("{{\"n\":{number}}}\n"))
        .collect();
    agent.stdin().write_all(lines.as_bytes()).unwrap();
}

/// What `verify` says of an export: its exit code, and its JSON.
fn verify(lines: &[String]) -> (i32, Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("export.ndjson");
    fs::write(&file, lines.join("\n")).unwrap();
    let run = |more: &[&str]| {
        let ended = Agent::command().arg("verify").args(more).arg(&file).run();
        (
            ended.code.unwrap(),
            String::from_utf8(ended.stdout).unwrap(),
        )
    };
    let (code, json) = run(&["--json"]);
    let (again, text) = run(&[]);
    assert_eq!(code, again);
    (code, serde_json::from_str(&json).unwrap(), text)
}

fn trail_file(dir: &TempDir) -> std::path::PathBuf {
    let entries = fs::read_dir(dir.path()).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let is_trail =
        |path: &std::path::PathBuf| path.extension().is_some_and(|ending| ending == "trail");
    paths.find(is_trail).unwrap_or_default()
}
