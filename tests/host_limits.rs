//! A host that lacks threads or descriptors for now: a start that fails takes no event, and may be tried again.

use std::io::{Read as _, Write as _, pipe};

use super::delivery::numbered;
use super::support::{Agent, AgentCommand, Ended, Webhook};

/// More than any start needs.
const ENOUGH: u64 = 24;

fn command(hook: &Webhook) -> AgentCommand {
    Agent::command()
        .args(["run", "--when-full=wait", "--batch-age=0"])
        .endpoint(&hook.url())
        .token("Splunk test")
}

/// It failed in a way that may pass by itself, and says what to do.
fn assert_failed(ended: &Ended, what: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    let last = ended.log.lines().last().unwrap_or_default();
    assert!(
        last.contains(what) && last.contains("; fix: "),
        "{}",
        ended.log
    );
    assert!(!ended.log.contains(" started: "), "{}", ended.log);
}

#[test]
fn a_start_without_enough_threads_takes_nothing() {
    let hook = Webhook::start();
    let events = numbered(0..500);
    let input = events.join("\n") + "\n";
    let mut succeeded = 0;
    for threads in 1..=ENOUGH {
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(input.as_bytes()).unwrap();
        drop(writer);
        let command = command(&hook).stdin(reader.try_clone().unwrap());
        let Some(agent) = command.limit_threads(threads).spawn_as_nobody() else {
            return;
        };
        let ended = agent.wait();
        if ended.code == Some(0) {
            let balance = ended.done();
            assert_eq!(balance.delivered, events.len() as u64, "{}", ended.log);
            succeeded += events.len();
        } else {
            assert_failed(&ended, "can't start the thread '");
            let mut left = String::new();
            reader.read_to_string(&mut left).unwrap();
            assert_eq!(left.len(), input.len(), "{threads}: {}", ended.log);
        }
    }
    assert_eq!(hook.event_count(), succeeded);
}

#[test]
fn a_start_without_enough_descriptors_may_be_tried_again() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let rejects = format!("--reject-file={}", dir.path().join("rejects").display());
    let much = ["--status-listen=127.0.0.1:0", "--trail", &rejects];
    for options in [&much[..], &much[..1], &[]] {
        // What loads the program needs some, too.
        for descriptors in 4..=ENOUGH {
            let command = command(&hook).args(options).input("{}\n");
            let ended = command.limit_descriptors(descriptors).spawn().wait();
            if ended.code == Some(0) {
                ended.balance().holds();
            } else {
                assert_failed(&ended, "Too many open files");
                assert!(ended.log.contains("LimitNOFILE"), "{}", ended.log);
            }
        }
    }
}
