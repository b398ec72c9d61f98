//! A listener and its clients: what they are told, and what is counted.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::tokens::Tokens;
use super::*;
use crate::buffer::chunk::Extent;
use crate::buffer::queue::{Consumer, Taken};
use crate::source::listen::ListenSettings;
use crate::source::output::fixture::output;
use crate::source::spec::WhenFull;
use crate::source::watched::Watched;
use crate::telemetry::Report;

/// A running listener, and the senders' end of its buffer.
struct Served {
    address: SocketAddr,
    report: Arc<Report>,
    consumer: Consumer,
    stop: ShutdownSignal,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// With room for so many events, and with this token if there is one.
    fn new(events: usize, token: Option<&'static str>) -> Self {
        let bytes = 1 << 20;
        let (output, consumer, report) = output(Extent { events, bytes }, WhenFull::Drop);
        let tokens = token.map(|token| {
            let make =
                move |_: &[Vec<u8>]| Tokens::parse(token.as_bytes()).map_err(|what| (0, what));
            Arc::new(Watched::open("tokens", Vec::new(), make).unwrap())
        });
        let settings = Settings {
            listen: ListenSettings {
                connections: None,
                timeout: Duration::from_secs(60),
                socket_mode: 0,
                tls: None,
            },
            tokens,
            connections_per_peer: 0,
            max_body: 1 << 20,
            unwraps: Arc::default(),
        };
        let listener = Listener::open((Ipv4Addr::LOCALHOST, 0).into(), &settings, false).unwrap();
        let address = listener.listener.local_addr().unwrap();
        let stop = ShutdownSignal::new().unwrap();
        let stopping = stop.clone();
        let run = move || Box::new(listener).run(output, &stopping);
        Served {
            address,
            report,
            consumer,
            stop,
            thread: Some(thread::spawn(run)),
        }
    }

    /// The status of the answer to a request with these lines and this body.
    fn ask(&self, head: &str, body: &str) -> u16 {
        let head = head.replace('\n', "\r\n");
        let mut client = TcpStream::connect(self.address).unwrap();
        let request = format!("{head}\r\nHost: a\r\nConnection: close\r\n\r\n{body}");
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn post(&self, body: &str) -> u16 {
        let head = format!("POST / HTTP/1.1\nContent-Length: {}", body.len());
        self.ask(&head, body)
    }

    /// What is in the buffer is delivered.
    fn deliver(&self) {
        let Taken::Events(run) = self.consumer.take(Extent::MAX, Some(Instant::now())) else {
            panic!("there is nothing");
        };
        self.consumer.finish(run.extent(), [run.seqs()]);
    }

    /// How many events were received and dropped, and how many requests refused.
    fn counts(&self) -> (u64, u64, u64) {
        let balance = self.report.balance();
        let refused = self.report.snapshot().refused();
        (balance.received(), balance.dropped(), refused)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.trigger();
        let _ = self.thread.take().unwrap().join();
    }
}

#[test]
fn an_event_that_is_sent_until_there_is_room_is_one_event_and_no_loss() {
    let served = Served::new(1, None);
    assert_eq!(served.post("{\"n\":1}\n"), 200);
    for refused in 1..=5 {
        assert_eq!(served.post("{\"n\":2}\n"), 503);
        assert_eq!(served.counts(), (1, 0, refused));
    }
    served.deliver();
    assert_eq!(served.post("{\"n\":2}\n"), 200);
    assert_eq!(served.counts(), (2, 0, 5));
}

#[test]
fn who_is_refused_is_counted_by_reason_with_the_last_clients_address() {
    let served = Served::new(99, Some("Bearer right"));
    let right = "Authorization: Bearer right";
    for (head, body, status, reason) in [
        (
            "POST / HTTP/1.1\nContent-Length: 2\nAuthorization: Bearer wrong",
            "{}",
            403,
            Refusal::Forbidden,
        ),
        (
            "POST / HTTP/1.1\nContent-Length: 2",
            "{}",
            401,
            Refusal::Unauthorized,
        ),
        (
            &format!("DELETE / HTTP/1.1\n{right}"),
            "",
            405,
            Refusal::Method,
        ),
        (
            &format!("POST / HTTP/1.1\n{right}"),
            "{}",
            411,
            Refusal::LengthRequired,
        ),
        (
            &format!("POST / HTTP/1.1\n{right}\nContent-Length: 1"),
            "x",
            400,
            Refusal::MalformedEvents,
        ),
        ("POST /", "", 400, Refusal::MalformedHead),
    ] {
        let refused = |report: &Report| {
            let source = report.snapshot().sources.remove(0);
            let refused = source.refused.into_iter();
            let requests = refused.filter(|(of, _)| *of == reason).map(|of| of.1);
            (requests.sum::<u64>(), source.last_refused)
        };
        assert_eq!(refused(&served.report).0, 0, "{head}");
        assert_eq!(served.ask(head, body), status, "{head}");
        let expected = (1, Some("127.0.0.1".to_owned()));
        assert_eq!(refused(&served.report), expected, "{head}");
    }
    assert_eq!(served.counts(), (0, 0, 6));
}
