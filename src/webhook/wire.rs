//! The socket under the connection to the webhook, and what the client must know of it that ureq does not know: whether
//! a request was written whole, whether any of it can have been read, and whether anything came unasked.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use crate::sys::tcp::bytes_acked;
use crate::telemetry::expiry::Expiries;
use crate::webhook::error::{self, Sent, Timeouts, is_disconnect};
use crate::webhook::observer::Observer;

/// What is known of the connection in use. There is one at a time; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Wire(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Reads must return at once if nothing has arrived.
    is_probing: bool,
    /// A connection to a proxy is being made.
    is_to_proxy: bool,
    /// No read waits beyond this.
    deadline: Option<Instant>,
    /// The peer closed the connection before the request was written whole.
    is_cut_short: bool,
    /// Bytes that the peer's kernel had acknowledged when the connection was last idle, and when it was closed.
    acked_when_idle: Option<u64>,
    acked_at_end: Option<u64>,
    /// When the certificates on a new connection expire.
    expiries: Option<Expiries>,
}

impl Wire {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before each request.
    pub fn begin(&self) {
        *self.state() = State::default();
    }

    /// Whether the peer closed the connection before the request was written whole.
    pub fn is_cut_short(&self) -> bool {
        self.state().is_cut_short
    }

    /// Whether the request went over a connection that had been idle before, and the peer's kernel has acknowledged
    /// nothing since: no program can have read any of it.
    pub fn is_surely_unread(&self) -> bool {
        let state = self.state();
        state.acked_when_idle.is_some() && state.acked_when_idle == state.acked_at_end
    }

    /// Whether a connection to a proxy is being made.
    pub fn is_to_proxy(&self) -> bool {
        self.state().is_to_proxy
    }

    /// Sets whether a connection to a proxy is being made.
    pub fn set_to_proxy(&self, is_to_proxy: bool) {
        self.state().is_to_proxy = is_to_proxy;
    }

    /// Notes when the certificates on a new connection expire.
    pub fn set_expiries(&self, expiries: Expiries) {
        self.state().expiries = Some(expiries);
    }

    /// When these certificates expire, once.
    pub fn take_expiries(&self) -> Option<Expiries> {
        self.state().expiries.take()
    }

    /// Lets no read wait beyond this time, if there is one.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.state().deadline = deadline;
    }

    /// Whether the connection is open and nothing has arrived on it at any level: in the socket, in TLS, or above.
    pub fn is_idle(&self, transport: &mut dyn Transport) -> bool {
        if !transport.buffers().input().is_empty() {
            return false;
        }
        self.state().is_probing = true;
        let result = transport.await_input(NextTimeout::default());
        self.state().is_probing = false;
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
    // Otherwise the end of a body would wait for the acknowledgement of what is before it.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection that is not written to any more once a write has failed, but still read: the answer may be a 413, or
/// the TLS alert that the webhook wants a client certificate, to a body that was not read to its end.
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
                self.wire.state().is_cut_short = true;
                Ok(())
            }
            Err(error) if is_timeout(&error) => Err(Error::Timeout(timeout.reason)),
            result => Ok(result?),
        }
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        let (is_probing, deadline) = {
            let state = self.wire.state();
            (state.is_probing, state.deadline)
        };
        if is_probing && let Err(error) = self.has_input() {
            self.wire.state().acked_when_idle = bytes_acked(&self.stream);
            return Err(Error::Io(error));
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            timeout.after = left.min(*timeout.after).into();
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

    /// Not used: the layers above ask [`Wire::is_idle`].
    fn is_open(&mut self) -> bool {
        false
    }
}

impl Socket {
    /// Fails with `WouldBlock` if there is nothing to read, not even an end.
    fn has_input(&self) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        let peeked =
            SockRef::from(&*self.stream).recv_with_flags(&mut [MaybeUninit::uninit()], flags);
        match peeked {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(error),
            // Any other error will come again.
            _ => Ok(()),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire.state().acked_at_end = bytes_acked(&self.stream);
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

/// Sockets with a time limit return either.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
