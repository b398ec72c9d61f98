//! A state directory on a mount that hangs: the agent works without it, and the log says so.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;

use super::delivery::{feed, numbered, start};
use super::support::{Agent, AgentCommand, Answer, Mount, Webhook, end_input};

/// A mount at this directory whose server never answers, for as long as both live. `None`, and the reason is printed,
/// where this is not possible.
fn hang(dir: &Path) -> Option<(Mount<'_>, File)> {
    let server = File::options().read(true).write(true).open("/dev/fuse");
    let server = server.map_err(|error| eprintln!("skipped: /dev/fuse: {error}"));
    let server = server.ok()?;
    let options = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        server.as_raw_fd()
    );
    Some((
        Mount::new("fuse", Path::new("none"), dir, &options, 0)?,
        server,
    ))
}

fn command(hook: &Webhook, dir: &Path) -> AgentCommand {
    Agent::command()
        .args([
            "run",
            "--auth-token=Splunk test",
            "--batch-age=5ms",
            "--shutdown-timeout=1s",
        ])
        .endpoint(&hook.url())
        .source(&format!("file:{}", dir.join("audit.log").display()))
        .arg("--state-dir")
        .arg(dir.join("state"))
}

#[test]
fn a_mount_that_hangs_while_the_agent_runs_is_told_and_stops_nothing() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let (log, state) = (dir.path().join("audit.log"), dir.path().join("state"));
    std::fs::write(&log, "{\"n\":1}\n").unwrap();
    let agent = command(&hook, dir.path()).spawn();
    hook.wait_for_events(1);
    let Some(hung) = hang(&state) else {
        return;
    };
    std::fs::write(&log, "{\"n\":1}\n{\"n\":2}\n").unwrap();
    hook.wait_for_events(2);
    agent.wait_for_log(&format!("{}: no answer for ", state.display()));

    // The mount is still there, but all that waits for it fails.
    drop(hung.1);
    agent.wait_for_log(&format!("{}: answered after ", state.display()));
    drop(hung.0);
    let Some(_hung) = hang(&state) else {
        return;
    };
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!((ended.code, ended.balance().delivered), (Some(0), 2));
}

#[test]
fn a_start_that_waits_for_a_mount_that_hangs_says_so_and_can_be_ended() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let state = dir.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let Some(_hung) = hang(&state) else {
        return;
    };
    let agent = command(&hook, dir.path()).spawn();
    let log = agent.wait_for_log(&format!("{}: no answer for ", state.display()));
    assert!(log.contains("the start waits for it"), "{log}");
    agent.signal(libc::SIGTERM);
    agent.wait();
}

#[test]
fn files_on_a_mount_that_hangs_are_named_and_other_sources_and_the_end_do_not_wait() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let mount = dir.path().join("mount");
    std::fs::create_dir(&mount).unwrap();
    let Some(_hung) = hang(&mount) else {
        return;
    };
    let source = format!("file:{}/*.log", mount.display());
    let agent = command(&hook, dir.path()).source(&source).spawn();
    std::fs::write(dir.path().join("audit.log"), "{\"n\":1}\n").unwrap();
    hook.wait_for_events(1);
    agent.wait_for_log(&format!("{source}: no answer for "));
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!((ended.code, ended.balance().delivered), (Some(0), 1));
}

#[test]
fn rejected_events_that_can_not_be_saved_before_the_end_are_counted() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    hook.always(Answer::status(400));
    let rejects = dir.path().join("rejects");
    std::fs::create_dir(&rejects).unwrap();
    let file = format!("--reject-file={}", rejects.join("file").display());
    let mut agent = start(&hook.url(), &[&file, "--shutdown-timeout=1s"]);
    agent.wait_until_running();
    let Some(_hung) = hang(&rejects) else {
        return;
    };
    feed(&mut agent, &numbered(0..3));
    agent.wait_for_log("rejected ");
    let (balance, log) = end_input(agent);
    assert_eq!(balance.rejected, 3, "{log}");
    assert!(
        log.contains("not saved: 3 events that the webhook rejected ("),
        "{log}"
    );
}
