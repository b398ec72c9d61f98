//! The state directory and the checkpoint in it: damaged, of an older version, away, or another agent's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::support::{Agent, AgentCommand, BINARY, Files, eventually, unchanged_for};

use super::{
    LINE, age, end, end_when_arrived, kill, lines, rotate_by_renaming, write_without_pause,
};

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
        agent.offset(&story.path("audit.log"))
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
