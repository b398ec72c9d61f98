//! Files that were rotated, truncated, made or removed while no agent ran.

use std::fs;

use crate::support::Files;

use super::{
    LINE, age, end, end_when_arrived, kill, lines, numbered, rotate_by_copying, rotate_by_renaming,
};

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
