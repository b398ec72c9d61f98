//! A `file:` source goes on where the last start has come to, however that ended and whatever has happened to its files
//! since: every event reaches the webhook, and comes twice only if it was in flight. Events are numbered, so
//! that what is lost or comes again shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::source_http::free_address;
use crate::status::get;
use crate::support::{
    Agent, AgentCommand, Answer, BINARY, Balance, Files, append, eventually, number, unchanged_for,
};

/// Of an event as a line.
const LINE: u64 = 50;

impl Files {
    /// Appends events to a log.
    fn write(&self, name: &str, numbers: impl IntoIterator<Item = u64>) {
        self.append(name, &lines(numbers));
    }

    /// Asserts that exactly these events have arrived over all, in this order.
    #[track_caller]
    fn assert_arrive(&self, numbers: impl IntoIterator<Item = u64>) {
        let expected: Vec<_> = numbers.into_iter().collect();
        self.hook.wait_for_events(expected.len());
        assert_eq!(self.arrived(), expected);
    }

    /// The same in any order: what was written to two files at the same moment has none.
    #[track_caller]
    fn assert_arrive_once(&self, last: u64) {
        self.hook.wait_for_events(usize::try_from(last).unwrap());
        let mut arrived = self.arrived();
        arrived.sort_unstable();
        assert!(arrived.iter().copied().eq(1..=last), "{arrived:?}");
    }

    /// Asserts that each event up to `last` arrives, some maybe more than once, and no others.
    #[track_caller]
    fn assert_all_arrive(&self, last: u64) {
        self.hook.wait_for_events(usize::try_from(last).unwrap());
        eventually("every event arrives", || {
            let arrived: BTreeSet<_> = self.arrived().into_iter().collect();
            (arrived.len() as u64 >= last).then_some(())
        });
        let arrived: BTreeSet<_> = self.arrived().into_iter().collect();
        assert!(arrived.into_iter().eq(1..=last));
    }

    /// The one checkpoint.
    fn checkpoint(&self) -> PathBuf {
        let mut checkpoints = self.checkpoints();
        assert_eq!(checkpoints.len(), 1, "{checkpoints:?}");
        checkpoints.remove(0)
    }

    fn checkpoints(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let is_one = |path: &PathBuf| path.extension().is_some_and(|end| end == "checkpoint");
        paths.filter(is_one).collect()
    }

    /// What the checkpoint says of its files, by their names.
    fn offsets(&self) -> Vec<(String, u64)> {
        if self.checkpoints().is_empty() {
            return Vec::new();
        }
        let text = fs::read_to_string(self.checkpoint()).unwrap();
        let mut newest = BTreeMap::new();
        for line in text.split_inclusive('\n').skip(1) {
            let record = line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(' '));
            let Some((_, record)) = record else { continue };
            let record: serde_json::Value = serde_json::from_str(record).unwrap();
            newest.insert(record["id"].as_u64().unwrap(), record);
        }
        let there = newest
            .into_values()
            .filter(|file| file["dropped"] != true && file["gone"] != true);
        let mut files: Vec<_> = there
            .map(|file| {
                let path = Path::new(file["path"].as_str().unwrap());
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, file["offset"].as_u64().unwrap())
            })
            .collect();
        files.sort();
        files
    }
}

/// So that the first KiB tells files apart, as time stamps do.
fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers
        .into_iter()
        .map(|number| format!("{:<49}\n", format!(r#"{{"api":"PutObject","n":{number}}}"#)))
        .collect()
}

/// Makes a file look as if it had been written so many seconds ago.
fn age(path: &Path, seconds: u64) {
    let then = SystemTime::now() - Duration::from_secs(seconds);
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(then).unwrap();
}

#[track_caller]
fn end(agent: Agent) -> Balance {
    agent.signal(libc::SIGTERM);
    agent.wait().done()
}

fn kill(agent: Agent) {
    agent.signal(libc::SIGKILL);
    agent.wait();
}

#[test]
fn a_restart_repeats_nothing_and_loses_nothing() {
    let story = Files::new();
    story.write("audit.log", 1..=100);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=100);
    story.write("audit.log", 101..=150);
    story.assert_arrive(1..=150);
    end(agent);
    assert_eq!(story.offsets(), [("audit.log".into(), 150 * LINE)]);

    story.write("audit.log", 151..=200);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=200);
    let balance = end(agent);
    assert_eq!((balance.received, balance.delivered), (50, 50));

    // Nothing happens in between, and again.
    for _ in 0..2 {
        let agent = story.start("audit.log");
        agent.wait_for_log("started");
        assert_eq!(end(agent).received, 0);
    }
    story.write("audit.log", [201]);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=201);
    end(agent);
}

#[test]
fn an_event_that_was_half_written_at_the_end_comes_whole_after_the_next_start() {
    let story = Files::new();
    let (half, rest) = (r#"{"api":"PutObject","#, "\"n\":3}\n");
    append(&story.path("audit.log"), &(lines(1..=2) + half));
    let agent = story.start("audit.log");
    story.assert_arrive(1..=2);
    assert_eq!(end(agent).received, 2);
    assert_eq!(story.offsets(), [("audit.log".into(), 2 * LINE)]);

    append(&story.path("audit.log"), rest);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=3);
    assert_eq!(end(agent).dropped, 0);
}

#[test]
fn what_can_never_be_delivered_is_done_with_and_not_counted_again() {
    let story = Files::new();
    let long = format!("{{\"n\":\"{}\"}}\n", "x".repeat(300));
    append(
        &story.path("audit.log"),
        &(lines([1]) + "no event\n" + &long + &lines([2])),
    );
    let start = || {
        story
            .command("audit.log", &["--max-event-bytes", "200"])
            .spawn()
    };
    let agent = start();
    story.assert_arrive(1..=2);
    let balance = end(agent);
    assert_eq!(balance.by_reason["malformed"], 1);
    assert_eq!(balance.by_reason["too large"], 1);

    story.write("audit.log", [3]);
    let agent = start();
    story.assert_arrive(1..=3);
    assert_eq!(end(agent).received, 1);
}

/// At whatever moment it is killed: what the checkpoint has passed was delivered, and what it has not comes again.
#[test]
fn after_a_kill_every_event_comes_and_only_those_again_that_were_in_flight() {
    const KILLS: u64 = 12;
    let story = Files::new();
    // Slower than the server, so that there is always something in flight.
    story
        .hook
        .always(Answer::ok().after(Duration::from_millis(20)));
    let (writer, written) = write_without_pause(&story, |_| ());

    let mut passed_before = 0;
    for round in 1..=KILLS {
        // What the one before has sent may still be on its way.
        let before = story.hook.connections();
        let agent = story
            .command("audit.log", &["--buffer-events=500", "--batch-events=50"])
            .spawn();
        let first = eventually("the new agent delivers", || {
            let mut requests = story.hook.requests().into_iter();
            let request =
                requests.find(|request| request.connection > before && request.delivered())?;
            Some(number(&request.events()[0]))
        });
        assert_eq!(first, passed_before + 1, "after kill {round}");
        // Some before its first checkpoint, others after one or two.
        thread::sleep(Duration::from_millis(197 * (round % 7)));
        kill(agent);
        // A read may have ended in the blanks behind an event.
        let offsets = story.offsets();
        let passed = offsets.first().map_or(0, |file| file.1.div_ceil(LINE));
        assert!(passed >= passed_before);
        let arrived: BTreeSet<_> = story.arrived().into_iter().collect();
        assert!((1..=passed).all(|number| arrived.contains(&number)));
        passed_before = passed;
    }
    assert!(passed_before > 0);
    let last = written.stop(writer);
    story.hook.always(Answer::ok());
    let agent = story.start("audit.log");
    story.assert_all_arrive(last);
    let total = story.arrived().len();
    end(agent);

    let agent = story.start("audit.log");
    agent.wait_for_log("started");
    assert_eq!(end(agent).received, 0);
    assert_eq!(story.arrived().len(), total);
}

/// A server that writes some thousand events a second and rotates by `rotate` now and then.
fn write_without_pause(
    story: &Files,
    rotate: impl Fn(&Path) + Send + 'static,
) -> (thread::JoinHandle<u64>, Written) {
    let path = story.path("audit.log");
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let writer = thread::spawn(move || {
        let mut last = 0;
        while !seen.load(Ordering::SeqCst) {
            append(&path, &lines(last + 1..=last + 10));
            last += 10;
            if last % 2000 == 0 {
                rotate(&path);
            }
            // The server's pace.
            thread::sleep(Duration::from_millis(3));
        }
        last
    });
    (writer, Written(is_over))
}

struct Written(Arc<AtomicBool>);

impl Written {
    /// Stops the server, and gives the last event's number.
    fn stop(&self, writer: thread::JoinHandle<u64>) -> u64 {
        self.0.store(true, Ordering::SeqCst);
        writer.join().unwrap()
    }
}

/// What logrotate does: `.2` to `.3`, `.1` to `.2`; then the log itself by renaming it.
fn rotate_by_renaming(path: &Path) {
    shift(path);
    fs::rename(path, numbered(path, 1)).unwrap();
}

/// The same, by copying and truncating the log.
fn rotate_by_copying(path: &Path) {
    shift(path);
    fs::copy(path, numbered(path, 1)).unwrap();
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(0)
        .unwrap();
}

fn shift(path: &Path) {
    for number in (1..100).rev() {
        let _ = fs::rename(numbered(path, number), numbered(path, number + 1));
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

fn kill_again_and_again(rotate: impl Fn(&Path) + Send + 'static) {
    let story = Files::new();
    let (writer, written) = write_without_pause(&story, rotate);
    for round in 0..8 {
        let already = story.arrived().len();
        let agent = story
            .command("audit.log*", &["--buffer-events=500"])
            .spawn();
        story.hook.wait_for_events(already + 1);
        // Before, in and after a rotation.
        thread::sleep(Duration::from_millis(301 * (round % 5)));
        kill(agent);
        // It is away for a while.
        thread::sleep(Duration::from_millis(50 * round));
    }
    let last = written.stop(writer);
    assert!(last > 4000, "{last} events, too few for rotations");
    let agent = story.start("audit.log*");
    story.assert_all_arrive(last);
    end(agent);
}

#[test]
fn kills_amid_rotation_by_renaming_lose_nothing() {
    kill_again_and_again(rotate_by_renaming);
}

#[test]
fn kills_amid_rotation_by_copying_lose_nothing() {
    kill_again_and_again(rotate_by_copying);
}

#[test]
fn nothing_is_lost_or_repeated_over_restarts_while_the_webhook_is_away() {
    let story = Files::new();
    story.hook.stop();
    let options = ["--buffer-events=100", "--shutdown-timeout=50ms"];
    for round in 0..4 {
        story.write("audit.log", round * 500 + 1..=round * 500 + 500);
        let agent = story.command("audit.log", &options).spawn();
        agent.wait_for_nth_log(2, "delivery failing for");
        if round % 2 == 0 {
            agent.signal(libc::SIGTERM);
            let balance = agent.wait().balance();
            balance.holds();
            assert_eq!(balance.left, balance.received);
        } else {
            kill(agent);
        }
    }
    story.hook.restart();
    let agent = story.start("audit.log");
    story.assert_arrive_once(2000);
    assert_eq!(end(agent).received, 2000);
}

#[test]
fn what_was_read_but_not_delivered_is_not_passed() {
    let story = Files::new();
    story.write("audit.log", [1]);
    let agent = story.start("audit.log");
    eventually("the first one has ended", || {
        (story.offsets() == [("audit.log".into(), LINE)]).then_some(())
    });
    story.hook.stop();
    for number in 2..=20 {
        story.write("audit.log", [number]);
        // Each in a read of its own, and with time for a checkpoint.
        thread::sleep(Duration::from_millis(100));
    }
    agent.wait_for_log("19 events buffered");
    assert_eq!(story.offsets(), [("audit.log".into(), LINE)]);
    kill(agent);

    story.hook.restart();
    let agent = story.start("audit.log");
    story.assert_arrive(1..=20);
    end(agent);
}

#[test]
fn what_a_shutdown_left_is_no_loss_and_is_delivered_by_the_next_start() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    let agent = story
        .command("audit.log", &["--shutdown-timeout=50ms"])
        .spawn();
    story.assert_arrive(1..=10);
    // The answer has come too.
    eventually("the first ones have ended", || {
        (story.offsets() == [("audit.log".into(), 10 * LINE)]).then_some(())
    });
    story.hook.stop();
    story.write("audit.log", 11..=30);
    agent.wait_for_log("delivery failed");
    agent.signal(libc::SIGTERM);
    let balance = agent.wait().balance();
    balance.holds();
    assert_eq!(
        (balance.delivered, balance.dropped, balance.left),
        (10, 0, 20)
    );

    story.hook.restart();
    let agent = story.start("audit.log");
    story.assert_arrive(1..=30);
    end(agent);
}

/// The file keeps its events, so they are not read before somebody wants them.
#[test]
fn what_is_written_while_disabled_is_delivered_when_enabled() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    let agent = story.command("audit.log", &["--enabled=false"]).spawn();
    agent.wait_for_log("started");
    eventually("the file is known", || {
        (story.offsets() == [("audit.log".into(), 0)]).then_some(())
    });
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 11..=20);
    assert_eq!(end(agent).received, 0);

    story.write("audit.log", 21..=30);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=30);
    end(agent);
}

#[test]
fn a_log_that_was_renamed_meanwhile_is_read_to_its_end_before_the_new_one() {
    let story = Files::new();
    story.write("audit.log", 1..=100);
    end_when_arrived(&story, "audit.log", 100);

    story.write("audit.log", 101..=120);
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 121..=130);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=130);
    story.write("audit.log", 131..=140);
    story.assert_arrive(1..=140);
    end(agent);
    let offsets = [
        ("audit.log".into(), 20 * LINE),
        ("audit.log.1".into(), 120 * LINE),
    ];
    assert_eq!(story.offsets(), offsets);
}

/// Starts an agent, and ends it when so many events have arrived.
#[track_caller]
fn end_when_arrived(story: &Files, name: &str, last: u64) {
    let agent = story.start(name);
    agent.wait_for_log("started");
    story.assert_arrive(1..=last);
    end(agent);
}

#[test]
fn a_log_that_was_copied_and_truncated_meanwhile_is_read_on_in_the_copy_and_then_from_its_beginning()
 {
    let story = Files::new();
    story.write("audit.log", 1..=100);
    end_when_arrived(&story, "audit.log", 100);

    story.write("audit.log", 101..=120);
    rotate_by_copying(&story.path("audit.log"));
    // It has grown past where it was.
    story.write("audit.log", 121..=300);
    let agent = story.start("audit.log");
    story.assert_arrive(1..=300);
    end(agent);
}

#[test]
fn a_log_that_was_truncated_meanwhile_is_read_from_its_beginning_and_the_gap_is_told() {
    let story = Files::new();
    story.write("audit.log", 1..=100);
    end_when_arrived(&story, "audit.log", 100);

    for (first, last) in [(101, 110), (111, 300)] {
        fs::write(story.path("audit.log"), lines(first..=last)).unwrap();
        let agent = story.start("audit.log");
        story.assert_arrive(1..=last);
        agent.wait_for_log("audit.log is gone");
        end(agent);
    }
}

#[test]
fn several_rotations_meanwhile_are_caught_up_oldest_first() {
    let story = Files::new();
    let log = story.path("audit.log");
    story.write("audit.log", 1..=10);
    end_when_arrived(&story, "audit.log*", 10);

    story.write("audit.log", 11..=20);
    for round in 2..6 {
        let rotate = [rotate_by_renaming, rotate_by_copying][round as usize % 2];
        rotate(&log);
        age(&numbered(&log, 1), 100 - round);
        story.write("audit.log", round * 10 + 1..=round * 10 + 10);
    }
    // One was compressed in another way by somebody, who thought that it was done with.
    fs::write(story.path("audit.log.9.xz"), b"\xfd7zXZ\0{\"n\":9}").unwrap();

    let agent = story.start("audit.log*");
    story.assert_arrive(1..=60);
    agent.wait_for_log("audit.log.9.xz is compressed with xz; it is not read");
    rotate_by_renaming(&log);
    story.write("audit.log", 61..=70);
    story.assert_arrive(1..=70);
    let balance = end(agent);
    assert_eq!((balance.received, balance.dropped), (60, 0));
    end_when_arrived(&story, "audit.log*", 70);
}

#[test]
fn a_pattern_follows_files_that_come_and_go() {
    let story = Files::new();
    let agent = story.start("audit-*.log");
    agent.wait_for_log("started");

    agent.wait_for_log("no file matches yet");
    story.write("audit-a.log", 1..=10);
    story.assert_arrive(1..=10);
    story.write("audit-b.log", 11..=20);
    story.assert_arrive(1..=20);
    story.write("audit-a.log", [21]);
    story.assert_arrive(1..=21);
    // Neither of these matches.
    story.write("audit-b.log.1", [99]);
    story.write(".audit-c.log", [99]);
    fs::create_dir(story.path("audit-d.log")).unwrap();

    // Renamed to another name that matches, the file is the same.
    fs::rename(story.path("audit-b.log"), story.path("audit-c.log")).unwrap();
    story.write("audit-c.log", [22]);
    story.assert_arrive(1..=22);
    // Renamed away or removed, the file is read to its end, and the new one of that name after it.
    fs::rename(story.path("audit-c.log"), story.path("old")).unwrap();
    story.write("old", [23]);
    story.assert_arrive(1..=23);
    story.write("audit-c.log", [24]);
    story.assert_arrive(1..=24);
    fs::remove_file(story.path("audit-a.log")).unwrap();
    story.write("audit-e.log", [25]);
    story.assert_arrive(1..=25);
    let warnings: Vec<_> = agent
        .log()
        .lines()
        .filter(|line| line.contains("WARN") && !line.contains("matches yet"))
        .map(str::to_owned)
        .collect();
    assert!(warnings.is_empty(), "{warnings:?}");
    end(agent);
    end_when_arrived(&story, "audit-*.log", 25);
}

#[test]
fn a_pattern_that_matches_the_copies_of_a_truncated_log_reads_nothing_twice() {
    let story = Files::new();
    let agent = story.start("audit.log*");
    agent.wait_for_log("started");
    let mut last = 0;
    for round in 0..5 {
        story.write("audit.log", last + 1..=last + 30);
        if round % 2 == 0 {
            story.assert_arrive_once(last + 30);
        }
        rotate_by_copying(&story.path("audit.log"));
        last += 30;
    }
    story.write("audit.log", last + 1..=last + 5);
    story.assert_arrive_once(last + 5);
    end(agent);
    let agent = story.start("audit.log*");
    agent.wait_for_log("started");
    assert_eq!(end(agent).received, 0);
}

#[test]
fn a_backup_that_matches_the_pattern_is_not_read_beside_its_original() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    let agent = story.start("audit.log*");
    story.assert_arrive(1..=10);
    fs::copy(story.path("audit.log"), story.path("audit.log.bak")).unwrap();
    agent.wait_for_log("audit.log.bak begins like file:");
    story.write("audit.log", 11..=20);
    story.assert_arrive(1..=20);
    end(agent);
    end_when_arrived(&story, "audit.log*", 20);
}

#[test]
fn a_file_of_just_the_name_is_no_pattern() {
    let story = Files::new();
    story.write("audit[1].log", 1..=2);
    story.write("audit1.log", [99]);
    end_when_arrived(&story, "audit[1].log", 2);
}

#[test]
fn many_files_are_all_read() {
    let story = Files::new();
    for number in 1..=600 {
        let name = format!("{number}.log");
        story.write(&name, [number]);
        age(&story.path(&name), 1000 - number);
    }
    let agent = story.start("*.log");
    story.assert_arrive(1..=600);
    // What was just found is open for a minute, up to 256 files of a source, and 64 others.
    let open = fs::read_dir(format!("/proc/{}/fd", agent.id())).unwrap();
    assert!(open.count() < 400, "descriptors are kept");
    story.write("5.log", [601]);
    story.write("550.log", [602]);
    story.assert_all_arrive(602);
    // What has just changed may be removed next.
    story.write("550.log", [603]);
    fs::remove_file(story.path("550.log")).unwrap();
    story.assert_all_arrive(603);
    end(agent);
    assert_eq!(story.offsets().len(), 600);
    let agent = story.start("*.log");
    agent.wait_for_log("started");
    assert_eq!(end(agent).received, 0);
}

#[test]
fn a_directory_that_is_empty_at_the_start_is_waited_for() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    story.write("audit.log.1", 11..=20);
    for name in ["audit.log*", "audit.log"] {
        let before = story.arrived().len();
        let agent = story.start(name);
        agent.wait_for_log("started");
        story
            .hook
            .wait_for_events(if name.ends_with('*') { 20 } else { before });
        end(agent);
        let arrived = story.arrived().len();

        // Its filesystem is mounted later.
        let elsewhere = tempfile::tempdir().unwrap();
        let files = ["audit.log", "audit.log.1"]
            .map(|name| (story.path(name), elsewhere.path().join(name)));
        for (file, away) in &files {
            fs::rename(file, away).unwrap();
        }
        let agent = story.start(name);
        agent.wait_for_log("none of the files read before is there");
        kill(agent);
        let agent = story.start(name);
        agent.wait_for_log("none of the files read before is there");
        for (file, away) in &files {
            fs::rename(away, file).unwrap();
        }
        story.write("audit.log", [arrived as u64 + 100]);
        story.hook.wait_for_events(arrived + 1);
        end(agent);
        assert_eq!(story.arrived().len(), arrived + 1);
    }
}

#[test]
fn a_checkpoint_that_is_none_is_logged_and_everything_read_again() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    end_when_arrived(&story, "audit.log", 10);
    let good = fs::read_to_string(story.checkpoint()).unwrap();

    let mut expected: Vec<_> = (1..=10).collect();
    for (bad, what) in [
        (good[..20].to_owned(), "no whole JSON"),
        ("\0\0\0\0".to_owned(), "no whole JSON"),
        (
            good.lines()
                .next()
                .unwrap()
                .replace("\"checkpoint\":2", "\"checkpoint\":7"),
            "of version 7",
        ),
        ("{}".to_owned(), "no checkpoint"),
        (String::new(), "no whole JSON"),
    ] {
        fs::write(story.checkpoint(), bad).unwrap();
        let agent = story.command("audit.log", &[]).spawn();
        expected.extend(1..=10);
        story.assert_arrive(expected.clone());
        let line = agent.wait_for_log("is read from its beginning");
        assert!(line.contains("WARN") && line.contains(what), "{line}");
        assert_eq!(agent.log().matches("is read from its beginning").count(), 1);
        end(agent);
        assert_eq!(story.offsets(), [("audit.log".into(), 10 * LINE)]);
    }
}

#[test]
fn a_checkpoint_of_0_1_is_gone_on_from() {
    use std::os::unix::fs::MetadataExt as _;
    let story = Files::new();
    story.write("audit.log.1", 900..=910);
    age(&story.path("audit.log.1"), 1000);
    story.write("audit.log", 1..=30);
    end_when_arrived(&story, "audit.log", 30);
    let checkpoint = story.checkpoint();
    let source = format!("file:{}", story.path("audit.log").display());
    let hash = lines(1..=30)
        .bytes()
        .take(500)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
    let old = serde_json::json!({
        "program": "s3-audit-webhook", "checkpoint": 1, "source": source,
        "files": [{
            "name": "audit.log", "inode": fs::metadata(story.path("audit.log")).unwrap().ino(),
            "offset": 500, "length": 500, "head_bytes": 500, "head_hash": format!("{hash:016x}"),
        }],
    });
    fs::write(checkpoint, old.to_string()).unwrap();
    // Rotated twice since; the first of both it has never seen.
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 31..=40);
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 41..=50);
    let agent = story.start("audit.log");
    story.assert_arrive((1..=30).chain(11..=50));
    end(agent);
}

#[test]
fn a_state_directory_that_goes_away_stops_nothing_and_is_told() {
    let story = Files::new();
    let agent = story.start("audit.log");
    story.write("audit.log", [1]);
    story.assert_arrive([1]);
    let (dir, away) = (story.state.path(), story.logs.path().join("away"));
    fs::rename(dir, &away).unwrap();
    story.write("audit.log", [2]);
    story.assert_arrive(1..=2);
    agent.wait_for_log(".checkpoint: can't write the checkpoint");
    fs::rename(&away, dir).unwrap();
    agent.wait_for_log(".checkpoint: checkpoint written again");
    kill(agent);
    end_when_arrived(&story, "audit.log", 2);
}

#[test]
fn a_checkpoint_is_appended_to_and_not_touched_when_nothing_has_changed() {
    use std::os::unix::fs::MetadataExt as _;
    let story = Files::new();
    story.write("audit.log", [1]);
    let agent = story.start("audit.log");
    let (writer, written) = write_without_pause(&story, |_| ());
    story.hook.wait_for_events(2);
    let version = || {
        let found = fs::metadata(story.checkpoint()).unwrap();
        (found.ino(), found.len(), found.mtime_nsec())
    };
    eventually("something is committed", || {
        (!story.offsets().is_empty()).then_some(())
    });
    eventually("it is not rewritten while more is committed", || {
        let first = version();
        let later = eventually("more is committed", || {
            Some(version()).filter(|version| *version != first)
        });
        (later.0 == first.0 && later.1 > first.1).then_some(())
    });
    let later = version();
    assert!(later.1 < 200_000, "{later:?}");
    let last = written.stop(writer);
    story
        .hook
        .wait_for_events(usize::try_from(last).unwrap() + 1);
    eventually("all of it is committed", || {
        (story.offsets() == [("audit.log".into(), (last + 1) * LINE)]).then_some(())
    });
    // Longer than the second after which it would be written.
    let quiet = Duration::from_millis(1500);
    unchanged_for(quiet, "nothing is written without events", version);
    end(agent);
}

#[test]
fn from_the_end_means_what_is_there_at_the_very_first_start() {
    let story = Files::new();
    let start = || story.command("audit.log*", &["--file-start=end"]).spawn();
    story.write("audit.log", 900..=1000);
    let agent = start();
    eventually("it has looked", || {
        (story.checkpoints().len() == 1).then_some(())
    });
    kill(agent);

    // It was away when these came.
    story.write("audit.log", 1..=5);
    story.write("audit.log.new", 6..=10);
    let agent = start();
    story.assert_arrive(1..=10);
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 11..=15);
    story.assert_arrive(1..=15);
    end(agent);
}

#[test]
fn from_the_end_what_no_checkpoint_is_there_for_is_lost_by_a_stop_and_counted() {
    let story = Files::new();
    story.write("audit.log", [1]);
    let options = ["--file-start=end", "--shutdown-timeout=50ms"];
    let agent = story.command("audit.log", &options).spawn();
    eventually("it has looked", || {
        (story.checkpoints().len() == 1).then_some(())
    });
    story.hook.stop();
    fs::rename(story.state.path(), story.logs.path().join("away")).unwrap();
    story.write("audit.log", 2..=6);
    let line = agent.wait_for_log(".checkpoint: can't write the checkpoint");
    assert!(
        line.contains("a restart before that begins at the end"),
        "{line}"
    );
    agent.wait_for_log("delivery failed");
    agent.signal(libc::SIGTERM);
    let balance = agent.wait().balance();
    balance.holds();
    assert_eq!((balance.dropped, balance.left), (5, 0));
}

#[test]
fn the_end_is_that_of_the_start_however_late_the_state_directory_comes() {
    let story = Files::new();
    story.write("audit.log", [1]);
    fs::remove_dir(story.state.path()).unwrap();
    fs::write(story.state.path(), "in the way").unwrap();
    let status = free_address();
    let options = ["--file-start=end", &format!("--status-listen={status}")];
    let agent = story.command("audit.log*", &options).spawn();
    agent.wait_until_running();
    eventually("the source waits", || {
        let page = get(status, "/metrics").1;
        let is_down = |line: &str| line.contains("source_up{") && line.ends_with(" 0");
        page.lines().any(is_down).then_some(())
    });
    story.write("audit.log", [2]);
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", [3]);
    fs::remove_file(story.state.path()).unwrap();
    story.assert_arrive(2..=3);
    end(agent);
}

#[test]
fn from_the_end_without_a_checkpoint_means_each_start() {
    let story = Files::new();
    let options = ["--file-start=end", "--dry-run"];
    for last in [2, 4] {
        story.write("audit.log", [last - 1]);
        let agent = story.command("audit.log", &options).spawn();
        let descriptors = format!("/proc/{}/fd", agent.id());
        eventually("it has looked into the file", || {
            let open = fs::read_dir(&descriptors).unwrap().flatten();
            let path = story.path("audit.log").canonicalize().unwrap();
            open.into_iter()
                .any(|open| fs::read_link(open.path()).is_ok_and(|to| to == path))
                .then_some(())
        });
        // Where it begins is decided right after it was opened.
        thread::sleep(Duration::from_millis(50));
        story.write("audit.log", [last]);
        eventually("the new one is printed", || {
            (agent.stdout() == lines([last]).replace(' ', "")).then_some(())
        });
        end(agent);
    }
    assert!(story.checkpoints().is_empty());
}

#[test]
fn a_dry_run_neither_reads_nor_writes_a_checkpoint() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    end_when_arrived(&story, "audit.log", 10);
    let before = fs::read(story.checkpoint()).unwrap();
    story.write("audit.log", 11..=20);
    for _ in 0..2 {
        let agent = story.command("audit.log", &["--dry-run"]).spawn();
        eventually("all of it is printed", || {
            // Whole lines only are seen.
            (agent.stdout().lines().count() == 20).then_some(())
        });
        assert_eq!(end(agent).delivered, 20);
    }
    assert_eq!(fs::read(story.checkpoint()).unwrap(), before);
}

#[test]
fn a_second_agent_may_not_read_the_same_files_with_the_same_state_directory() {
    let story = Files::new();
    let agent = story.start("audit.log");
    agent.wait_for_log("started");
    let refused = story.command("audit.log", &[]).run();
    assert_eq!(refused.code, Some(1), "{}", refused.log);
    assert!(
        refused.log.contains("--state-dir: ") && refused.log.contains("another agent"),
        "{}",
        refused.log
    );
    // Others it may.
    let other = story.start("other.log");
    other.wait_for_log("started");
    end(other);
    end(agent);
    let agent = story.start("audit.log");
    agent.wait_for_log("started");
    end(agent);
}

#[test]
fn of_two_agents_whose_state_directory_comes_later_one_says_why_it_waits_and_reads_on_after_the_other()
 {
    let story = Files::new();
    story.write("audit.log", [1]);
    fs::remove_dir(story.state.path()).unwrap();
    fs::write(story.state.path(), "in the way").unwrap();
    let mut agents = [(); 2].map(|()| {
        let agent = story.start("audit.log");
        agent.wait_for_log("until then no file is read");
        agent
    });
    fs::remove_file(story.state.path()).unwrap();
    let waits = |agent: &Agent| {
        let source = format!("checkpoint of file:{}", story.path("audit.log").display());
        let log = agent.log();
        log.contains("another agent keeps its") && log.contains(&source)
    };
    eventually("one of them says why it waits", || {
        agents.iter().any(waits).then_some(())
    });
    agents.sort_by_key(|agent| waits(agent));
    story.write("audit.log", [2]);
    story.assert_arrive(1..=2);
    let [reads, waits] = agents;
    end(reads);
    story.write("audit.log", [3]);
    story.assert_arrive(1..=3);
    end(waits);
}

/// An agent of a user who has no right to the default state directory. None if it can't be started so.
fn start_as_nobody(story: &Files, options: &[&str]) -> Option<Agent> {
    fs::set_permissions(story.logs.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let source = format!("--source=file:{}", story.path("audit.log").display());
    AgentCommand::of(BINARY)
        .args(["run", "--auth-token=x", "--batch-age=5ms", &source])
        .args(["--endpoint", &story.hook.url()])
        .args(options)
        .spawn_as_nobody()
}

#[test]
fn without_a_state_directory_it_says_so_once_and_reads_from_the_beginning_each_time() {
    let story = Files::new();
    story.write("audit.log", 1..=10);
    let mut expected = Vec::new();
    for _ in 0..2 {
        let Some(mut agent) = start_as_nobody(&story, &[]) else {
            return;
        };
        expected.extend(1..=10);
        story.assert_arrive(expected.clone());
        let line = agent.wait_for_log("no checkpoint of file:");
        assert!(
            line.contains("name another directory with --state-dir"),
            "{line}"
        );
        agent.kill();
        let log = agent.wait().log;
        assert_eq!(log.matches("no checkpoint of").count(), 1, "{log}");
    }
}

#[test]
fn what_is_written_while_disabled_is_delivered_when_enabled_without_a_state_directory_too() {
    let story = Files::new();
    let config = story.path("webhook.env");
    let switch = |on: bool| fs::write(&config, format!("S3_AUDIT_WEBHOOK_ENABLED={on}\n")).unwrap();
    switch(false);
    story.write("audit.log", 1..=10);
    let config = format!("--config={}", config.display());
    let Some(agent) = start_as_nobody(&story, &[&config]) else {
        return;
    };
    agent.wait_for_log("webhook disabled by");
    eventually("the file is known", || {
        let is_log = |path: PathBuf| path.ends_with("audit.log");
        let mut open = agent.descriptors().into_iter().flat_map(fs::read_link);
        open.any(is_log).then_some(())
    });
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 11..=20);
    switch(true);
    story.assert_all_arrive(20);
    switch(false);
    agent.wait_for_nth_log(2, "webhook disabled by");
    story.write("audit.log", 21..=30);
    rotate_by_renaming(&story.path("audit.log"));
    story.write("audit.log", 31..=40);
    switch(true);
    story.assert_arrive_once(40);
}
