//! Restarts, kills and outages: nothing is lost, and only what was in flight comes twice.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::support::{Answer, Files, append, eventually, number};

use super::{LINE, end, kill, lines, rotate_by_copying, rotate_by_renaming, write_without_pause};

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
