//! `unix:PATH`: the agent connects to a Ceph gateway's socket, and finds it again.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::{
    AgentCommand, BINARY, Webhook, arrived, assert_arrive, end, end_without_loss, event,
    eventually, wait_for_end, wait_until_read,
};

use super::{PATIENT, Place, patient, start};

/// An S3 server that does with its audit socket what Ceph RGW does.
struct Gateway<'a> {
    place: &'a Place,
    listener: UnixListener,
}

impl<'a> Gateway<'a> {
    /// Takes the path, also from a predecessor that was killed.
    fn start(place: &'a Place) -> Self {
        let _ = fs::remove_file(place.path());
        let listener = UnixListener::bind(place.path()).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { place, listener }
    }

    /// Serves its next reader: that one's stream begins with a bracket that never closes.
    fn serve(&self) -> Reader {
        let accepted = eventually("the agent connects", || self.listener.accept().ok());
        let mut socket = patient(accepted.0);
        socket.write_all(b"[").unwrap();
        Reader(socket)
    }

    /// Ends as it should: the reader comes to the stream's end, and the path is gone.
    fn stop(self, _: Reader) {
        fs::remove_file(self.place.path()).unwrap();
    }

    /// Ends as by SIGKILL: the path stays, with nobody behind it.
    fn kill(self, _: Reader) {}
}

/// The gateway's side of a connection.
struct Reader(UnixStream);

impl Reader {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// A record and its separator are two writes.
    fn record(&mut self, record: &[u8]) {
        self.write(record);
        self.write(b",\n");
    }

    fn events(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.record(event(number).as_bytes());
        }
    }
}

#[test]
fn every_record_of_a_ceph_gateway_arrives_also_over_its_restart() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix()]);
    let mut expected = String::new();

    for (stream, count) in [
        (include_bytes!("../data/rgw-socket.bin").as_slice(), 210),
        (include_bytes!("../data/rgw-socket-reconnect.bin"), 226),
    ] {
        let gateway = Gateway::start(&place);
        let mut reader = gateway.serve();
        let records = stream.strip_prefix(b"[").unwrap();
        for line in records.split_inclusive(|byte| *byte == b'\n') {
            let record = line.strip_suffix(b",\n").unwrap();
            reader.record(record);
            expected += &String::from_utf8_lossy(record);
        }
        gateway.stop(reader);
        hook.wait_for_events(count);
    }

    let delivered = String::from_utf8(hook.delivered_events().concat()).unwrap();
    assert!(delivered == expected, "the records arrived changed");
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.dropped), (226, 0));
}

#[test]
fn a_gateway_is_found_again_however_it_went_away_and_the_log_says_so() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix(), "--report-interval", "50ms"]);

    // It is started after the agent.
    agent.wait_for_log(": unavailable: no such socket");
    agent.wait_for_nth_log(2, "still unavailable after");
    assert_eq!(agent.log().matches(": unavailable: ").count(), 1);
    let gateway = Gateway::start(&place);
    let mut reader = gateway.serve();
    reader.events([1]);
    assert_arrive(&hook, [1]);
    agent.wait_for_log("available again after");

    let before = agent.log().matches("no such socket").count();
    gateway.stop(reader);
    agent.wait_for_nth_log(before + 1, "no such socket");
    let gateway = Gateway::start(&place);
    let mut reader = gateway.serve();
    reader.events([2]);
    assert_arrive(&hook, 1..=2);
    agent.wait_for_nth_log(2, "available again after");

    gateway.kill(reader);
    agent.wait_for_log("nobody listens on the socket");
    let gateway = Gateway::start(&place);
    let mut reader = gateway.serve();
    reader.events([3]);
    assert_arrive(&hook, 1..=3);
    agent.wait_for_nth_log(3, "available again after");
    end_without_loss(agent, &hook);
}

#[test]
fn a_server_that_always_hangs_up_is_told_of_once_and_not_asked_in_a_hurry() {
    let hook = Webhook::start();
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let agent = start(&hook, &[&place.unix(), "--report-interval", "1h"]);

    let before = Instant::now();
    for _ in 0..5 {
        drop(gateway.serve());
    }
    // At least 50 ms lie between two attempts.
    assert!(before.elapsed() >= Duration::from_millis(200));
    let mut reader = gateway.serve();
    reader.events([1]);

    assert_arrive(&hook, [1]);
    let line = ": unavailable: closed by the server";
    agent.wait_for_log(line);
    let log = agent.log();
    assert_eq!(log.matches(line).count(), 1);
    end_without_loss(agent, &hook);
}

#[test]
fn a_record_may_be_split_anywhere_between_reads() {
    let record = r#"{"key":"a\"},\n{é","list":[{},[1]],"n":-1.5e3}"#;
    let hook = Webhook::start();
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let agent = start(&hook, &[&place.unix()]);
    let mut reader = gateway.serve();

    for byte in record.bytes() {
        reader.write(&[byte]);
        wait_until_read(&reader.0);
    }
    reader.write(b",\n");

    hook.wait_for_events(1);
    assert_eq!(arrived(&hook), [record]);
    end_without_loss(agent, &hook);
}

#[test]
fn a_connection_that_is_cut_in_the_middle_of_a_record_costs_that_record_alone() {
    let hook = Webhook::start();
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let agent = start(&hook, &[&place.unix()]);

    let mut reader = gateway.serve();
    reader.events([1, 2]);
    reader.write(br#"{"n":3,"key":"ab"#);
    drop(reader);
    let mut reader = gateway.serve();
    reader.events([4, 5]);

    assert_arrive(&hook, [1, 2, 4, 5]);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 1));
    assert_eq!(balance.dropped, 1);
}

#[test]
fn a_webhook_that_hangs_never_makes_the_gateway_wait() {
    let hook = Webhook::start();
    hook.hold();
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let agent = start(&hook, &[&place.unix(), "--buffer-events", "100"]);

    let mut reader = gateway.serve();
    reader.events(1..=20_000);
    wait_until_read(&reader.0);
    // The oldest events are kept, and the newest go once there is room again.
    hook.release();
    hook.wait_for_events(100);
    assert_eq!(
        arrived(&hook)[..100],
        (1..=100).map(event).collect::<Vec<_>>()
    );
    // What was read last may still be on its way into the buffer, and fill it.
    let mut last = 20_000;
    eventually("another event arrives", || {
        last += 1;
        reader.events([last]);
        let arrived = arrived(&hook);
        let mut newest = (20_001..=last).map(event);
        newest.any(|event| arrived.contains(&event)).then_some(())
    });

    let balance = end(agent, &hook);
    assert_eq!(balance.received, last);
    assert_eq!(
        balance.by_reason.keys().collect::<Vec<_>>(),
        ["buffer full"]
    );
}

/// Whatever the full buffer is to mean: bytes that the gateway has written are gone from it for good.
#[test]
fn what_the_gateway_had_written_before_the_end_is_still_delivered() {
    for when_full in ["drop", "wait"] {
        let hook = Webhook::start();
        let place = Place::new();
        let gateway = Gateway::start(&place);
        let agent = start(&hook, &[&place.unix(), "--when-full", when_full]);
        let mut reader = gateway.serve();
        reader.events([1]);
        assert_arrive(&hook, [1]);

        // All that is written while the agent is suspended is still in the socket when SIGTERM comes.
        agent.signal(libc::SIGSTOP);
        let records: String = (2..=5000).map(|number| event(number) + ",\n").collect();
        reader.write(records.as_bytes());
        reader.write(b"{\"half\":");
        agent.signal(libc::SIGTERM);
        agent.signal(libc::SIGCONT);

        let balance = wait_for_end(agent, &hook);
        // The gateway keeps the record that it could not write to its end.
        assert_eq!((balance.received, balance.dropped), (5000, 0));
        assert_arrive(&hook, 1..=5000);
    }
}

/// A record that Ceph RGW could not write together with its separator goes to its next reader.
#[test]
fn restarts_of_the_agent_while_a_gateway_writes_cost_no_record_and_repeat_none() {
    const RESTARTS: u64 = 10;
    let hook = Webhook::start();
    let place = Place::new();
    let gateway = Gateway::start(&place);
    let mut received = 0;

    let (written, late) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut written, mut late) = (0, Vec::new());
            for _ in 0..RESTARTS {
                let mut socket = gateway.serve().0;
                let mut began = Instant::now();
                while [&event(written + 1), ",\n"]
                    .iter()
                    .all(|piece| socket.write_all(piece.as_bytes()).is_ok())
                {
                    written += 1;
                    began = Instant::now();
                }
                // The agent waits for a separator for two seconds, and a busy machine may let this thread wait for longer.
                if began.elapsed() > Duration::from_secs(1) {
                    late.push(event(written + 1));
                }
            }
            (written, late)
        });
        for _ in 0..RESTARTS {
            let before = hook.event_count();
            let agent = start(&hook, &[&[&*place.unix()], &PATIENT[..]].concat());
            hook.wait_for_events(before + 1000);
            agent.signal(libc::SIGTERM);
            let balance = agent.wait().balance();
            assert_eq!(balance.dropped, 0, "{balance:?}");
            received += balance.received;
        }
        writer.join().unwrap()
    });

    let mut all = arrived(&hook);
    assert_eq!(received, all.len() as u64);
    all.dedup_by(|later, earlier| later == earlier && late.contains(later));
    assert_eq!(all, (1..=written).map(event).collect::<Vec<_>>());
}

#[test]
fn a_socket_that_may_not_be_connected_to_is_waited_for() {
    let place = Place::new();
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let _gateway = Gateway::start(&place);
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o000)).unwrap();
    let command = AgentCommand::of(BINARY).args(["run", "--dry-run", &place.unix()]);
    let Some(agent) = command.spawn_as_nobody() else {
        return;
    };
    let line = agent.wait_for_log("unavailable: no permission to connect");
    assert!(line.contains("fix: run as the socket's owner"), "{line}");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    agent.wait_for_log("available again");
}

/// Ceph RGW accepts nobody before it has noticed that its last reader is gone, and lets five connections wait.
#[test]
fn a_server_that_lets_nobody_in_delays_neither_start_nor_end() {
    let hook = Webhook::start();
    let place = Place::new();
    let gateway = Gateway::start(&place);
    // SAFETY: listen() touches no memory.
    assert_eq!(unsafe { libc::listen(gateway.listener.as_raw_fd(), 0) }, 0);
    let waiting = UnixStream::connect(place.path()).unwrap();

    let agent = start(&hook, &[&place.unix()]);
    agent.wait_for_log(": unavailable: ");
    drop(gateway.serve());
    drop(waiting);
    gateway.serve().events([1]);
    assert_arrive(&hook, [1]);
    end_without_loss(agent, &hook);
}
