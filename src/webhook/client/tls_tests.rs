//! The same over TLS, where what nobody asked for can also wait in the socket below it.

use std::io::{self, BufRead as _};
use std::sync::Mutex;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::{
    ServerConfig, ServerConnection, Stream, StreamOwned, SupportedProtocolVersion, version,
};
use socket2::SockRef;

use super::tests::{OK, post, raw_server, read_request, wait_until_arrived, webhook_at};
use super::*;

fn server(versions: &[&'static SupportedProtocolVersion]) -> Arc<ServerConfig> {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["hec.example.com".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    Arc::new(config.unwrap())
}

#[test]
fn an_answer_that_nobody_asked_for_is_taken_for_no_other() {
    for versions in [&[&version::TLS12], &[&version::TLS13]] {
        for (is_late, is_one_record) in [(false, true), (false, false), (true, false)] {
            let config = server(versions);
            let (idle, is_idle) = crossbeam_channel::bounded(1);
            let (tell, arrived) = crossbeam_channel::bounded(1);
            let (address, connections) = raw_server(move |_, socket| {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = StreamOwned::new(connection, socket.try_clone().unwrap());
                if !read_request(&mut stream) {
                    return;
                }
                if is_late {
                    io::Write::write_all(&mut stream, OK).unwrap();
                } else if is_one_record {
                    io::Write::write_all(&mut stream, &[OK, OK].concat()).unwrap();
                } else {
                    // Two records that come as one segment.
                    for _ in 0..2 {
                        io::Write::write_all(&mut stream.conn.writer(), OK).unwrap();
                    }
                    while stream.conn.wants_write() {
                        stream.conn.write_tls(&mut stream.sock).unwrap();
                    }
                }
                is_idle.recv().unwrap();
                if is_late {
                    io::Write::write_all(&mut stream, OK).unwrap();
                }
                wait_until_arrived(socket);
                tell.send(stream.sock).unwrap();
            });
            let mut webhook = webhook_at("https://hec.example.com/", &[address]);
            let mut open = Vec::new();
            for count in 1..4 {
                assert_eq!(post(&mut webhook), Outcome::Delivered);
                assert_eq!(*connections.lock().unwrap(), count);
                idle.send(()).unwrap();
                open.push(arrived.recv().unwrap());
            }
        }
    }
}

#[test]
fn a_connection_is_kept() {
    for versions in [&[&version::TLS12], &[&version::TLS13]] {
        let config = server(versions);
        let (address, connections) = raw_server(move |_, socket| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.try_clone().unwrap());
            while read_request(&mut stream) && io::Write::write_all(&mut stream, OK).is_ok() {
                // Only TLS 1.3 has that; the client answers it before its next request.
                let _ = stream.conn.refresh_traffic_keys();
                io::Write::flush(&mut stream).unwrap();
            }
        });
        let mut webhook = webhook_at("https://hec.example.com/", &[address]);
        for _ in 0..4 {
            assert_eq!(post(&mut webhook), Outcome::Delivered);
        }
        assert_eq!(*connections.lock().unwrap(), 1);
    }
}

#[test]
fn a_small_request_is_one_record() {
    for versions in [&[&version::TLS12], &[&version::TLS13]] {
        let config = server(versions);
        let (address, _) = raw_server(move |_, mut socket| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = Stream::new(&mut connection, &mut socket);
            let record = stream.fill_buf().unwrap();
            if record.ends_with(b"\r\n\r\n{}\n") {
                io::Write::write_all(&mut stream, OK).unwrap();
            }
        });
        let mut webhook = webhook_at("https://hec.example.com/", &[address]);
        assert_eq!(post(&mut webhook), Outcome::Delivered);
    }
}

#[test]
fn what_an_old_connection_could_not_write_says_nothing_of_a_request_over_a_new_one() {
    let config = server(&[&version::TLS13]);
    let requests = Arc::<Mutex<usize>>::default();
    let count = Arc::clone(&requests);
    let (idle, is_idle) = crossbeam_channel::bounded(1);
    let (end, has_ended) = crossbeam_channel::bounded(1);
    let (address, connections) = raw_server(move |place, socket| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, socket.try_clone().unwrap());
        while read_request(&mut stream) {
            *count.lock().unwrap() += 1;
            io::Write::write_all(&mut stream, OK).unwrap();
            if place == 0 {
                // The client wants to answer with an alert.
                is_idle.recv().unwrap();
                io::Write::write_all(socket, b"not TLS").unwrap();
                let no_time = Some(Duration::ZERO);
                SockRef::from(&*socket).set_linger(no_time).unwrap();
                end.send(()).unwrap();
                return;
            }
        }
    });
    let mut webhook = webhook_at("https://hec.example.com/", &[address]);
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    idle.send(()).unwrap();
    has_ended.recv().unwrap();
    // It is closed right after that.
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(post(&mut webhook), Outcome::Delivered);
    assert_eq!(*connections.lock().unwrap(), 2);
    assert_eq!(*requests.lock().unwrap(), 2, "one each");
}
