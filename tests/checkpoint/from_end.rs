//! `--file-start end`: where the end is, and what that can cost.

use std::fs;

use crate::source_http::free_address;
use crate::status::get;
use crate::support::{Files, Metrics, eventually};

use super::{end, kill, lines, rotate_by_renaming};

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
    let status = free_address();
    let page = format!("--status-listen={status}");
    let options = ["--file-start=end", "--dry-run", &page];
    for last in [2, 4] {
        story.write("audit.log", [last - 1]);
        let agent = story.command("audit.log", &options).spawn();
        agent.wait_for_log("started: ");
        // After the first look, at which it is decided where it begins, the source says how far it is behind.
        eventually("it has looked into the file", || {
            let figures = Metrics::at(status).0;
            figures
                .contains_key("s3_audit_webhook_source_lag_bytes")
                .then_some(())
        });
        assert!(agent.offset(&story.path("audit.log")).is_some());
        story.write("audit.log", [last]);
        eventually("the new one is printed", || {
            (agent.stdout() == lines([last]).replace(' ', "")).then_some(())
        });
        end(agent);
    }
    assert!(story.checkpoints().is_empty());
}
