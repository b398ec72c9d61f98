//! A webhook's name with several addresses.

use std::fs;
use std::io::Write as _;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread;

use socket2::{Domain, Socket, Type};

use super::delivery::{start_seeing, taken};
use super::support::{Agent, Authority, Webhook, own_loopback};

/// Has it deliver an event, and end.
fn deliver_one(mut agent: Agent, hook: &Webhook) {
    let mut input = agent.take_stdin();
    writeln!(input, "{{}}").unwrap();
    hook.wait_for_events(1);
    drop(input);
    assert_eq!(agent.wait().code, Some(0));
}

/// Keeps an address for as long as this lives, and refuses connections. None if somebody has it.
fn refusing(address: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&address.into()).is_ok().then_some(socket)
}

#[test]
fn the_address_that_answers_is_found_among_those_of_ipv6_and_ipv4() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    // To glibc, `::1` is an address of IPv4, too.
    let dead =
        ["::1", "127.0.0.1", "127.78.0.4", "::ffff:127.78.0.5"].map(|ip| ip.parse().unwrap());
    let (hook, _refuse) = iter::repeat_with(Webhook::start)
        .find_map(|hook| {
            let port = hook.address().port();
            let refuse = dead.map(|ip| refusing((ip, port).into()));
            refuse.iter().all(Option::is_some).then_some((hook, refuse))
        })
        .unwrap();
    let address = hook.address();
    let ips = dead.into_iter().chain([address.ip()]);
    let lines: String = ips.map(|ip| format!("{ip} hec.example\n")).collect();
    fs::write(&hosts, lines).unwrap();
    let endpoint = format!("http://hec.example:{}/", address.port());
    let Some(agent) = start_seeing(&hosts, "/etc/hosts", &endpoint, &[]) else {
        return;
    };
    deliver_one(agent, &hook);
    assert_eq!(taken(&hook), ["{}"]);
}

/// What accepts connections at the first of a name's addresses is no webhook that works.
#[test]
fn an_address_that_accepts_connections_and_then_fails_does_not_keep_the_next_one_from_being_used() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = dir.path().join("hosts");
    let server = Authority::new("ours").server(&["hec.example"]);
    for (scheme, closes) in [("http", true), ("https", true), ("https", false)] {
        let builder = Webhook::builder();
        let hook = match scheme {
            "http" => builder.start(),
            _ => builder.tls(server.server_config()).start(),
        };
        let port = hook.address().port();
        let broken = TcpListener::bind((own_loopback(), port)).unwrap();
        let ips = [broken.local_addr().unwrap().ip(), hook.address().ip()];
        let lines = ips.map(|ip| format!("{ip} hec.example\n"));
        fs::write(&hosts, lines.concat()).unwrap();
        // Otherwise the kernel accepts, and nobody ever says a word.
        if closes {
            thread::spawn(move || while broken.accept().is_ok() {});
        }
        let endpoint = format!("{scheme}://hec.example:{port}/");
        let options = ["--insecure", "--connect-timeout=300ms"];
        let Some(agent) = start_seeing(&hosts, "/etc/hosts", &endpoint, &options) else {
            return;
        };
        deliver_one(agent, &hook);
    }
}

/// A name server with these addresses of every name, which is silent about IPv6; none where nobody may use its port.
fn name_server(addresses: Vec<Ipv4Addr>) -> Option<Ipv4Addr> {
    let server = own_loopback();
    let Ok(socket) = UdpSocket::bind((server, 53)) else {
        eprintln!("skipped: nobody may listen on port 53 here");
        return None;
    };
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            let query = &query[..length];
            // One question: a name that ends with a zero, its type and its class.
            let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            if query[end - 4..end - 2] != [0, 1] {
                continue;
            }
            let mut answer = [
                &query[..2],
                &[0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0],
            ]
            .concat();
            answer.extend_from_slice(&query[12..end]);
            for address in &addresses {
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend_from_slice(&address.octets());
            }
            let _ = socket.send_to(&answer, client);
        }
    });
    Some(server)
}

#[test]
fn a_name_server_that_never_answers_for_ipv6_keeps_nothing_back_and_all_addresses_are_tried() {
    for dead in [0, 19] {
        let dir = tempfile::tempdir().unwrap();
        let hook = Webhook::start();
        let IpAddr::V4(alive) = hook.address().ip() else {
            panic!("{}", hook.address());
        };
        let dead = (0..dead).map(|number| Ipv4Addr::new(127, 79, 0, number));
        let Some(server) = name_server(dead.chain([alive]).collect()) else {
            return;
        };
        let file = dir.path().join("resolv.conf");
        fs::write(&file, format!("nameserver {server}\n")).unwrap();
        let endpoint = format!("http://hec.webhook.example:{}/", hook.address().port());
        let Some(mut agent) = start_seeing(&file, "/etc/resolv.conf", &endpoint, &[]) else {
            return;
        };
        let mut input = agent.take_stdin();
        writeln!(input, "{{}}").unwrap();
        hook.wait_for_events(1);
        drop(input);
        agent.wait();
    }
}

#[test]
fn a_name_server_that_is_silent_is_told_though_a_request_may_not_even_take_as_long_as_a_lookup() {
    let server = own_loopback();
    let Ok(_silent) = UdpSocket::bind((server, 53)) else {
        eprintln!("skipped: nobody may listen on port 53 here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resolv.conf");
    fs::write(&file, format!("nameserver {server}\n")).unwrap();
    let (endpoint, options) = ("http://hec.webhook.example/", ["--request-timeout=150ms"]);
    let Some(mut agent) = start_seeing(&file, "/etc/resolv.conf", endpoint, &options) else {
        return;
    };
    let mut input = agent.take_stdin();
    writeln!(input, "{{}}").unwrap();
    let line = agent.wait_for_log("delivery failed");
    assert!(line.contains("name not resolved within 150ms"), "{line}");
}
