use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::transport::NextTimeout;

use crate::webhook::encode::{Compressed, Encoder, Format};

use super::*;

/// A webhook that takes everything; how many connections it has had.
fn server(ip: &str) -> (SocketAddr, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind((ip, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<Mutex<usize>>::default();
    let count = Arc::clone(&connections);
    thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            *count.lock().unwrap() += 1;
            thread::spawn(move || {
                let mut reader = BufReader::new(&socket);
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap_or(0) > 0 {
                    if line == "{}\n" {
                        let _ = (&socket).write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
                    }
                    line.clear();
                }
            });
        }
    });
    (address, connections)
}

/// A name server whose answer can change.
#[derive(Debug, Clone)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn set(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl Resolver for Names {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut found = self.empty();
        for address in self.0.lock().unwrap().iter() {
            found.push(*address);
        }
        Ok(found)
    }
}

fn webhook(addresses: &[SocketAddr]) -> (Webhook, Names) {
    let names = Names(Arc::default());
    names.set(addresses);
    let timeouts = Timeouts {
        connect: Duration::from_secs(3),
        request: Duration::from_secs(9),
    };
    let endpoint = Endpoint::parse("http://hec.example.com/").unwrap();
    let shape = RequestTemplate {
        encoder: Encoder::new(Format::Ndjson, Compressed::No, "", &[]),
        uri: endpoint.uri().clone(),
        headers: Vec::new(),
    };
    let webhook = Webhook::new(
        endpoint,
        Some(Token::parse("Splunk T").unwrap()),
        shape,
        TlsConfig::default(),
        None,
        timeouts,
    )
    .unwrap();
    let connector = TcpConnector::default();
    (webhook.connecting_with(connector, names.clone()), names)
}

fn post(webhook: &mut Webhook) -> Outcome {
    webhook.post(&Body::of(b"{}\n"))
}

#[test]
fn a_name_that_moves_is_followed_when_the_connection_is_old() {
    let ((old, on_old), (new, on_new)) = (server("127.0.0.1"), server("127.0.0.1"));
    let (mut webhook, names) = webhook(&[old]);
    for _ in 0..3 {
        assert_eq!(post(&mut webhook), Outcome::Delivered);
    }
    names.set(&[new]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 0));

    // The old connection's last request, and then the new one's, of which the second is its last again.
    webhook.connection_age = Duration::ZERO;
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 0));
    for _ in 0..2 {
        assert_eq!(post(&mut webhook), Outcome::Delivered);
    }
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 1));
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!((*on_old.lock().unwrap(), *on_new.lock().unwrap()), (1, 2));
}

#[test]
fn a_name_is_looked_up_again_when_what_it_stood_for_has_gone() {
    let closed = TcpListener::bind("127.78.0.3:0").unwrap();
    let gone = closed.local_addr().unwrap();
    drop(closed);
    let (new, on_new) = server("127.0.0.1");
    let (mut webhook, names) = webhook(&[gone]);
    assert!(matches!(post(&mut webhook), Outcome::Failed(_)));
    // As if there had been a connection that the client has given up since, because it was not used for long.
    webhook.kept_since = Some(Instant::now());
    names.set(&[new]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!(*on_new.lock().unwrap(), 1);
}

#[test]
fn all_addresses_of_a_name_are_tried_in_turn() {
    let (good, _) = server("127.0.0.1");
    // Of another address, since ports of this one are given to other tests.
    let closed = TcpListener::bind("127.78.0.3:0").unwrap();
    let refusing = closed.local_addr().unwrap();
    drop(closed);
    // TEST-NET-1, and IPv6's: without a route, or without an answer.
    let unreachable = "[2001:db8::1]:8088".parse().unwrap();
    let silent = "192.0.2.1:8088".parse().unwrap();
    let (mut webhook, names) = webhook(&[refusing, unreachable, silent, good]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);

    names.set(&[refusing]);
    webhook.connection_age = Duration::ZERO;
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    let refused = post(&mut webhook);
    assert!(
        matches!(&refused, Outcome::Failed(trouble) if trouble.message == "connection refused"),
        "{refused:?}"
    );
}
