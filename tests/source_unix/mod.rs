//! `unix:PATH`, where the S3 server listens and the agent connects, and `unix-listen:PATH`, where the agent listens and
//! any number of writers connect. Neither ever makes its S3 server wait.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{
    Agent, AgentCommand, BINARY, Webhook, arrived, assert_arrive, end, end_without_loss, event,
    eventually, wait_for_end,
};

/// So many descriptors are kept from writers.
const KEPT: usize = 16;

/// Options of an agent that has the time to deliver all that it has read.
const PATIENT: [&str; 4] = ["--when-full", "wait", "--shutdown-timeout", "1m"];

/// A directory for a socket.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("audit.sock")
    }

    /// `--source` for a socket of the S3 server's.
    fn unix(&self) -> String {
        format!("--source=unix:{}", self.path().display())
    }

    /// `--source` for a socket of the agent's own.
    fn unix_listen(&self) -> String {
        format!("--source=unix-listen:{}", self.path().display())
    }

    /// A writer at the agent's socket, as soon as that is there.
    fn connect(&self) -> UnixStream {
        let writer = eventually("the agent listens", || {
            UnixStream::connect(self.path()).ok()
        });
        patient(writer)
    }
}

/// A socket whose other side is to read: a write that waits for long is an error.
fn patient(socket: UnixStream) -> UnixStream {
    let limit = Some(Duration::from_secs(60));
    socket.set_write_timeout(limit).unwrap();
    socket
}

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

/// Waits until the other side has read all that was written.
fn wait_until_read(socket: &UnixStream) {
    eventually("the agent reads", || {
        let mut unread = 0;
        // SAFETY: the descriptor is open for as long as `socket` is borrowed, and TIOCOUTQ writes one int.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut unread) };
        assert_eq!(done, 0);
        (unread == 0).then_some(())
    });
}

fn start(hook: &Webhook, options: &[&str]) -> Agent {
    Agent::command()
        .args(["run", "--endpoint", &hook.url()])
        .args(["--auth-token", "Splunk test", "--batch-age", "5ms"])
        .args(["--backoff-min", "10ms", "--backoff-max", "50ms"])
        .args(options)
        .spawn()
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

    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            for _ in 0..RESTARTS {
                let mut socket = gateway.serve().0;
                while [&event(written + 1), ",\n"]
                    .iter()
                    .all(|piece| socket.write_all(piece.as_bytes()).is_ok())
                {
                    written += 1;
                }
            }
            written
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

    assert_arrive(&hook, 1..=written);
    assert_eq!(received, written);
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

#[test]
fn any_number_of_writers_may_write_at_once_and_each_ones_order_is_kept() {
    const WRITERS: usize = 50;
    const EVENTS: usize = 200;
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    place.connect();
    let event = |writer: usize, number: usize| {
        let padding = "x".repeat(number);
        format!(r#"{{"writer":{writer},"number":{number},"padding":"{padding}"}}"#)
    };

    let all_connected = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (place, all_connected) = (&place, &all_connected);
            scope.spawn(move || {
                let mut socket = place.connect();
                all_connected.wait();
                for number in 0..EVENTS {
                    let line = event(writer, number) + "\n";
                    // In two pieces, between which other writers get their turn.
                    let (first, rest) = line.as_bytes().split_at((writer + number) % line.len());
                    socket.write_all(first).unwrap();
                    thread::yield_now();
                    socket.write_all(rest).unwrap();
                }
            });
        }
    });

    hook.wait_for_events(WRITERS * EVENTS);
    let arrived = arrived(&hook);
    for writer in 0..WRITERS {
        let prefix = format!(r#"{{"writer":{writer},"#);
        let of_writer = arrived.iter().filter(|event| event.starts_with(&prefix));
        let expected: Vec<_> = (0..EVENTS).map(|number| event(writer, number)).collect();
        assert_eq!(
            of_writer.collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
    }
    end_without_loss(agent, &hook);
}

#[test]
fn a_writer_that_goes_wrong_costs_the_others_nothing() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);

    let mut good = place.connect();
    good.write_all(br#"{"n":1,"key":"#).unwrap();
    let mut cut = place.connect();
    cut.write_all(b"{\"n\":2}\n{\"n\":3,\"key\":\"a").unwrap();
    drop(cut);
    let mut garbage = place.connect();
    garbage.write_all(b"GET / HTTP/1.1\n{\"n\":4}\n").unwrap();
    hook.wait_for_events(2);
    good.write_all(b"\"a\"}\n").unwrap();

    hook.wait_for_events(3);
    let mut arrived = arrived(&hook);
    arrived.sort();
    assert_eq!(
        arrived,
        [r#"{"n":1,"key":"a"}"#, r#"{"n":2}"#, r#"{"n":4}"#]
    );
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 2));
}

#[test]
fn a_webhook_that_hangs_never_makes_a_writer_wait() {
    let hook = Webhook::start();
    hook.hold();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--buffer-events", "100"]);
    let mut writer = place.connect();
    let lines: String = (1..=20_000).map(|number| event(number) + "\n").collect();
    writer.write_all(lines.as_bytes()).unwrap();
    wait_until_read(&writer);

    hook.release();
    hook.wait_for_events(100);
    assert_eq!(
        arrived(&hook)[..100],
        (1..=100).map(event).collect::<Vec<_>>()
    );
    let balance = end(agent, &hook);
    assert_eq!(balance.received, 20_000);
    assert_eq!(balance.dropped, balance.by_reason["buffer full"]);
}

#[test]
fn what_writers_had_written_before_the_end_is_still_delivered() {
    for (when_full, buffer) in [("drop", "1000"), ("wait", "1000"), ("wait", "10")] {
        let hook = Webhook::start();
        let place = Place::new();
        let options = ["--when-full", when_full, "--buffer-events", buffer];
        let agent = start(&hook, &[&[&*place.unix_listen()], &options[..]].concat());
        let mut known = place.connect();
        known.write_all(b"{\"n\":1}\n").unwrap();
        assert_arrive(&hook, [1]);

        // The agent finds all of this at once when it goes on: events, new connections, and SIGTERM.
        agent.signal(libc::SIGSTOP);
        let mut new = place.connect();
        for number in 2..=100 {
            known.write_all((event(number) + "\n").as_bytes()).unwrap();
            new.write_all((event(number + 1000) + "\n").as_bytes())
                .unwrap();
        }
        for number in 5000..5020 {
            let mut short = place.connect();
            short.write_all(event(number).as_bytes()).unwrap();
        }
        agent.signal(libc::SIGTERM);
        agent.signal(libc::SIGCONT);

        let balance = wait_for_end(agent, &hook);
        assert_eq!((balance.received, balance.dropped), (100 + 99 + 20, 0));
    }
}

/// A unix socket tells a writer that nobody reads any more; then it sends again what it could not write whole.
#[test]
fn restarts_of_the_agent_while_writers_write_cost_no_event_and_repeat_none() {
    const RESTARTS: u64 = 8;
    const WRITERS: u64 = 6;
    let hook = Webhook::start();
    let place = Place::new();
    let all_connected = Barrier::new(WRITERS as usize + 1);

    let mut written: Vec<_> = thread::scope(|scope| {
        let write = |writer: u64| {
            let (mut number, place, all_connected) = (writer, &place, &all_connected);
            move || {
                for _ in 0..RESTARTS {
                    let mut socket = place.connect();
                    all_connected.wait();
                    while socket.write_all((event(number) + "\n").as_bytes()).is_ok() {
                        number += WRITERS;
                    }
                }
                (writer..number).step_by(WRITERS as usize)
            }
        };
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(write(writer)))
            .collect();
        for _ in 0..RESTARTS {
            let agent = start(&hook, &[&[&*place.unix_listen()], &PATIENT[..]].concat());
            all_connected.wait();
            hook.wait_for_events(hook.event_count() + 1000);
            agent.signal(libc::SIGTERM);
            let balance = agent.wait().balance();
            // Of each writer's last event maybe only a part was written.
            assert!(balance.dropped <= WRITERS, "{balance:?}");
            assert_eq!(balance.left, 0);
        }
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap().map(event))
            .collect()
    });

    let mut arrived = arrived(&hook);
    arrived.sort();
    written.sort();
    assert!(arrived == written, "{} of {}", arrived.len(), written.len());
}

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
    let refusal = |command| {
        let ended = Agent::command()
            .args([command, "--dry-run", &place.unix_listen()])
            .run();
        let named = &place.unix_listen()["--source=".len()..];
        assert!(ended.log.contains("--source"), "{}", ended.log);
        assert!(ended.log.contains(named), "{}", ended.log);
        (ended.code, ended.log)
    };

    fs::write(place.path(), "precious").unwrap();
    for command in ["run", "check"] {
        let (code, message) = refusal(command);
        assert_eq!(code, Some(2), "{command}: {message}");
        assert!(message.contains("a file that is no socket"), "{message}");
    }
    assert_eq!(fs::read(place.path()).unwrap(), b"precious");
    fs::remove_file(place.path()).unwrap();

    let agent = start(&hook, &[&place.unix_listen()]);
    let mut writer = place.connect();
    let (code, message) = refusal("run");
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
fn idle_writers_cost_next_to_no_memory() {
    const WRITERS: usize = 500;
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    let padding = "x".repeat(500);
    let line = format!("{{\"padding\":\"{padding}\"}}\n");
    let write = |count: usize| {
        let connect = |_| {
            let mut writer = place.connect();
            writer.write_all(line.as_bytes()).unwrap();
            writer
        };
        (0..count).map(connect).collect::<Vec<_>>()
    };

    // What the way of an event needs once is there before the first look.
    let few = write(10);
    hook.wait_for_events(few.len());
    let before = agent.resident_kib();
    let many = write(WRITERS);
    hook.wait_for_events(few.len() + many.len());
    let growth = agent.resident_kib().saturating_sub(before);

    // A read buffer each would be 8 MiB.
    assert!(growth < 3 * 1024, "{growth} KiB");
    drop((few, many));
    end_without_loss(agent, &hook);
}

#[test]
fn writers_in_the_midst_of_large_events_share_what_memory_there_is_for_them() {
    const WRITERS: usize = 40;
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--max-event-bytes=2MiB"]);
    let begun = format!("{{\"padding\":\"{}", "x".repeat(1_900_000));
    // All at once, each waiting for the agent to read. Those that wait longest are closed.
    let mut writers: Vec<_> = (0..WRITERS).map(|_| place.connect()).collect();
    let begun: Vec<_> = thread::scope(|scope| {
        let begun: Vec<_> = writers
            .iter_mut()
            .map(|writer| scope.spawn(|| writer.write_all(begun.as_bytes()).is_ok()))
            .collect();
        begun
            .into_iter()
            .map(|begun| begun.join().unwrap())
            .collect()
    });
    place.connect().write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    let whole = writers.iter_mut().zip(begun);
    let whole = whole
        .filter_map(|(writer, begun)| (begun && writer.write_all(b"\"}\n").is_ok()).then_some(()));
    let whole = whole.count();
    hook.wait_for_events(1 + whole);
    agent.wait_for_log("too much memory for unfinished messages");
    // One that has ended has none.
    let peak = agent.peak_kib();
    agent.signal(libc::SIGTERM);
    let ended = agent.wait();
    let balance = ended.balance();
    balance.holds();
    assert!((1..WRITERS).contains(&whole), "{whole}");
    // What a closed one had begun is counted.
    let lost = (WRITERS - whole) as u64;
    assert_eq!(
        (balance.received, balance.dropped),
        (WRITERS as u64 + 1, lost),
        "{}",
        ended.log
    );
    assert!(peak < 48 << 10, "{peak} KiB");
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

#[test]
fn a_source_at_its_limit_closes_the_writer_that_has_waited_longest_in_an_event() {
    let hook = Webhook::start();
    let place = Place::new();
    let options = [
        &place.unix_listen(),
        "--listen-connections",
        "3",
        "--report-interval",
        "1h",
    ];
    let agent = start(&hook, &options);
    let mut good = place.connect();
    good.write_all(b"{\"n\":1}\n").unwrap();
    assert_arrive(&hook, [1]);
    let mut halves = Vec::new();
    for _ in 0..3 {
        let mut half = place.connect();
        half.write_all(b"{\"n\":").unwrap();
        wait_until_read(&half);
        halves.push(half);
    }
    agent.wait_for_log("1 request refused");
    // The first of them is closed.
    eventually("it is closed", || halves[0].write_all(b" ").err());
    for half in &mut halves[1..] {
        half.write_all(b"2}\n").unwrap();
    }
    good.write_all(b"{\"n\":3}\n").unwrap();
    hook.wait_for_events(4);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (5, 1));
}

#[test]
fn an_event_that_is_not_finished_in_time_costs_its_writer_the_connection() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--listen-timeout", "300ms"]);
    let mut idle = place.connect();
    idle.write_all(b"{\"n\":1}\n").unwrap();
    let mut slow = place.connect();
    slow.write_all(b"{\"n\":2,\"x\":\"").unwrap();
    eventually("it is closed", || slow.write_all(b"x").err());
    agent.wait_for_log("refused");
    idle.write_all(b"{\"n\":3}\n").unwrap();
    assert_arrive(&hook, [1, 3]);
    let balance = end(agent, &hook);
    assert_eq!((balance.received, balance.by_reason["malformed"]), (3, 1));
}

#[test]
fn an_agent_that_is_out_of_descriptors_says_so_and_goes_on_when_there_are_some_again() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen(), "--report-interval", "100ms"]);
    let mut first = place.connect();
    first.write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);

    // Room for two writers, and then there are five.
    agent.leave_descriptors(2 + KEPT);
    let mut writers: Vec<_> = (2..=6)
        .map(|number| {
            let mut writer = place.connect();
            writer.write_all(event(number).as_bytes()).unwrap();
            writer
        })
        .collect();
    agent.wait_for_log("too many connections; fix: raise the limit of open files");
    assert_arrive(&hook, 1..=3);

    // Those that are connected are served on, and the agent does not spin.
    let (since, before) = (Instant::now(), cpu_time(&agent));
    agent.wait_for_nth_log(6, "still unavailable after");
    first.write_all(event(7).as_bytes()).unwrap();
    assert_arrive(&hook, [1, 2, 3, 7]);
    let (elapsed, used) = (since.elapsed(), cpu_time(&agent) - before);
    assert!(used < elapsed / 2, "{used:?} of {elapsed:?}");

    // Where writers go, others find room.
    drop(writers.drain(..2));
    assert_arrive(&hook, [1, 2, 3, 7, 4, 5]);
    agent.leave_descriptors(500 + KEPT);
    assert_arrive(&hook, [1, 2, 3, 7, 4, 5, 6]);
    agent.wait_for_log("available again after");
    end_without_loss(agent, &hook);
}

#[test]
fn waiting_writers_leave_the_webhook_its_descriptors() {
    let hook = Webhook::start();
    let place = Place::new();
    let agent = start(&hook, &[&place.unix_listen()]);
    place.connect();
    agent.wait_until_running();
    agent.leave_descriptors(4 + KEPT);
    let mut writers: Vec<_> = (0..8).map(|_| place.connect()).collect();
    agent.wait_for_log("too many connections; fix: raise the limit of open files");

    writers[0].write_all(event(1).as_bytes()).unwrap();
    assert_arrive(&hook, [1]);
    end_without_loss(agent, &hook);
}

/// The processor time that it has used so far.
fn cpu_time(agent: &Agent) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.id())).unwrap();
    // Behind the name, which may hold anything; utime and stime in hundredths of a second.
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
