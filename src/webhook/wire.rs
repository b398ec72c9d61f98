//! The socket under the connection to the webhook, and what the client must know of it and ureq does not know: whether
//! a request was written whole, whether any of it can have been read, and whether anything came unasked.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use crate::sys::tcp::bytes_acked;
use crate::webhook::error::{self, Sent, Timeouts, is_disconnect};
use crate::webhook::observer::Observer;

/// Not known, in place of a number of bytes.
const UNKNOWN: u64 = u64::MAX;

/// What is known of the connection in use. There is one at a time; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Wire(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Reads are to return at once where nothing has arrived.
    is_probing: AtomicBool,
    /// A connection to a proxy is being made.
    is_to_proxy: AtomicBool,
    /// The peer closed the connection before the request was written whole.
    is_cut_short: AtomicBool,
    /// Bytes that the peer's kernel had acknowledged when the connection was last idle, and when it was closed.
    acked_when_idle: AtomicU64,
    acked_at_end: AtomicU64,
}

impl Wire {
    /// To be called before each request.
    pub fn begin(&self) {
        self.0.is_cut_short.store(false, Relaxed);
        self.0.acked_when_idle.store(UNKNOWN, Relaxed);
        self.0.acked_at_end.store(UNKNOWN, Relaxed);
    }

    /// Whether the peer closed the connection before the request was written whole.
    pub fn is_cut_short(&self) -> bool {
        self.0.is_cut_short.load(Relaxed)
    }

    /// Whether the request went over a connection that had been idle before, of which the peer's kernel has acknowledged
    /// nothing since: no program can have read any of it.
    pub fn is_surely_unread(&self) -> bool {
        let idle = self.0.acked_when_idle.load(Relaxed);
        idle != UNKNOWN && idle == self.0.acked_at_end.load(Relaxed)
    }

    /// Whether a connection to a proxy is being made.
    pub fn is_to_proxy(&self) -> bool {
        self.0.is_to_proxy.load(Relaxed)
    }

    /// Sets that.
    pub fn set_to_proxy(&self, is_to_proxy: bool) {
        self.0.is_to_proxy.store(is_to_proxy, Relaxed);
    }

    /// Whether the connection is open and nothing has arrived on it, at any level: not in the socket, in TLS, nor above.
    pub fn is_idle(&self, transport: &mut dyn Transport) -> bool {
        if !transport.buffers().input().is_empty() {
            return false;
        }
        self.0.is_probing.store(true, Relaxed);
        let result = transport.await_input(NextTimeout::default());
        self.0.is_probing.store(false, Relaxed);
        matches!(result, Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock)
    }
}

/// Connects to the first address that answers, unless there is a tunnel through a proxy already.
#[derive(Debug)]
pub struct Tcp {
    /// Learns of the connection.
    pub wire: Wire,
    /// Learns of each address tried.
    pub observer: Arc<dyn Observer>,
}

impl Connector<Box<dyn Transport>> for Tcp {
    type Out = Box<dyn Transport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        tunnel: Option<Box<dyn Transport>>,
    ) -> Result<Option<Self::Out>, Error> {
        if tunnel.is_some() {
            return Ok(tunnel);
        }
        let stream = Arc::new(self.first_that_answers(details)?);
        (details.register_shutdown)(Arc::downgrade(&stream) as Weak<dyn ShutdownHandle>)?;
        let config = details.config;
        Ok(Some(Box::new(Socket {
            stream,
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            broken: None,
            wire: self.wire.clone(),
        })))
    }
}

impl Tcp {
    fn first_that_answers(&self, details: &ConnectionDetails) -> Result<TcpStream, Error> {
        let start = Instant::now();
        let mut result = Err(Error::HostNotFound);
        for (place, address) in details.addrs.iter().enumerate() {
            // Each address but the last has half of the time that is left.
            let left = details.timeout.after.saturating_sub(start.elapsed());
            let is_last = place + 1 == details.addrs.len();
            let share = if is_last { left } else { left / 2 };
            self.observer.begin("connect", &address.to_string());
            result = connect(*address, share);
            match &result {
                Ok(_) => {
                    self.observer.end("connected");
                    self.observer.begin("answer", "");
                    break;
                }
                Err(error) if !is_last => {
                    let timeouts = Timeouts {
                        connect: share,
                        request: share,
                    };
                    let error = error::of(error, details.uri, timeouts, Sent::Nothing);
                    self.observer.end(&error.message);
                }
                Err(_) => {}
            }
        }
        result
    }
}

fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, Error> {
    let result = match limit.is_zero() {
        true => Err(ErrorKind::TimedOut.into()),
        false => TcpStream::connect_timeout(&address, limit),
    };
    let stream = result.map_err(|error| match is_timeout(&error) {
        true => Error::Timeout(Timeout::Connect),
        false => Error::Io(error),
    })?;
    // Else the end of a body would wait for the acknowledgement of what is before it.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection on which nothing more is written once that has failed, but what has arrived is read: an answer such as
/// 413, or the TLS alert that the webhook wants a client certificate, to a body that was not read to its end.
struct Socket {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    /// How writing has failed.
    broken: Option<ErrorKind>,
    wire: Wire,
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        if self.broken.is_some() {
            return Ok(());
        }
        self.stream.set_write_timeout(limit(timeout)?)?;
        let output = &self.buffers.output()[..amount];
        match (&*self.stream).write_all(output) {
            Err(error) if is_disconnect(&error) => {
                self.broken = Some(error.kind());
                self.wire.0.is_cut_short.store(true, Relaxed);
                Ok(())
            }
            Err(error) if is_timeout(&error) => Err(Error::Timeout(timeout.reason)),
            result => Ok(result?),
        }
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if self.wire.0.is_probing.load(Relaxed)
            && let Err(error) = self.has_input()
        {
            let acked = bytes_acked(&self.stream).unwrap_or(UNKNOWN);
            self.wire.0.acked_when_idle.store(acked, Relaxed);
            return Err(Error::Io(error));
        }
        let deadline = limit(timeout)?.map(|limit| Instant::now() + limit);
        let amount = loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.map(|left| left.max(Duration::from_micros(1)));
            self.stream.set_read_timeout(left)?;
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(Error::Timeout(timeout.reason)),
                Err(error) => return Err(Error::Io(self.broken.map_or(error, io::Error::from))),
                Ok(amount) => break amount,
            }
        };
        self.buffers.input_appended(amount);
        match self.broken {
            Some(kind) if amount == 0 => Err(Error::Io(kind.into())),
            _ => Ok(amount > 0),
        }
    }

    /// Asked by nobody: what is above this asks [`Wire::is_idle`].
    fn is_open(&mut self) -> bool {
        false
    }
}

impl Socket {
    /// Fails with `WouldBlock` where there is nothing to be read, not even an end.
    fn has_input(&self) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        let peeked =
            SockRef::from(&*self.stream).recv_with_flags(&mut [MaybeUninit::uninit()], flags);
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            // Any other error comes again.
            _ => Ok(()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let acked = bytes_acked(&self.stream).unwrap_or(UNKNOWN);
        self.wire.0.acked_at_end.store(acked, Relaxed);
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Socket({:?})", self.stream)
    }
}

/// The time that is left, if it is limited.
fn limit(timeout: NextTimeout) -> Result<Option<Duration>, Error> {
    match timeout.after {
        after if after.is_zero() => Err(Error::Timeout(timeout.reason)),
        _ => Ok(timeout.not_zero().map(|left| *left)),
    }
}

/// Sockets with a time limit say either.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
