//! The spool's directory: whose it is, and what happens when it or its files are taken away.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::source_http::{free_address, lines};
use crate::support::{Answer, arrived, event, eventually};

use super::{Host, kill, kill_and_serve, stop, wait_until_noted};

#[test]
fn a_spool_is_private_and_one_agents_own() {
    let host = Host::new();
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..3)), 200);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&host.spool()), 0o700);
    for entry in fs::read_dir(host.spool()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    let other = host
        .bare()
        .source(&format!("http:{}", free_address()))
        .arg("--spool-bytes=64MiB")
        .run();
    assert_eq!(other.code, Some(1), "{}", other.log);
    assert!(
        other.log.contains("another agent has it; fix:"),
        "{}",
        other.log
    );
    stop(agent);
}

#[test]
fn a_spool_that_can_not_be_opened_stops_no_start_and_is_opened_later() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..3)), 200);
    kill_and_serve(agent, &host.hook);
    let away = host.dir.path().join("away");
    fs::rename(host.spool(), &away).unwrap();
    fs::write(host.spool(), "in the way").unwrap();
    let agent = host.start(&[]);
    agent.wait_for_log("the spool can't be used: ");
    assert_eq!(host.post(&lines(3..4)), 503);
    fs::remove_file(host.spool()).unwrap();
    fs::rename(away, host.spool()).unwrap();
    agent.wait_for_log("spool: 3 events recovered");
    agent.wait_for_log("the spool takes events again");
    assert_eq!(host.post(&lines(4..6)), 200);
    host.hook.wait_for_events(5);
    let (balance, _) = stop(agent);
    assert_eq!((balance.received, balance.delivered), (2, 5));
}

#[test]
fn a_directory_of_others_is_not_made_a_spool_and_keeps_its_permissions() {
    let host = Host::new();
    let dir = tempfile::tempdir().unwrap();
    let set_mode = |mode| fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode));
    let mode = || fs::metadata(dir.path()).unwrap().permissions().mode() & 0o7777;
    let option = format!("--spool-dir={}", dir.path().display());
    set_mode(0o1777).unwrap();
    fs::write(dir.path().join("others"), "").unwrap();
    let ended = host.command().args(["--spool-bytes=1MiB", &option]).run();
    let reason = "there are files of others; fix: use a directory of its own";
    assert!(
        ended.log.contains("--spool-dir") && ended.log.contains(reason),
        "{}",
        ended.log
    );
    assert_eq!((ended.code, mode()), (Some(1), 0o1777));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // An empty one may be meant for it, with permissions that its agent needs, and is known then.
    fs::rename(dir.path().join("others"), dir.path().join("lost+found")).unwrap();
    set_mode(0o2775).unwrap();
    for start in 0..2 {
        let agent = host.start(&[&option]);
        assert_eq!(host.post(&lines(start..start + 1)), 200);
        stop(agent);
        assert_eq!(mode(), 0o2775);
        fs::write(dir.path().join("others"), "").unwrap();
    }
}

/// As somebody who is short of disk space might do.
#[test]
fn what_is_answered_after_the_spools_files_were_removed_outlasts_a_kill() {
    for is_whole in [false, true] {
        let host = Host::new();
        let agent = host.start(&[]);
        assert_eq!(host.post(&lines(0..1)), 200);
        host.hook.wait_for_events(1);
        host.hook.always(Answer::status(503));
        match is_whole {
            true => fs::remove_dir_all(host.spool()).unwrap(),
            false => (host.segments().iter()).for_each(|path| fs::remove_file(path).unwrap()),
        }
        for number in 1..100 {
            assert_eq!(host.post(&lines(number..number + 1)), 200);
        }
        agent.wait_for_log("00.spool was removed; ");
        eventually("it takes events", || {
            (host.post(&lines(100..101)) == 200).then_some(())
        });
        let second = host
            .bare()
            .source(&format!("http:{}", free_address()))
            .arg("--spool-bytes=1MiB")
            .run();
        let refusal = "another agent has it";
        assert!(second.log.contains(refusal), "{}", second.log);
        kill_and_serve(agent, &host.hook);
        let agent = host.start(&[]);
        // The first may come again: that it was delivered may not have been noted.
        eventually("all arrive", || {
            let arrived = arrived(&host.hook);
            (0..101).all(|n| arrived.contains(&event(n))).then_some(())
        });
        let (balance, log) = stop(agent);
        assert_eq!(balance.dropped, 0, "{log}");
    }
}

/// As when a filesystem is mounted over it after the start.
#[test]
fn what_is_in_a_directory_that_is_not_in_its_place_is_delivered_or_counted_as_dropped() {
    let host = Host::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let displace = |name: &str| {
        fs::rename(host.spool(), elsewhere.path().join(name)).unwrap();
        fs::create_dir(host.spool()).unwrap();
    };
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..10)), 200);
    displace("first");
    agent.wait_for_log("10 events in it are delivered first");
    assert_eq!(host.post(&lines(10..11)), 503);
    assert!(host.segments().is_empty());
    host.hook.always(Answer::ok());
    host.hook.wait_for_events(10);
    agent.wait_for_log("the spool takes events again");
    assert_eq!(host.post(&lines(10..20)), 200);
    host.hook.wait_for_events(20);
    host.hook.always(Answer::status(503));
    assert_eq!(host.post(&lines(20..23)), 200);
    displace("second");
    agent.wait_for_log("3 events in it are delivered first");
    let (balance, log) = stop(agent);
    assert!(
        log.contains("3 events are in the directory that was there before"),
        "{log}"
    );
    let end = (balance.delivered, balance.dropped, balance.left);
    assert_eq!(end, (20, 3, 0), "{log}");
    // Nothing is left in the first one, and all is in the second.
    host.hook.always(Answer::ok());
    for (name, count) in [("first", 0), ("second", 3)] {
        let dir = elsewhere.path().join(name);
        let agent = host.start(&[&format!("--spool-dir={}", dir.display())]);
        eventually("all is sent", || host.is_idle().then_some(()));
        let (balance, log) = stop(agent);
        assert_eq!(
            (balance.recovered, balance.delivered),
            (count, count),
            "{log}"
        );
    }
}

#[test]
fn what_is_gone_is_missed_even_if_only_the_start_after_a_kill_knew_of_it() {
    let host = Host::new();
    host.hook.always(Answer::status(503));
    let agent = host.start(&[]);
    assert_eq!(host.post(&lines(0..5)), 200);
    kill(agent);
    let agent = host.start(&[]);
    wait_until_noted(&host, 5);
    kill(agent);
    (host.segments().iter()).for_each(|path| fs::remove_file(path).unwrap());
    let agent = host.start(&[]);
    agent.wait_for_log("dropped 5 events (corrupt)");
    let (balance, _) = stop(agent);
    assert_eq!((balance.recovered, balance.dropped), (5, 5));
}
