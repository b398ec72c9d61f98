//! Faults at the host: its disk is full, its memory or its descriptors are used up, its clock jumps. Events are
//! delivered as usual.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::delivery::{TOKEN, feed, finish, numbered, start};
use crate::source_http::free_address;
use crate::support::{
    Agent, Answer, Metrics, Mount, STATE_DIR, Webhook, eventually, unchanged_for,
};

use super::rig::Rig;

#[test]
fn a_full_disk_under_the_state_directory_costs_no_event() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new("tmpfs", Path::new("tmpfs"), dir.path(), "size=64k", 0) else {
        return;
    };
    let state = dir.path().to_owned();
    let rig = Rig::start_with(false, 20, |command| command.env(STATE_DIR, &state));
    let filler = state.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    let line = rig
        .agent
        .wait_for_log("can't write the status of this agent for `show`");
    assert!(line.contains("No space left on device"), "{line}");
    rig.agent
        .wait_for_log(".checkpoint: can't write the checkpoint: No space");
    rig.settle();
    drop(file);
    // There is room again: the agent writes by itself the file that `show` reads.
    fs::remove_file(&filler).unwrap();
    rig.agent
        .wait_for_log("`show` has the status of this agent again after");
    rig.end();
}

#[test]
fn a_start_with_a_full_disk_under_the_state_directory_goes_on_from_the_last_checkpoint() {
    let (hook, dir) = (Webhook::start(), tempfile::tempdir().unwrap());
    let state = dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let Some(_mount) = Mount::new("tmpfs", Path::new("tmpfs"), &state, "size=64k", 0) else {
        return;
    };
    let log = dir.path().join("audit.log");
    let mut log = File::options().create(true).append(true).open(log).unwrap();
    let source = format!("file:{}/audit.log", dir.path().display());
    let state_dir = format!("--state-dir={}", state.display());
    let begin = || start(&hook.url(), &["--source", &source, &state_dir]);
    let end = |agent: Agent| {
        agent.wait_until_running();
        agent.signal(libc::SIGTERM);
        agent.wait().done()
    };
    writeln!(log, "{{\"number\":1}}").unwrap();
    let agent = begin();
    hook.wait_for_events(1);
    end(agent);

    let filler = state.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    writeln!(log, "{{\"number\":2}}").unwrap();
    let agent = begin();
    agent.wait_for_log("can't write the checkpoint: No space left on device");
    hook.wait_for_events(2);
    drop(file);
    fs::remove_file(filler).unwrap();
    agent.wait_for_log("checkpoint written again");
    assert_eq!(end(agent).received, 1);
    assert_eq!(end(begin()).received, 0);
}

#[test]
fn without_a_descriptor_for_the_webhook_events_are_held() {
    let hook = Webhook::start();
    let mut agent = start(&hook.url(), &[]);
    agent.wait_until_running();
    // One that was open for a moment would leave room for a connection.
    unchanged_for(Duration::from_millis(100), "all are taken", || {
        agent.leave_descriptors(0)
    });
    feed(&mut agent, &numbered(0..5));
    let line = agent.wait_for_log("delivery failed");
    assert!(line.contains("Too many open files"), "{line}");
    agent.leave_descriptors(500);
    hook.wait_for_events(5);
    finish(agent, &hook, &numbered(0..5));
}

#[test]
fn memory_for_the_buffer_and_16_mib_is_enough() {
    // Resident memory, as containers limit it; limits of address space (RLIMIT_AS, RLIMIT_DATA) also count stacks and
    // arenas that nobody has touched.
    const BUFFER: usize = 16 << 20;
    let Some(group) = Group::new(BUFFER + (16 << 20)) else {
        return;
    };
    let hook = Webhook::builder().forgetful().start();
    hook.always(Answer::status(503));
    let status = free_address();
    let options = [
        &format!("--status-listen={status}"),
        "--buffer-bytes=16MiB",
        "--buffer-events=1000000",
        "--max-event-bytes=1MiB",
        "--when-full=wait",
        "--report-interval=100ms",
    ];
    let mut agent = start(&hook.url(), &options);
    agent.wait_for_log("started: ");
    group.add(agent.id());
    // Small events and large ones, more than the buffer holds.
    let count = 60_000;
    let mut input = agent.take_stdin();
    let writer = std::thread::spawn(move || {
        for number in 0..count {
            let length = if number % 5000 == 0 { 900_000 } else { 500 };
            let event = format!(r#"{{"number":{number},"pad":"{}"}}"#, "x".repeat(length));
            writeln!(input, "{event}").unwrap();
        }
    });
    // Except for the room of one more large event.
    eventually("the buffer is full", || {
        let metrics = Metrics::at(status);
        (metrics.value("buffered_bytes") as usize > BUFFER - (1 << 20)).then_some(())
    });
    hook.always(Answer::hang_up());
    agent.wait_for_log("connection closed");
    hook.always(Answer::ok());
    writer.join().unwrap();
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    assert_eq!((balance.received, balance.delivered), (count, count));
}

/// A control group with this much memory; none if it can't be created.
struct Group(PathBuf);

impl Group {
    fn new(bytes: usize) -> Option<Self> {
        let name = format!("chaos-{}", std::process::id());
        for (root, limit) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let path = Path::new(root).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self(path);
            if fs::write(group.0.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        eprintln!("skipped: can't make a control group");
        None
    }

    fn add(&self, id: u32) {
        fs::write(self.0.join("cgroup.procs"), id.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_clock_that_jumps_changes_no_count_and_no_wait() {
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("clock.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/clock.c"))
        .status();
    if !built.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs a C compiler");
        return;
    }
    let offset = dir.path().join("offset");
    let new = dir.path().join("offset.new");
    let jump = |seconds: i64| {
        fs::write(&new, seconds.to_string()).unwrap();
        fs::rename(&new, &offset).unwrap();
    };
    jump(0);
    let hook = Webhook::start();
    let state = tempfile::tempdir().unwrap();
    let mut agent = Agent::command()
        .arg("run")
        .endpoint(&hook.url())
        .token(TOKEN)
        .env("LD_PRELOAD", &library)
        .env("CLOCK_OFFSET", &offset)
        .env(STATE_DIR, state.path())
        .args(["--batch-age=10ms", "--backoff-min=100ms"])
        .args(["--backoff-max=100ms", "--report-interval=100ms"])
        .spawn();
    const DAY: i64 = 86_400;
    let jumps = [DAY, -DAY, 3653 * DAY, -3653 * DAY, 0];
    let events = numbered(0..2 * jumps.len());
    for (number, seconds) in jumps.into_iter().enumerate() {
        // In the middle of a wait for more events, and of a wait for the next attempt.
        feed(&mut agent, &events[2 * number..=2 * number]);
        jump(seconds);
        hook.wait_for_events(2 * number + 1);
        hook.always(Answer::status(503));
        feed(&mut agent, &events[2 * number + 1..2 * number + 2]);
        hook.wait_for_requests(hook.request_count() + 1);
        jump(-seconds / 2);
        jump(seconds);
        let (before, since) = (hook.request_count(), Instant::now());
        hook.wait_for_requests(before + 3);
        assert!(since.elapsed() >= Duration::from_millis(150), "no pause");
        hook.always(Answer::ok());
        hook.wait_for_events(2 * number + 2);
    }
    let tells = |text: &str| {
        eventually(text, || {
            let files = fs::read_dir(state.path()).unwrap().flatten();
            let mut texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
            texts.any(|state| state.contains(text)).then_some(())
        });
    };
    hook.always(Answer::status(503));
    feed(&mut agent, &numbered(0..1));
    tells(r#""failing""#);
    // The clock goes back to 1970: the outage began long after that.
    let now = i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    jump(-now);
    feed(&mut agent, &numbered(1..2));
    tells(r#""written": "1970-01-01T00:00:"#);
    hook.always(Answer::ok());
    agent.close_stdin();
    let ended = agent.wait();
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
    let balance = ended.balance();
    balance.holds();
    assert_eq!(balance.delivered, events.len() as u64 + 2, "{}", ended.log);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}
