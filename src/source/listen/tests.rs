//! Whose turn it is, and who is accepted.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use super::*;
use crate::buffer::chunk::Extent;
use crate::source::output::fixture::output;
use crate::source::spec::WhenFull;

const ROUNDS: usize = 50;

/// What clients were read, in order.
#[derive(Default)]
struct Reads {
    /// Those of the greedy one in a row.
    in_a_row: usize,
    most_in_a_row: usize,
    /// Those of the modest one, of which each round has one.
    rounds: usize,
}

struct Client {
    /// There is always more to be read of it.
    is_greedy: bool,
    reads: Rc<RefCell<Reads>>,
    stop: ShutdownSignal,
}

impl Protocol for Client {
    /// Leaves what has come in the stream, so that the client stays ready.
    fn read(&mut self, _: &mut dyn Stream, _: &mut SourceOutput) -> io::Result<usize> {
        let mut reads = self.reads.borrow_mut();
        if reads.rounds == ROUNDS {
            self.stop.trigger();
            return Ok(0);
        }
        if self.is_greedy {
            reads.in_a_row += 1;
            reads.most_in_a_row = reads.most_in_a_row.max(reads.in_a_row);
            return Ok(1);
        }
        reads.in_a_row = 0;
        reads.rounds += 1;
        Err(ErrorKind::WouldBlock.into())
    }

    fn progress(&self) -> Progress {
        Progress {
            finished: 1,
            waits_for: WaitsFor::Message,
            memory: 0,
        }
    }

    fn release(&mut self, _: &mut SourceOutput) {}

    fn end(&mut self, _: End, _: &mut SourceOutput) {}
}

#[test]
fn a_client_that_always_has_more_gets_one_turn_a_round() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let mut socket = ListeningSocket::unix(&path, 0o600).ok().unwrap();
    let clients = [(); 2].map(|()| {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(b"x").unwrap();
        client
    });
    let room = Extent {
        events: 1,
        bytes: 1000,
    };
    let (output, _consumer, _) = output(room, WhenFull::Drop);
    let (stop, reads) = (ShutdownSignal::new().unwrap(), Rc::default());
    let accepted = RefCell::new(0..);
    let protocol = |_: &SourceOutput, _| Client {
        is_greedy: accepted.borrow_mut().next() == Some(0),
        reads: Rc::clone(&reads),
        stop: stop.clone(),
    };
    let limits = Limits {
        connections: 2,
        memory: 1,
        timeout: Duration::MAX,
    };
    serve(&mut socket, limits, protocol, output, &stop);
    drop(clients);
    assert_eq!(reads.borrow().most_in_a_row, TURN);
}

/// They would be lost with the old socket.
#[test]
fn clients_that_wait_when_the_socket_file_is_removed_are_served() {
    const CLIENTS: usize = 300;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.sock");
    let mut socket = ListeningSocket::unix(&path, 0o600).ok().unwrap();
    let clients = [(); CLIENTS].map(|()| UnixStream::connect(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    let room = Extent {
        events: 1,
        bytes: 1000,
    };
    let (output, _consumer, _) = output(room, WhenFull::Drop);
    let stop = ShutdownSignal::new().unwrap();
    stop.trigger();
    let accepted = Cell::new(0);
    let protocol = |_: &SourceOutput, _| {
        accepted.set(accepted.get() + 1);
        Client {
            is_greedy: false,
            reads: Rc::default(),
            stop: stop.clone(),
        }
    };
    let limits = Limits {
        connections: CLIENTS,
        memory: 1,
        timeout: Duration::MAX,
    };
    serve(&mut socket, limits, protocol, output, &stop);
    drop(clients);
    assert_eq!(accepted.get(), CLIENTS);
}
