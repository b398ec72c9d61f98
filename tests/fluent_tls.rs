//! `fluents:`, the fluent protocol inside TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tempfile::TempDir;

use crate::source_fluent::message;
use crate::source_http::{end_with, events, free_address, start};
use crate::support::certs::{Authority, Identity, provider};
use crate::support::{Agent, Webhook, end, event, eventually};

struct World {
    dir: TempDir,
    authority: Authority,
    address: SocketAddr,
    hook: Webhook,
}

impl World {
    fn new() -> Self {
        World {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new("test"),
            address: free_address(),
            hook: Webhook::start(),
        }
    }

    fn start(&self, options: &[&str]) -> Agent {
        let identity = self.authority.server(&["localhost"]);
        let (cert, key) = identity.write_pem(self.dir.path(), "server");
        let source = format!("--source=fluents:{}", self.address);
        let cert = format!("--listen-cert={}", cert.display());
        let key = format!("--listen-key={}", key.display());
        let agent = start(&self.hook, &[&[&*source, &cert, &key], options].concat());
        eventually("the agent listens", || {
            TcpStream::connect(self.address).ok()
        });
        agent
    }

    fn connect(&self, identity: Option<&Identity>) -> StreamOwned<ClientConnection, TcpStream> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.authority.roots());
        let config = match identity {
            Some(identity) => config
                .with_client_auth_cert(identity.chain(), identity.private_key())
                .unwrap(),
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        StreamOwned::new(connection, socket)
    }
}

fn ask(client: &mut (impl Read + Write), number: u64) {
    let asked = message(&event(number), r#"{"chunk":"c"}"#);
    // In two pieces, so that one is in the midst of a record of TLS.
    let (first, rest) = asked.split_at(asked.len() / 2);
    client.write_all(first.as_bytes()).unwrap();
    client.write_all(rest.as_bytes()).unwrap();
    let mut got = [0; 11];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, *br#"{"ack":"c"}"#);
}

#[test]
fn a_client_gone_in_its_handshake_is_counted_and_a_silent_one_is_not() {
    let world = World::new();
    let agent = world.start(&[]);
    drop(TcpStream::connect(world.address).unwrap());
    let mut client = TcpStream::connect(world.address).unwrap();
    client.write_all(b"\x16\x03\x01\x02\0\x01\0").unwrap();
    // The agent has read that: it reads in the order of arrival.
    ask(&mut world.connect(None), 0);
    drop(client);
    let line = agent.wait_for_log("client disconnected");
    assert!(line.contains(" 1 request refused "), "{line}");
    end_with(agent, &world.hook, &events(0..1));
}

#[test]
fn clients_are_served_inside_tls() {
    let world = World::new();
    let agent = world.start(&[]);
    let mut clients: Vec<_> = (0..3).map(|_| world.connect(None)).collect();
    for number in 0..30 {
        ask(&mut clients[number as usize % 3], number);
    }
    // More at once than one read takes.
    let many: String = (30..5000)
        .map(|number| message(&event(number), "{}"))
        .collect();
    clients[0].write_all(many.as_bytes()).unwrap();
    ask(&mut clients[0], 5000);
    world.hook.wait_for_events(5001);
    end_with(agent, &world.hook, &events(0..=5000));
}

#[test]
fn a_client_that_does_not_speak_tls_is_refused_and_named() {
    let world = World::new();
    let agent = world.start(&["--listen-timeout", "1s"]);
    let mut plain = TcpStream::connect(world.address).unwrap();
    plain
        .write_all(message(&event(1), "{}").as_bytes())
        .unwrap();
    agent.wait_for_log("refused (400 the client does not speak TLS, this address does)");
    // One that begins a handshake, and never ends it, has its time too.
    let mut slow = TcpStream::connect(world.address).unwrap();
    slow.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap();
    agent.wait_for_log("too slow");
    let mut good = world.connect(None);
    ask(&mut good, 2);
    world.hook.wait_for_events(1);
    let balance = end(agent, &world.hook);
    assert_eq!((balance.received, balance.dropped), (1, 0));
}

#[test]
fn only_clients_with_a_certificate_are_served_if_one_is_wanted() {
    let world = World::new();
    let clients = Authority::new("clients");
    let ca = clients.write_pem(world.dir.path(), "clients");
    let agent = world.start(&[&format!("--listen-client-ca={}", ca.display())]);
    let known = clients.client("weed");
    let mut good = world.connect(Some(&known));
    ask(&mut good, 1);
    for unknown in [None, Some(Authority::new("others").client("weed"))] {
        let mut bad = world.connect(unknown.as_ref());
        // Its handshake ends before it knows.
        let _ = bad.write_all(message(&event(2), "{}").as_bytes());
        assert!(bad.read(&mut [0]).is_err());
    }
    agent.wait_for_log("refused (no valid client certificate)");
    ask(&mut good, 3);
    world.hook.wait_for_events(2);
    end_with(agent, &world.hook, &events([1, 3]));
}

#[test]
fn a_source_without_a_certificate_does_not_start() {
    let ended = Agent::command()
        .args(["run", "--dry-run", "--source=fluents:127.0.0.1:0"])
        .run();
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert!(ended.log.contains("--listen-cert"), "{}", ended.log);
}
