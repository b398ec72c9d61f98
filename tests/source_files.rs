//! `file:PATTERN` over many names: what stands among them that can't be read, looks like another file, or would take all
//! the time, costs itself only.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Agent, Answer, Files, eventually};

impl Files {
    /// Waits until these have arrived, and nothing else.
    #[track_caller]
    fn assert_only_arrive(&self, numbers: impl IntoIterator<Item = u64>) {
        let expected: BTreeSet<u64> = numbers.into_iter().collect();
        eventually("all events arrive", || {
            let arrived: BTreeSet<u64> = self.arrived().into_iter().collect();
            expected.is_subset(&arrived).then_some(())
        });
        let arrived: BTreeSet<u64> = self.arrived().into_iter().collect();
        assert_eq!(arrived, expected);
    }
}

fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers
        .into_iter()
        .map(|number| format!("{{\"n\":{number},\"pad\":\"{:060}\"}}\n", number * 7919))
        .collect()
}

#[track_caller]
fn end(agent: Agent) {
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    ended.balance().holds();
}

#[test]
fn a_stub_does_not_blind_the_others() {
    let place = Files::new();
    place.append("aaa.log", "{");
    place.append("half.log", &lines([1])[..33]);
    let agent = place.start("*.log");
    eventually("the stub is open", || agent.offset(&place.path("half.log")));
    place.append("audit.log", &lines(1..=40));
    place.assert_only_arrive(1..=40);
    end(agent);
}

#[test]
fn files_with_the_same_first_event_are_all_read() {
    let place = Files::new();
    for (name, first) in [("a", 1), ("b", 101), ("c", 201)] {
        place.append(
            &format!("{name}.log"),
            &(lines([9999]) + &lines(first..first + 50)),
        );
    }
    let agent = place.start("*.log");
    place.assert_only_arrive((1..=50).chain(101..=150).chain(201..=250).chain([9999]));
    place.append("d.log", &(lines([9999]) + &lines(301..=350)));
    let expected = (1..=50).chain(101..=150).chain(201..=250).chain(301..=350);
    place.assert_only_arrive(expected.chain([9999]));
    end(agent);
}

#[test]
fn a_file_that_was_rewritten_longer_with_the_same_beginning_is_read_again() {
    let place = Files::new();
    let banner = lines(500..=520);
    place.append("audit.log", &(banner.clone() + &lines(1..=10)));
    let agent = place.start("audit.log");
    place.assert_only_arrive((1..=10).chain(500..=520));
    File::create(place.path("audit.log"))
        .unwrap()
        .write_all((banner + &lines(11..=40)).as_bytes())
        .unwrap();
    place.assert_only_arrive((1..=40).chain(500..=520));
    end(agent);
}

#[test]
fn a_changed_spelling_keeps_the_offsets() {
    let place = Files::new();
    place.append("audit.log", &lines(1..=20));
    for (pattern, last) in [
        ("audit.log", 20),
        ("audit.log*", 30),
        ("*.log", 40),
        ("audit.log", 50),
    ] {
        place.append("audit.log", &lines(last - 9..=last));
        if last == 20 {
            fs::write(place.path("audit.log"), lines(1..=20)).unwrap();
        }
        let agent = place.start(pattern);
        place.assert_only_arrive(1..=last);
        end(agent);
    }
    assert_eq!(place.arrived().len(), 50, "nothing twice");
}

#[test]
fn bad_names_cost_themselves_only_and_are_logged_once() {
    let place = Files::new();
    place.append("a.log", &lines([1]));
    symlink("loop.log", place.path("loop.log")).unwrap();
    symlink("nowhere", place.path("dangling.log")).unwrap();
    symlink("a.log/x", place.path("notdir.log")).unwrap();
    fs::create_dir(place.path("dir.log")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(place.path("fifo.log"))
        .status()
        .unwrap();
    assert!(fifo.success());
    symlink("/dev/zero", place.path("device.log")).unwrap();
    let agent = place.start("*.log");
    place.assert_only_arrive([1]);
    place.append("b.log", &lines([2]));
    place.assert_only_arrive(1..=2);
    let bad = ["loop", "dangling", "notdir", "dir", "fifo", "device"];
    for name in bad {
        agent.wait_for_log(&format!("{name}.log"));
    }
    // It becomes a file.
    fs::remove_file(place.path("loop.log")).unwrap();
    place.append("loop.log", &lines([3]));
    place.assert_only_arrive(1..=3);
    agent.wait_for_log("loop.log can be read again");
    let log = agent.log();
    let counts = bad.map(|name| log.matches(&format!("/{name}.log")).count());
    assert_eq!(counts, [2, 1, 1, 1, 1, 1], "{log}");
    end(agent);
}

#[test]
fn wildcards_stand_in_any_part_and_names_can_be_excluded() {
    let place = Files::new();
    place.append("pods/a/rgw/0.log", &lines([1]));
    place.append("pods/a/rgw/debug.log", &lines([98]));
    place.append("pods/a/web/0.log", &lines([99]));
    let agent = place
        .command("pods/**/rgw/*.log", &["--exclude-files", "none, debug*"])
        .spawn();
    place.assert_only_arrive([1]);
    // Another pod, later.
    place.append("pods/b/x/rgw/0.log", &lines([2]));
    place.assert_only_arrive(1..=2);
    fs::remove_dir_all(place.path("pods/a")).unwrap();
    place.append("pods/c/rgw/0.log", &lines([3]));
    place.assert_only_arrive(1..=3);
    end(agent);
}

#[test]
fn names_can_forge_no_lines() {
    let place = Files::new();
    let name = std::ffi::OsStr::from_bytes(b"a\n<6>2026 ERROR forged\x1b[31m.log");
    symlink("nowhere", place.logs.path().join(name)).unwrap();
    let agent = place.start("*.log");
    let line = agent.wait_for_log("forged");
    assert!(
        line.contains("WARN") && line.contains("a\\n<6>2026 ERROR forged\\u{1b}[31m.log"),
        "{line}"
    );
    end(agent);
}

#[test]
fn an_endless_file_starves_no_other_and_a_hole_is_passed_at_once() {
    let place = Files::new();
    File::create(place.path("bad.log"))
        .unwrap()
        .set_len(1 << 42)
        .unwrap();
    place.append("good.log", &lines(1..=10));
    let agent = place.start("*.log");
    place.assert_only_arrive(1..=10);
    // A writer that does not append goes on behind the hole that a truncation left.
    let file = File::create(place.path("hole.log")).unwrap();
    file.write_all_at(lines(11..=20).as_bytes(), 3 << 30)
        .unwrap();
    place.assert_only_arrive(1..=20);
    place.append("good.log", &lines(21..=30));
    place.assert_only_arrive(1..=30);
    end(agent);
}

#[test]
fn a_compressed_file_is_read_on_from_where_it_was_read_to() {
    let place = Files::new();
    place.append("audit.log", &lines(1..=20));
    let agent = place.start("audit.log");
    place.assert_only_arrive(1..=20);
    end(agent);
    place.append("audit.log", &lines(21..=40));
    fs::rename(place.path("audit.log"), place.path("audit.log.1")).unwrap();
    gzip(&place.path("audit.log.1"));
    // One that was never seen.
    place.append("audit.log-20260101", &lines(41..=60));
    gzip(&place.path("audit.log-20260101"));
    place.append("audit.log", &lines(61..=70));
    let agent = place.start("audit.log");
    place.assert_only_arrive(1..=70);
    assert_eq!(place.arrived().len(), 70);
    let log = agent.log();
    assert!(!log.contains("is gone"), "{log}");
    end(agent);
}

fn gzip(path: &Path) {
    let status = Command::new("gzip").arg(path).status().unwrap();
    assert!(status.success());
}

#[test]
fn removed_files_are_read_from_their_descriptors_and_kept_within_the_limit() {
    let place = Files::new();
    place.hook.always(Answer::status(503));
    place.append("audit.log", &lines(1..=2));
    let options = ["--buffer-events=10", "--max-deleted-bytes=1MiB"];
    let agent = place.command("audit.log*", &options).spawn();
    let mut last = 0;
    // As logrotate does with `rotate 1`.
    for _ in 0..12 {
        place.append("audit.log", &long_lines(last + 1..=last + 50));
        last += 50;
        wait_until_open(&agent, &place.path("audit.log"));
        fs::rename(place.path("audit.log"), place.path("audit.log.1")).unwrap();
        place.append("audit.log", "");
        wait_until_open(&agent, &place.path("audit.log"));
    }
    agent.wait_for_log("removed files take more than --max-deleted-bytes (1 MiB)");
    let log = agent.log();
    let warned = log.find("removed files that were not read yet take");
    assert!(warned < log.find("was removed before it was read"), "{log}");
    assert!(warned.is_some(), "{log}");
    place.hook.always(Answer::ok());
    eventually("the newest arrive", || {
        place.arrived().contains(&last).then_some(())
    });
    let arrived: BTreeSet<u64> = place.arrived().into_iter().collect();
    assert!(
        arrived.len() > 200 && arrived.len() < 600,
        "{}: {}",
        arrived.len(),
        agent.log()
    );
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let missing = (1..=last).filter(|number| !arrived.contains(number));
    let lost: usize = missing.map(|number| long_lines([number]).len()).sum();
    // An event that was read in part is counted as malformed.
    let cut = lost - lost_bytes(&ended.log);
    let halves = usize::try_from(ended.done().dropped).unwrap();
    assert!(
        cut <= halves * long_lines([1]).len(),
        "{cut}: {}",
        ended.log
    );
}

/// The sum of what the log says.
fn lost_bytes(log: &str) -> usize {
    let lines = log
        .lines()
        .filter_map(|line| line.split_once(" bytes lost: "));
    let bytes =
        lines.map(|(before, _)| before.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
    bytes.sum()
}

#[test]
fn what_is_lost_is_reported_by_one_start_only() {
    let place = Files::new();
    place.hook.always(Answer::status(503));
    place.append("audit.log", &lines(1..=50));
    let start = || {
        place
            .command("audit.log", &["--shutdown-timeout=10ms"])
            .spawn()
    };
    let agent = start();
    agent.wait_for_log("delivery failed");
    end(agent);
    fs::remove_file(place.path("audit.log")).unwrap();
    place.append("audit.log", &lines(51..=52));
    let agent = start();
    agent.wait_for_log("audit.log is gone");
    assert_eq!(lost_bytes(&agent.log()), lines(1..=50).len());
    agent.wait_for_log("delivery failed");
    end(agent);
    let agent = start();
    agent.wait_for_log("delivery failed");
    place.hook.always(Answer::ok());
    place.assert_only_arrive(51..=52);
    assert!(!agent.log().contains(" is gone"), "{}", agent.log());
    end(agent);
}

#[test]
fn malformed_events_are_logged_with_their_place() {
    let place = Files::new();
    let head = lines(1..=50);
    place.append(
        "audit.log",
        &(head.clone() + "{broken\n" + &lines([51]) + "no event\n"),
    );
    let agent = place.start("audit.log");
    place.assert_only_arrive(1..=51);
    let line = agent.wait_for_log("malformed or too large");
    let at = format!("audit.log at byte {}", head.len());
    assert!(line.contains("WARN") && line.ends_with(&at), "{line}");
    end(agent);
}

#[test]
fn a_copy_is_counted() {
    let place = Files::new();
    place.append("audit.log", &lines(1..=20));
    let agent = place.start("audit.log*");
    place.assert_only_arrive(1..=20);
    fs::copy(place.path("audit.log"), place.path("audit.log.bak")).unwrap();
    agent.wait_for_log("taken for a copy");
    eventually("`show` has the copy", || {
        let show = Agent::command().arg("show").arg("--state-dir");
        let shown = show.arg(place.state.path()).run();
        let shown = String::from_utf8(shown.stdout).unwrap();
        shown.contains("; 1 files taken for copies").then_some(())
    });
    end(agent);
}

#[test]
fn what_a_former_copy_shares_with_another_file_is_logged() {
    let place = Files::new();
    place.append("audit.log", &long_lines(1..=2));
    let agent = place.start("audit.log*");
    place.assert_only_arrive(1..=2);
    let shared = long_lines([1]);
    place.append("audit.log.new", &shared);
    agent.wait_for_log("taken for a copy");
    place.append("audit.log.new", &lines([3]));
    let line = agent.wait_for_log("is no copy any more");
    let bytes = format!("its first {} bytes", shared.len());
    assert!(line.contains("WARN") && line.contains(&bytes), "{line}");
    place.assert_only_arrive(1..=3);
    end(agent);
}

#[test]
fn what_was_compressed_so_that_it_cannot_be_read_is_reported_with_its_bytes() {
    let place = Files::new();
    place.hook.always(Answer::status(503));
    place.append("audit.log", &lines(1..=20));
    let agent = place.start("audit.log");
    agent.wait_for_log("delivery failed");
    end(agent);
    // Renamed and then compressed in the outage, as logrotate does with `compresscmd zstd`.
    fs::remove_file(place.path("audit.log")).unwrap();
    fs::write(place.path("audit.log.1.zst"), b"\x28\xb5\x2f\xfd....").unwrap();
    place.append("audit.log", &lines(21..=40));
    place.hook.serve_what_comes();
    let agent = place.start("audit.log");
    place.assert_only_arrive(21..=40);
    let line = agent.wait_for_log("audit.log.1.zst is compressed with zstd");
    let bytes = format!("{} bytes or more", lines(1..=20).len());
    assert!(line.contains(&bytes), "{line}");
    end(agent);
}

#[test]
fn a_file_that_two_sources_read_is_named() {
    let place = Files::new();
    place.append("audit.log", &lines([1]));
    let second = place.path("audit.log");
    let source = format!("--source=file:{}", second.display());
    let agent = place.command("*.log", &[&source]).spawn();
    let line = agent.wait_for_log("its events are sent twice");
    assert!(line.contains("audit.log is read by file:"), "{line}");
    end(agent);
}

fn wait_until_open(agent: &Agent, path: &Path) {
    eventually("the agent opens the file", || agent.offset(path));
}

/// More than a source reads at one go.
fn long_lines(numbers: impl IntoIterator<Item = u64>) -> String {
    let pad = "x".repeat(5000);
    numbers
        .into_iter()
        .map(|number| format!("{{\"n\":{number},\"pad\":\"{pad}\"}}\n"))
        .collect()
}
