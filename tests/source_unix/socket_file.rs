//! The socket file of `unix-listen:PATH`: when it is made, replaced and removed, and with which mode.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::{Agent, Webhook, assert_arrive, end_without_loss, event};

use super::{Place, start};

#[test]
fn a_stale_socket_file_is_replaced_and_the_own_one_removed_at_the_end() {
    let hook = Webhook::start();
    let place = Place::new();
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists());

    let agent = start(&hook, &[&place.unix_listen()]);
    let mut writer = place.connect();
    writer.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    end_without_loss(agent, &hook);
    assert!(!place.path().exists());
}

#[test]
fn a_path_that_something_else_has_is_left_alone() {
    let hook = Webhook::start();
    let place = Place::new();
    let refusal = |command, source: &str| {
        let ended = Agent::command().args([command, "--dry-run", source]).run();
        let named = &source["--source=".len()..];
        assert!(ended.log.contains("--source"), "{}", ended.log);
        assert!(ended.log.contains(named), "{}", ended.log);
        (ended.code, ended.log)
    };

    fs::write(place.path(), "precious").unwrap();
    let reader = place.unix_listen().replace("unix-listen:", "unix:");
    let directory = format!("--source=unix:{}", place.path().parent().unwrap().display());
    for (source, what) in [
        (&place.unix_listen(), "a file that is no socket"),
        (&reader, "is no socket; fix: for a file use file:PATH"),
        (&directory, "is no socket; fix: "),
    ] {
        for command in ["run", "check"] {
            let (code, message) = refusal(command, source);
            assert_eq!(code, Some(2), "{command} {source}: {message}");
            assert!(message.contains(what), "{message}");
        }
    }
    assert_eq!(fs::read(place.path()).unwrap(), b"precious");
    fs::remove_file(place.path()).unwrap();

    let agent = start(&hook, &[&place.unix_listen()]);
    let mut writer = place.connect();
    let (code, message) = refusal("run", &place.unix_listen());
    assert_eq!(code, Some(1));
    assert!(message.contains("another process listens"), "{message}");
    writer.write_all(event(1).as_bytes()).unwrap();
    place.connect().write_all(event(2).as_bytes()).unwrap();
    hook.wait_for_events(2);
    end_without_loss(agent, &hook);
}

#[test]
fn a_successors_socket_is_not_removed() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    let mut writer = place.connect();

    // In one step: the agent would take an empty place again.
    let other = place.path().with_extension("new");
    let successor = UnixListener::bind(&other).unwrap();
    fs::rename(&other, place.path()).unwrap();
    agent.wait_for_log("unavailable: the socket's file was removed: another process listens");
    writer.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    end_without_loss(agent, &hook);
    UnixStream::connect(place.path()).unwrap();
    drop(successor);
}

#[test]
fn a_socket_file_that_is_removed_is_made_again() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    let mut early = place.connect();
    fs::remove_file(place.path()).unwrap();
    let mut late = place.connect();
    late.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    early.write_all(event(2).as_bytes()).unwrap();
    assert_arrive(&hook, [1, 2]);
    agent.wait_for_log("unavailable: the socket's file was removed");
    agent.wait_for_log("available again");
    end_without_loss(agent, &hook);
    assert!(!place.path().exists());
}

#[test]
fn a_socket_file_has_the_mode_that_is_set() {
    for (option, mode) in [(None, 0o660), (Some("--socket-mode=0600"), 0o600)] {
        let hook = Webhook::start();
        let place = Place::new();
        let listen = place.unix_listen();
        let options: Vec<_> = [Some(listen.as_str()), option]
            .into_iter()
            .flatten()
            .collect();
        let agent = start(&hook, &options);
        let mut writer = place.connect();
        let found = fs::metadata(place.path()).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{found:o}");
        writer.write_all(event(1).as_bytes()).unwrap();
        drop(writer);
        assert_arrive(&hook, [1]);
        end_without_loss(agent, &hook);
    }
}
