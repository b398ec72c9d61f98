//! `http:ADDR:PORT`: a webhook of our own, for S3 servers that push: MinIO, RustFS, Versity, clients of
//! Splunk's HTTP Event Collector, another agent.
//!
//! A thread a connection, so that one client's pace is no other's. A body is taken whole or not at
//! all, and answered at once: nothing here waits for the webhook.

pub mod answer;
mod connection;
pub mod decoder;
pub mod request;

use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use answer::Answer;
use connection::Connection;
use decoder::Budget;

use super::{OpenError, Source, SourceOutput, stream};
use crate::sys::descriptors;
use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::counters::Reason;
use crate::text::token::Token;

/// How long accepting rests when the agent is out of descriptors or threads.
const REST: Duration = Duration::from_millis(100);
/// When all connections are taken, one is likely to be free within this: a burst has come. If not, the
/// next clients are turned away at once.
const BURST: Duration = Duration::from_millis(100);
/// A connection's thread needs little: its buffers are on the heap.
const STACK: usize = 128 << 10;
/// Clients that may wait to be accepted. Beyond the standard library's 128, a burst's last ones would try
/// again after a second, when some have given up.
const BACKLOG: i32 = 4096;
/// Restored for large bodies, in bodies of the largest size.
const BODIES: usize = 4;

/// What the listener is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What `Authorization` must be, if anything.
    pub token: Option<Token>,
    /// Connections at a time.
    pub connections: usize,
    /// A body's bytes at most, also when decompressed.
    pub max_body: usize,
    /// A request's time from its first byte to its last.
    pub timeout: Duration,
}

/// A listening socket.
pub(super) struct Listener {
    listener: TcpListener,
    settings: Settings,
}

/// What all connections share.
struct Service {
    output: SourceOutput,
    connections: Connections,
    token: Option<Token>,
    max_body: usize,
    max_event: usize,
    timeout: Duration,
    budget: Budget,
    stop: ShutdownSignal,
}

impl Service {
    /// Counts events of a body that got this answer.
    fn refuse(&self, answer: Answer, events: usize) {
        let reason = match answer {
            Answer::TooLarge => Reason::TooLarge,
            Answer::Busy => Reason::BufferFull,
            _ => Reason::Malformed,
        };
        self.output.refuse(reason, events);
    }
}

/// The connections there are, so that they can be counted and ended.
struct Connections {
    most: usize,
    open: Mutex<HashMap<u64, Arc<TcpStream>>>,
    closed: Condvar,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<TcpStream>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another fits, or will within `patience`.
    fn have_room(&self, patience: Duration) -> bool {
        let is_full = |open: &mut HashMap<_, _>| open.len() >= self.most;
        let waited = self
            .closed
            .wait_timeout_while(self.lock(), patience, is_full);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// So many that they should not be kept: some clients use each for one request and leave it open.
    fn are_crowded(&self) -> bool {
        self.lock().len() > self.most / 4
    }

    fn close(&self, number: u64) {
        self.lock().remove(&number);
        self.closed.notify_all();
    }

    /// Lets requests that are under way end, for `patience` at most.
    fn end(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut open = self.lock();
        for stream in open.values() {
            // What has arrived can still be read; then comes the end.
            let _ = stream.shutdown(Shutdown::Read);
        }
        while !open.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            open = self
                .closed
                .wait_timeout(open, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        for stream in open.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Listener {
    pub(super) fn open(address: SocketAddr, settings: Settings) -> Result<Self, OpenError> {
        if !address.ip().is_loopback() && settings.token.is_none() {
            return Err(OpenError::Wrong(
                "others on the network could post forged events; give --listen-token-file, or listen on \
                 127.0.0.1"
                    .into(),
            ));
        }
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => OpenError::InUse("another process listens on this port".into()),
            _ => OpenError::Wrong(format!("can't listen: {error}")),
        })?;
        listener
            .set_nonblocking(true)
            .and_then(|()| SockRef::from(&listener).listen(BACKLOG))
            .map_err(|error| OpenError::Wrong(format!("can't listen: {error}")))?;
        Ok(Listener { listener, settings })
    }
}

impl Source for Listener {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let service = Arc::new(Service {
            max_event: output.max_event(),
            output,
            connections: Connections {
                most: self.settings.connections,
                open: Mutex::default(),
                closed: Condvar::new(),
            },
            token: self.settings.token,
            max_body: self.settings.max_body,
            timeout: self.settings.timeout,
            budget: Budget::new(self.settings.max_body.saturating_mul(BODIES)),
            stop: stop.clone(),
        });
        let mut is_full = false;
        for number in 0.. {
            let mut fds = [
                PollFd::new(self.listener.as_fd()),
                PollFd::new(stop.as_fd()),
            ];
            if poll(&mut fds, None).is_err() {
                stop.wait(REST);
            }
            if fds[1].is_ready() {
                break;
            }
            if descriptors::are_scarce(&self.listener) {
                service
                    .output
                    .failed("too many clients; raise the limit of open files (LimitNOFILE)");
                stop.wait(REST);
                continue;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let patience = if is_full { Duration::ZERO } else { BURST };
                    is_full = !service.connections.have_room(patience);
                    if is_full {
                        service.output.complain(
                            "came while all connections were taken, and was told 503; raise --listen-connections",
                        );
                        turn_away(&stream);
                    } else if let Err(error) = serve(stream, number, &service) {
                        service
                            .output
                            .failed(&format!("can't serve a client: {error}"));
                        stop.wait(REST);
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock
                            | ErrorKind::Interrupted
                            | ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    service
                        .output
                        .failed(&format!("can't accept a client: {error}"));
                    stop.wait(REST);
                }
            }
        }
        drop(self.listener);
        service.connections.end(stream::LAST_READS);
    }
}

fn serve(stream: TcpStream, number: u64, service: &Arc<Service>) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let stream = Arc::new(stream);
    service
        .connections
        .lock()
        .insert(number, Arc::clone(&stream));
    let of_thread = Arc::clone(service);
    let spawned = thread::Builder::new()
        .name("http".into())
        .stack_size(STACK)
        .spawn(move || {
            of_thread.output.worked();
            Connection::new(&stream, &of_thread).serve();
            of_thread.connections.close(number);
        });
    if spawned.is_err() {
        service.connections.close(number);
    }
    spawned.map(drop)
}

/// One client too many: told so if that needs no waiting.
fn turn_away(mut stream: &TcpStream) {
    let mut answer = Vec::new();
    Answer::TooManyConnections.write(false, false, &mut answer);
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(&answer);
        let _ = stream.shutdown(Shutdown::Write);
    }
}
