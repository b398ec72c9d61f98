//! `file:PATH`: the agent follows a log while its server appends to it, rotates it, truncates it or takes it away. The
//! file is the buffer while the webhook is, so nothing of it is dropped.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{
    Agent, Answer, Webhook, arrived, assert_arrive, end, end_without_loss, event, eventually,
};

/// An audit log and the server that writes it.
struct Log {
    dir: TempDir,
    /// The server's own handle: after a rename it stays with the renamed file until the server opens its log anew.
    file: File,
    rotations: usize,
}

impl Log {
    /// An empty log in a directory of its own.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = append_to(&dir.path().join("audit.log"), 0o644);
        Self {
            dir,
            file,
            rotations: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn source(&self) -> String {
        format!("file:{}", self.path().display())
    }

    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn write_events(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.write(&(event(number) + "\n"));
        }
    }

    /// What logrotate does first. The server does not know of it yet.
    fn rename(&mut self) {
        self.rotations += 1;
        let to = self.path().with_extension(self.rotations.to_string());
        fs::rename(self.path(), to).unwrap();
    }

    /// What the server does when it is told of the rename.
    fn reopen(&mut self) {
        self.file = append_to(&self.path(), 0o644);
    }
}

fn append_to(path: &PathBuf, mode: u32) -> File {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(mode);
    options.open(path).unwrap()
}

/// Options that make everything happen soon.
const SOON: [&str; 9] = [
    "--auth-token=Splunk test",
    "--batch-age",
    "5ms",
    "--backoff-min",
    "10ms",
    "--backoff-max",
    "50ms",
    "--report-interval",
    "100ms",
];

fn start(hook: &Webhook, sources: &[&str], options: &[&str]) -> Agent {
    let sources = sources.iter().flat_map(|source| ["--source", source]);
    Agent::command()
        .args(["run", "--endpoint", &hook.url()])
        .args(SOON)
        .args(sources)
        .args(options)
        .spawn()
}

/// Waits until the agent has read all that was written.
#[track_caller]
fn wait_until_read(agent: &Agent, log: &Log) {
    let size = log.path().metadata().unwrap().len();
    eventually("the agent has read the whole file", || {
        (offset(agent, &log.path()) == Some(size)).then_some(())
    });
}

/// How far the agent has read a file that it has open.
fn offset(agent: &Agent, path: &Path) -> Option<u64> {
    let path = path.canonicalize().ok()?;
    let process = PathBuf::from(format!("/proc/{}", agent.id()));
    let mut open = fs::read_dir(process.join("fd")).unwrap().flatten();
    let open = open.find(|open| fs::read_link(open.path()).is_ok_and(|to| to == path))?;
    let info = fs::read_to_string(process.join("fdinfo").join(open.file_name())).unwrap();
    info.lines()
        .find_map(|line| line.strip_prefix("pos:"))
        .and_then(|offset| offset.trim().parse().ok())
}

/// Each event up to the last has arrived once. After an outage they come in whatever order the sender finds best.
#[track_caller]
fn assert_all_arrive(hook: &Webhook, last: u64) {
    hook.wait_for_events(usize::try_from(last).unwrap());
    let mut arrived = arrived(hook);
    arrived.sort_unstable();
    let mut expected: Vec<_> = (1..=last).map(event).collect();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}

#[test]
fn a_file_is_read_from_its_beginning_and_followed_as_it_grows() {
    let hook = Webhook::start();
    let mut log = Log::new();
    log.write_events([1, 2]);

    let agent = start(&hook, &[&log.source()], &[]);
    assert_arrive(&hook, 1..=2);

    log.write_events([3]);
    assert_arrive(&hook, 1..=3);

    // No newline yet, and none is needed.
    log.write(&event(4));
    assert_arrive(&hook, 1..=4);

    // Another one on the same line, as Ceph RGW writes two records that it flushes together.
    log.write(&(event(5) + "\n"));
    assert_arrive(&hook, 1..=5);

    // An event in two halves, the first of which the agent has read before the second is there.
    log.write("{\"n\"");
    wait_until_read(&agent, &log);
    log.write(":6}\n");
    assert_arrive(&hook, 1..=6);
    end_without_loss(agent, &hook);
}

#[test]
fn a_path_may_be_relative() {
    for path in ["audit.log", "./audit.log"] {
        let hook = Webhook::start();
        let mut log = Log::new();
        log.write_events([1]);
        let agent = Agent::command()
            .in_dir(log.dir.path())
            .args(["run", "--endpoint", &hook.url(), "--auth-token=x"])
            .args(["--source", &format!("file:{path}")])
            .spawn();
        assert_arrive(&hook, [1]);
        log.rename();
        log.reopen();
        log.write_events([2]);
        assert_arrive(&hook, 1..=2);
        end_without_loss(agent, &hook);
    }
}

#[test]
fn the_ops_log_file_of_a_ceph_gateway_arrives_whole() {
    let records = include_bytes!("../data/rgw-file.log");
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);

    for piece in records.chunks(records.len() / 7) {
        let before = hook.event_count();
        log.file.write_all(piece).unwrap();
        // Each piece ends in the middle of a record, and has been read before the next one is written.
        hook.wait_for_events(before + 1);
    }

    let delivered = hook.wait_for_events(226).concat();
    let expected = String::from_utf8_lossy(records).replace('\n', "");
    assert!(
        String::from_utf8_lossy(&delivered) == expected,
        "the records arrived changed"
    );
    end_without_loss(agent, &hook);
}

#[test]
fn a_file_that_is_not_there_yet_is_waited_for() {
    let hook = Webhook::start();
    let mut log = Log::new();
    fs::remove_file(log.path()).unwrap();

    let agent = start(&hook, &[&log.source()], &[]);
    let line = agent.wait_for_log("no such file yet; waiting for it");
    assert!(
        line.contains("WARN") && line.contains("audit.log"),
        "{line}"
    );
    log.reopen();
    log.write_events([1]);

    assert_arrive(&hook, [1]);
    end_without_loss(agent, &hook);
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write_events([1]);
    assert_arrive(&hook, [1]);

    log.rename();
    log.write_events([2]);
    assert_arrive(&hook, 1..=2);

    // As long as the new file is empty, the server may not know of it yet.
    let mut new = append_to(&log.path(), 0o644);
    log.write_events([3]);
    assert_arrive(&hook, 1..=3);

    // The agent finds both at once: the end of the old file and the beginning of the new one.
    agent.signal(libc::SIGSTOP);
    log.write_events([4, 5]);
    new.write_all((event(6) + "\n").as_bytes()).unwrap();
    agent.signal(libc::SIGCONT);
    assert_arrive(&hook, 1..=6);

    log.reopen();
    log.write_events([7]);
    assert_arrive(&hook, 1..=7);
    agent.wait_for_log("was replaced; reading the new one");
    end_without_loss(agent, &hook);
}

#[test]
fn a_half_written_event_at_the_end_of_a_renamed_file_costs_nothing_else() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);

    log.write_events([1]);
    log.write("{\"n\":");
    assert_arrive(&hook, [1]);
    log.rename();
    log.reopen();
    log.write_events([2, 3]);

    assert_arrive(&hook, 1..=3);
    // Its rest may still come.
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (3, 0));
}

#[test]
fn a_log_entry_that_a_rotation_cuts_apart_arrives_whole() {
    const ENTRY: &str = "2026-11-28T10:00:00.1Z stdout";
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write(&format!("{ENTRY} F {}\n{ENTRY} P {{\"n\":\n", event(1)));
    assert_arrive(&hook, [1]);
    log.rename();
    log.reopen();
    log.write(&format!("{ENTRY} F 2}}\n{ENTRY} F {}\n", event(3)));
    assert_arrive(&hook, 1..=3);
    // Beginning and end are found at once, and an end under the name that logrotate's dateext gives.
    agent.signal(libc::SIGSTOP);
    log.write(&format!("{ENTRY} P {{\"n\"\n"));
    let dated = log.dir.path().join("audit.log-20261128");
    fs::rename(log.path(), dated).unwrap();
    log.reopen();
    log.write(&format!("{ENTRY} P :\n{ENTRY} F 4}}\n"));
    agent.signal(libc::SIGCONT);
    assert_arrive(&hook, 1..=4);
    end_without_loss(agent, &hook);
}

#[test]
fn a_file_that_was_copied_and_truncated_is_read_again_from_its_beginning() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);

    for round in 0..3 {
        let first = round * 3 + 1;
        log.write_events(first..first + 2);
        assert_arrive(&hook, 1..first + 2);
        log.file.set_len(0).unwrap();
        log.write_events([first + 2]);
        assert_arrive(&hook, 1..=first + 2);
    }
    agent.wait_for_nth_log(3, "was truncated; reading it from its beginning");

    // Half an event, of which the other half is cut off.
    log.write("{\"n\":");
    wait_until_read(&agent, &log);
    log.file.set_len(0).unwrap();
    log.write_events([10]);
    assert_arrive(&hook, 1..=10);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (11, 1));
}

#[test]
fn a_file_that_was_removed_is_read_when_it_is_made_anew() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write_events([1]);
    assert_arrive(&hook, [1]);

    fs::remove_file(log.path()).unwrap();
    // The server that has it open may write on.
    log.write_events([2]);
    assert_arrive(&hook, 1..=2);
    log.reopen();
    log.write_events([3]);

    assert_arrive(&hook, 1..=3);
    end_without_loss(agent, &hook);
}

/// What can be promised of rotation: a file is read to its end if it was the log when the agent looked. So the server in
/// this test writes without a pause and rotates as soon as the webhook has an event of the file at hand.
#[test]
fn the_target_of_a_link_is_read_to_its_end_when_the_link_moves() {
    let hook = Webhook::start();
    let dir = tempfile::tempdir().unwrap();
    let (link, data) = (dir.path().join("audit.log"), dir.path().join("data"));
    fs::create_dir(&data).unwrap();
    let target = |number: u32| data.join(number.to_string());
    let mut old = append_to(&target(0), 0o644);
    symlink(target(0), &link).unwrap();
    let agent = start(&hook, &[&format!("file:{}", link.display())], &[]);
    writeln!(old, "{}", event(1)).unwrap();
    assert_arrive(&hook, [1]);
    for (number, first) in [(1, 2), (2, 4)] {
        let mut new = append_to(&target(number), 0o644);
        // The new link may get the inode number of the one that was removed.
        fs::remove_file(&link).unwrap();
        symlink(target(number), &link).unwrap();
        writeln!(new, "{}", event(first)).unwrap();
        assert_all_arrive(&hook, first);
        // The server goes on in the old one for a while.
        writeln!(old, "{}", event(first + 1)).unwrap();
        assert_all_arrive(&hook, first + 1);
        old = new;
    }
    end_without_loss(agent, &hook);
}

#[test]
fn no_event_is_lost_or_doubled_over_many_rotations() {
    const ROTATIONS: usize = 40;
    let hook = Webhook::start();
    let newest = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&newest);
    hook.answer_by(move |request| {
        let last = request.events().pop().unwrap();
        let number = String::from_utf8(last).unwrap();
        let number = number.trim_matches(|c: char| !c.is_ascii_digit()).parse();
        seen.fetch_max(number.unwrap(), Ordering::SeqCst);
        Answer::ok()
    });
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);

    let mut numbers = 1..;
    for _ in 0..ROTATIONS {
        let first = numbers.start;
        eventually("an event of this file arrives", || {
            log.write_events(numbers.by_ref().take(5));
            (newest.load(Ordering::SeqCst) >= first).then_some(())
        });
        log.rename();
        log.write_events(numbers.by_ref().take(100));
        log.reopen();
        log.write_events(numbers.by_ref().take(100));
    }

    assert_arrive(&hook, 1..numbers.start);
    agent.wait_for_nth_log(ROTATIONS, "was replaced");
    end_without_loss(agent, &hook);
}

#[test]
fn a_file_waits_while_the_webhook_is_away_and_loses_nothing() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=20_000);
    let size = log.path().metadata().unwrap().len();

    let agent = start(&hook, &[&log.source()], &["--buffer-events", "100"]);
    agent.wait_for_nth_log(2, "delivery failing for");
    assert!(offset(&agent, &log.path()).unwrap() < size);
    // The server does not notice.
    log.write_events(20_001..=20_100);

    hook.restart();
    assert_all_arrive(&hook, 20_100);
    end_without_loss(agent, &hook);
}

#[test]
fn a_file_can_be_told_to_drop_instead() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=1000);

    let options = ["--buffer-events", "10", "--when-full", "drop"];
    let agent = start(&hook, &[&log.source()], &options);
    agent.wait_for_log("(buffer full); 990 since start");

    hook.restart();
    assert_arrive(&hook, 1..=10);
    let balance = end(agent, &hook);
    assert_eq!(
        (balance.received, balance.by_reason["buffer full"]),
        (1000, 990)
    );
}

/// The next start reads it when it is whole.
#[test]
fn an_event_that_is_only_half_written_at_the_end_does_not_count_yet() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write_events([1]);
    log.write("{\"n\":");
    wait_until_read(&agent, &log);
    assert_arrive(&hook, [1]);

    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (1, 0));
}

#[test]
fn a_file_that_waits_does_not_hold_up_the_end() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=1000);
    let options = ["--buffer-events", "10", "--shutdown-timeout", "100ms"];
    let agent = start(&hook, &[&log.source()], &options);
    agent.wait_for_log("delivery failing for");

    agent.signal(libc::SIGTERM);
    let balance = agent.wait().balance();
    balance.holds();
    assert!(balance.received >= 10, "{balance:?}");
    assert_eq!(balance.received, balance.left);
}

#[test]
fn what_takes_the_place_of_a_file_and_is_none_is_logged_and_the_next_file_found() {
    let hook = Webhook::start();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &[]);
    log.write_events([1]);
    assert_arrive(&hook, [1]);

    log.rename();
    fs::create_dir(log.path()).unwrap();
    agent.wait_for_log(": unavailable: it is no regular file");
    // The renamed file is still the one that the server writes.
    log.write_events([2]);
    assert_arrive(&hook, 1..=2);

    fs::remove_dir(log.path()).unwrap();
    log.reopen();
    log.write_events([3]);
    assert_arrive(&hook, 1..=3);
    agent.wait_for_log("available again after");
    end_without_loss(agent, &hook);
}

#[test]
fn a_new_file_that_may_not_be_read_is_logged_and_read_as_soon_as_it_may() {
    let hook = Webhook::start();
    let mut log = Log::new();
    fs::set_permissions(log.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let Some(agent) = Agent::command()
        .args(["run", "--no-proxy", "--endpoint", &hook.url()])
        .args(SOON)
        .source(&log.source())
        .spawn_as_nobody()
    else {
        return;
    };
    log.write_events([1]);
    assert_arrive(&hook, [1]);

    // What logrotate does with `create 0600 root root`.
    log.rename();
    log.file = append_to(&log.path(), 0);
    log.write_events([2]);
    agent.wait_for_log(": unavailable: Permission denied");
    agent.wait_for_log("still unavailable after");
    fs::set_permissions(log.path(), Permissions::from_mode(0o644)).unwrap();

    assert_arrive(&hook, 1..=2);
    agent.wait_for_log("available again after");
    let log = agent.log();
    assert_eq!(log.matches(": unavailable: ").count(), 1, "{log}");
    assert_eq!(log.matches("was replaced").count(), 1, "{log}");
}

#[test]
fn two_files_are_followed_at_once_each_in_its_order() {
    let hook = Webhook::start();
    let (mut one, mut other) = (Log::new(), Log::new());
    let agent = start(&hook, &[&one.source(), &other.source()], &[]);

    for number in 0..100 {
        one.write_events([number]);
        other.write_events([1000 + number]);
        if number == 50 {
            hook.wait_for_events(50);
            one.rename();
            one.reopen();
        }
    }

    hook.wait_for_events(200);
    let expected: Vec<_> = (0..100).map(event).collect();
    let other_expected: Vec<_> = (1000..1100).map(event).collect();
    let (events, other_events): (Vec<_>, Vec<_>) = arrived(&hook)
        .into_iter()
        .partition(|event| expected.contains(event));
    assert_eq!(events, expected);
    assert_eq!(other_events, other_expected);
    end_without_loss(agent, &hook);
}

/// A file of a thousand events and a socket share a buffer, and the webhook is away.
fn beside_a_file(hook: &Webhook, options: &[&str]) -> (Agent, UnixStream, Log) {
    hook.stop();
    let mut log = Log::new();
    log.write_events(1..=1000);
    let socket = log.dir.path().join("audit.sock");
    let listen = format!("unix-listen:{}", socket.display());
    let agent = start(hook, &[&log.source(), &listen], options);
    agent.wait_for_log("delivery failed");
    let writer = UnixStream::connect(&socket).unwrap();
    writer
        .set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    (agent, writer, log)
}

const FROM_THE_SOCKET: &str = "{\"from\":\"the socket\"}\n";

/// The file could wait, so it leaves room for the socket's events.
#[test]
fn a_file_that_waits_leaves_room_for_a_socket() {
    let hook = Webhook::start();
    let options = ["--buffer-events", "500", "--batch-events", "10"];
    let (agent, mut writer, _log) = beside_a_file(&hook, &options);
    writer
        .write_all(FROM_THE_SOCKET.repeat(400).as_bytes())
        .unwrap();
    drop(writer);

    hook.restart();
    hook.wait_for_events(1400);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (1400, 0));
}

/// The file has filled the buffer, the socket's events are dropped, and its writer never waits.
#[test]
fn a_file_that_waits_does_not_make_a_socket_wait() {
    let hook = Webhook::start();
    let (agent, mut writer, _log) = beside_a_file(&hook, &["--buffer-events", "10"]);
    writer
        .write_all(FROM_THE_SOCKET.repeat(10_000).as_bytes())
        .unwrap();
    drop(writer);
    agent.wait_for_log("(buffer full); 10000 since start");

    hook.restart();
    assert_all_arrive(&hook, 1000);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (11_000, 10_000));
}

/// Waits until the agent has the file that is at this path now.
fn wait_until_open(agent: &Agent, path: &Path) {
    let descriptors = format!("/proc/{}/fd", agent.id());
    eventually("the agent opens the file", || {
        fs::read_dir(&descriptors)
            .unwrap()
            .flatten()
            .any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|open| open == path))
            .then_some(())
    });
}

#[test]
fn a_file_that_is_rotated_twice_while_the_webhook_is_away_is_read_whole() {
    let hook = Webhook::start();
    hook.stop();
    let mut log = Log::new();
    let agent = start(&hook, &[&log.source()], &["--buffer-events", "10"]);
    let mut numbers = 1..;
    for _ in 1..=3 {
        log.write_events(numbers.by_ref().take(100));
        wait_until_open(&agent, &log.path());
        log.rename();
        log.reopen();
    }
    log.write_events(numbers.by_ref().take(100));

    hook.restart();
    assert_all_arrive(&hook, numbers.start - 1);
    end_without_loss(agent, &hook);
}
