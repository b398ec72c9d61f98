//! Logs that are rotated, truncated or removed while they are followed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::{Answer, Webhook, assert_arrive, end, end_without_loss, event, eventually};

use super::{Log, append_to, assert_all_arrive, start, wait_until_read};

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

/// What can be promised of rotation: a file is read to its end if it was the log when the agent looked. So the server in
/// this test writes without a pause and rotates as soon as the webhook has an event of the file at hand.
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
    // One that was listed while it was empty, and renamed before the next look, is not named.
    agent.wait_for_nth_log(ROTATIONS / 2, "was replaced");
    end_without_loss(agent, &hook);
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
        eventually("the agent opens the file", || agent.offset(&log.path()));
        log.rename();
        log.reopen();
    }
    log.write_events(numbers.by_ref().take(100));

    hook.restart();
    assert_all_arrive(&hook, numbers.start - 1);
    end_without_loss(agent, &hook);
}
