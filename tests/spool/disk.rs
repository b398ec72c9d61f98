//! A disk that fails or is full: clients are refused until it works again, and what is lost is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::source_http::lines;
use crate::support::{Agent, Answer, Mount, Webhook, arrived, event, eventually};

use super::{Host, files, kill, kill_and_serve, numbers, start, stop, wait_until_noted};

/// What has arrived. After an outage a single event may come before those ahead of it, to find out whether it is to blame.
fn sorted(hook: &Webhook) -> Vec<String> {
    let mut events = arrived(hook);
    events.sort();
    events
}

/// The agent with calls that fail as a file says.
struct Faulty {
    host: Host,
    faults: PathBuf,
    library: PathBuf,
}

impl Faulty {
    /// None, and the reason is printed, without a C compiler or in a static program.
    fn new() -> Option<Self> {
        let host = Host::new();
        let library = host.dir.path().join("faults.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no C compiler");
            return None;
        }
        let faults = host.dir.path().join("faults");
        fs::write(&faults, "").unwrap();
        Some(Faulty {
            host,
            faults,
            library,
        })
    }

    fn start(&self, options: &[&str]) -> Agent {
        let command = self.host.command();
        let command = command.env("LD_PRELOAD", &self.library);
        start(command.env("FAULTS", &self.faults), options)
    }

    fn fail(&self, calls: &str) {
        // As a whole, for the agent reads it at any time.
        let new = self.faults.with_extension("new");
        fs::write(&new, calls).unwrap();
        fs::rename(new, &self.faults).unwrap();
    }
}

#[test]
fn a_disk_that_fails_refuses_clients_until_it_works_again() {
    // Each waits for the next attempt to use the spool.
    thread::scope(|scope| {
        for errno in [libc::EIO, libc::EROFS, libc::ENOSPC, libc::EDQUOT] {
            scope.spawn(move || refused_until_it_works_again(errno));
        }
    });
}

fn refused_until_it_works_again(errno: i32) {
    let Some(faulty) = Faulty::new() else { return };
    let host = &faulty.host;
    host.hook.always(Answer::status(503));
    let agent = faulty.start(&[]);
    assert_eq!(host.post(&lines(0..5)), 200);
    faulty.fail(&format!("writev {errno}"));
    assert_eq!(host.post(&lines(5..7)), 503);
    agent.wait_for_log("the spool can't be used: ");
    let is_full = [libc::ENOSPC, libc::EDQUOT].contains(&errno);
    agent.wait_for_log(match is_full {
        true => "events of other sources dropped",
        false => "events of other sources kept in memory",
    });
    assert_eq!(host.post(&lines(7..9)), 503);
    faulty.fail("");
    agent.wait_for_log("the spool takes events again");
    assert_eq!(host.post(&lines(9..12)), 200);
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(8);
    let (balance, log) = stop(agent);
    let mut expected = [numbers(0..5), numbers(9..12)].concat();
    expected.sort();
    assert_eq!(sorted(&host.hook), expected, "{log}");
    assert_eq!(
        (balance.received, balance.delivered, balance.dropped),
        (8, 8, 0)
    );
}

#[test]
fn a_stream_goes_through_memory_while_the_disk_fails() {
    let Some(faulty) = Faulty::new() else { return };
    let host = &faulty.host;
    faulty.fail(&format!("writev {}", libc::EIO));
    let mut agent = host
        .bare()
        .source("stdin")
        .arg("--spool-bytes=8MiB")
        .env("LD_PRELOAD", &faulty.library)
        .env("FAULTS", &faulty.faults)
        .spawn();
    agent.wait_for_log("started: ");
    let mut feed = |numbers: std::ops::Range<usize>| {
        use std::io::Write as _;
        agent.stdin().write_all(lines(numbers).as_bytes()).unwrap();
    };
    feed(0..3);
    let log = || fs::read_dir(host.spool()).unwrap().count();
    eventually("the failure is noticed", || (log() > 0).then_some(()));
    // These find the spool in trouble, and go through memory at once.
    eventually("events arrive", || {
        feed(3..4);
        arrived(&host.hook).contains(&event(3)).then_some(())
    });
    faulty.fail("");
    host.hook.wait_for_events(4);
    eventually("what was kept arrives", || {
        arrived(&host.hook).contains(&event(0)).then_some(())
    });
    agent.close_stdin();
    let balance = agent.wait().done();
    assert_eq!((balance.dropped, balance.left), (0, 0));
}

#[test]
fn a_sync_that_fails_is_final_for_its_segment_and_costs_nothing() {
    for mode in ["always", "second"] {
        let Some(faulty) = Faulty::new() else { return };
        let host = &faulty.host;
        host.hook.always(Answer::status(503));
        let agent = faulty.start(&[&format!("--spool-sync={mode}")]);
        assert_eq!(host.post(&lines(0..5)), 200);
        faulty.fail(&format!("fdatasync {}", libc::EIO));
        let answer = host.post(&lines(5..10));
        agent.wait_for_log("can't have it on disk: ");
        // Not even the other file can be had on disk.
        assert_eq!(answer, if mode == "always" { 503 } else { 200 });
        agent.wait_for_log("the spool can't be used: ");
        faulty.fail("");
        eventually("it works again", || {
            (host.post(&lines(10..11)) == 200).then_some(())
        });
        assert_eq!(host.post(&lines(11..12)), 200);
        assert!(host.segments().len() >= 2, "{:?}", host.segments());
        kill_and_serve(agent, &host.hook);
        let agent = faulty.start(&[]);
        // What was refused may be there all the same.
        let refused = if mode == "always" { 5..10 } else { 0..0 };
        host.hook.wait_for_events(12 - refused.len());
        let (balance, log) = stop(agent);
        let (mut found, mut expected) = (sorted(&host.hook), numbers(0..12));
        for event in numbers(refused) {
            found.retain(|it| *it != event);
            expected.retain(|it| *it != event);
        }
        expected.sort();
        assert_eq!(found, expected, "{mode}: {log}");
        assert_eq!(balance.dropped, 0, "{log}");
    }
}

#[test]
fn a_disk_that_is_full_before_the_limit_refuses_and_recovers() {
    let host = Host::new();
    fs::create_dir(host.spool()).unwrap();
    let spool = host.spool();
    let Some(_mount) = Mount::new("tmpfs", Path::new("none"), &spool, "size=1m", 0) else {
        return;
    };
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    let body = format!("{{\"pad\":\"{}\"}}\n", "x".repeat(20_000));
    let mut taken = 0;
    while host.post(&body) == 200 {
        taken += 1;
        assert!(taken < 100);
    }
    agent.wait_for_log("No space left on device");
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(taken);
    // Its position could be written, and so room is made.
    agent.wait_for_log("the spool takes events again");
    eventually("clients are taken", || {
        (host.post(&body) == 200).then_some(())
    });
    let (balance, log) = stop(agent);
    assert_eq!((balance.dropped, balance.left), (0, 0), "{log}");
}

/// Of each segment, also of the newest, by agent and command.
#[test]
fn a_page_that_can_not_be_read_costs_its_events_and_is_logged_once() {
    let Some(faulty) = Faulty::new() else { return };
    let host = &faulty.host;
    host.hook.always(Answer::status(503));
    let agent = faulty.start(&["--spool-bytes=1MiB"]);
    let mut count = 0;
    while host.segments().len() < 2 {
        assert_eq!(host.post(&lines(count..count + 1000)), 200);
        count += 1000;
    }
    assert_eq!(host.post(&lines(count..count + 1000)), 200);
    count += 1000;
    wait_until_noted(host, count);
    kill(agent);
    faulty.fail("pread-page 5");
    let segments = host.segments();
    for action in ["cat", "list", "verify"] {
        let ended = Agent::command()
            .args(["spool", action, "--state-dir"])
            .arg(host.dir.path())
            .env("LD_PRELOAD", &faulty.library)
            .env("FAULTS", &faulty.faults)
            .run();
        assert_eq!(ended.code, Some(1), "{action}");
        for segment in &segments {
            let name = segment.file_name().unwrap().to_str().unwrap();
            assert!(
                ended.log.contains(&format!("{name}: ")),
                "{action}: {}",
                ended.log
            );
        }
        let printed = String::from_utf8(ended.stdout).unwrap().lines().count();
        assert!(
            action != "cat" || (1..count).contains(&printed),
            "{printed}"
        );
    }
    host.hook.always(Answer::ok());
    let agent = faulty.start(&[]);
    eventually("all is sent", || host.is_idle().then_some(()));
    let (balance, log) = stop(agent);
    assert!(balance.dropped > 0 && balance.delivered > 0, "{log}");
    assert_eq!(balance.delivered + balance.dropped, count as u64, "{log}");
    for segment in &segments {
        let what = format!("{} can't be read: ", segment.display());
        assert_eq!(log.matches(&what).count(), 1, "{log}");
    }
    assert_eq!(files(&host.spool(), ".bad").len(), segments.len(), "{log}");
}
