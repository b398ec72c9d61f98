//! Where the agent listens: a socket file of its own, no place of others, and a warning for all the network.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use crate::source_http::{end_with, events, free_port_everywhere, start};
use crate::support::{Agent, Webhook, event};

use super::Place;

#[test]
fn a_stale_socket_file_is_replaced_and_the_own_one_removed_at_the_end() {
    let (hook, place) = (Webhook::start(), Place::unix());
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists());
    let agent = start(&hook, &[&place.option()]);
    place.connect().ask(&event(1));
    hook.wait_for_events(1);
    end_with(agent, &hook, &events([1]));
    assert!(!place.path().exists());
}

#[test]
fn a_place_that_something_else_has_is_left_alone() {
    let refused = |source: &str, code: i32, text: &str| {
        let ended = Agent::command()
            .args(["run", "--dry-run", "--source", source])
            .run();
        assert_eq!(ended.code, Some(code), "{}", ended.log);
        let line = format!("--source: {source}: {text}");
        assert!(ended.log.contains(&line), "{}", ended.log);
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("fluent:{}", port.local_addr().unwrap());
    refused(&taken, 1, "another process listens there");

    let place = Place::unix();
    fs::write(place.path(), "precious").unwrap();
    refused(&place.source(), 2, "there is a file that is no socket");
    assert_eq!(fs::read(place.path()).unwrap(), b"precious");
    fs::remove_file(place.path()).unwrap();
    let _listener = UnixListener::bind(place.path()).unwrap();
    refused(&place.source(), 1, "another process listens on this socket");
}

#[test]
fn listening_for_all_the_network_is_warned_of() {
    let hook = Webhook::start();
    let port = free_port_everywhere();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let source = format!("fluent:0.0.0.0:{port}");
    let agent = start(&hook, &["--source", &source]);
    agent.wait_for_log("anyone who can reach this address can send forged events");
    Place::Tcp(address).connect().ask(&event(1));
    hook.wait_for_events(1);
    end_with(agent, &hook, &events([1]));
}
