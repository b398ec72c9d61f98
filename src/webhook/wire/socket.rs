//! The socket: ureq's transport below everything else.

use std::io::{self, ErrorKind, IoSlice, Read as _, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::SockRef;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

use super::Wire;
use crate::buffer::piece::Piece;
use crate::sys::poll::{PollFd, poll};
use crate::sys::tcp::bytes_acked;
use crate::webhook::error::{self, Sent, Timeouts, is_disconnect};
use crate::webhook::observer::Observer;

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

/// A connection that is not written to any more once a write has failed, or the webhook has refused the request, but
/// still read: the answer may be a 413, or the TLS alert that the webhook wants a client certificate, to a body that was not read to its end.
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
        if self.broken.is_none() {
            let mut socket = Timed {
                stream: &self.stream,
                deadline: limit(timeout)?.map(|limit| Instant::now() + limit),
            };
            let result = match self.wire.take_request() {
                request if request.is_empty() => socket.write_all(&self.buffers.output()[..amount]),
                request => {
                    let mut socket = UntilRefused {
                        socket,
                        is_answered: false,
                    };
                    write_pieces(&mut socket, &request).map(|()| self.wire.set_written())
                }
            };
            match result {
                Err(error) if is_disconnect(&error) => self.broken = Some(error.kind()),
                Err(error) if is_timeout(&error) => return Err(Error::Timeout(timeout.reason)),
                result => return Ok(result?),
            }
        }
        self.wire.set_cut_short();
        Ok(())
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
            self.stream.set_read_timeout(deadline.map(left_until))?;
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) => return Err(Error::Timeout(timeout.reason)),
                Err(error) => {
                    self.wire.state().is_reset = error.kind() == ErrorKind::ConnectionReset;
                    return Err(Error::Io(self.broken.map_or(error, io::Error::from)));
                }
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

/// Writes all of these, in as few calls as possible.
///
/// # Errors
/// As of the writer.
pub fn write_pieces(to: &mut impl Write, pieces: &[Piece]) -> io::Result<()> {
    let mut slices: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match to.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes until the deadline, if there is one.
struct Timed<'a> {
    stream: &'a TcpStream,
    deadline: Option<Instant>,
}

impl Timed<'_> {
    /// What is left of the time, if it is limited.
    fn left(&self) -> io::Result<Option<Duration>> {
        // With the shortest limit there is, whoever reads without a pause would still get everything.
        if self.deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(self.deadline.map(left_until))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a request until the deadline, or until the webhook has refused it: it may never read the rest.
struct UntilRefused<'a> {
    socket: Timed<'a>,
    /// Something arrived that is no refusal. A webhook that answers early may read on.
    is_answered: bool,
}

impl UntilRefused<'_> {
    fn wait_for_room(&mut self) -> io::Result<()> {
        let stream = self.socket.stream;
        let mut fds = [PollFd::writing(stream.as_fd(), !self.is_answered)];
        poll(&mut fds, self.socket.left()?)?;
        if fds[0].is_readable() {
            let mut head = [0; 10];
            let length = stream.peek(&mut head)?;
            if is_refusal(&head[..length]) {
                return Err(ErrorKind::ConnectionAborted.into());
            }
            self.is_answered = true;
        }
        Ok(())
    }
}

/// Whether an answer that begins with these bytes takes nothing.
fn is_refusal(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/1.") && matches!(head.get(8..), Some([b' ', b'3'..=b'5', ..]))
}

impl Write for UntilRefused<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let slices = &slices[..slices.len().min(MAX_SLICES)];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            self.socket.left()?;
            let socket = SockRef::from(self.socket.stream);
            match socket.send_vectored_with_flags(slices, flags) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room()?,
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The kernel takes no more in one call.
const MAX_SLICES: usize = libc::UIO_MAXIOV as usize;

/// What sockets take for a time limit: not zero.
fn left_until(deadline: Instant) -> Duration {
    let left = deadline.saturating_duration_since(Instant::now());
    left.max(Duration::from_micros(1))
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Takes a few bytes at a time, and is interrupted in between.
    struct Slow {
        taken: Vec<u8>,
        calls: usize,
        limit: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(2) {
                return Err(ErrorKind::Interrupted.into());
            }
            let room = self.limit.saturating_sub(self.taken.len());
            let taken = &bytes[..bytes.len().min(3).min(room)];
            self.taken.extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_is_written_after_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for (after, error) in [
            (None, None),
            (Some(Duration::from_secs(60)), None),
            (Some(Duration::ZERO), Some(ErrorKind::TimedOut)),
        ] {
            let timed = || Timed {
                stream: &stream,
                deadline: after.map(|after| Instant::now() + after),
            };
            let mut request = UntilRefused {
                socket: timed(),
                is_answered: false,
            };
            // There is room for these in the kernel.
            let pieces = [Piece::from(b"{}\n".to_vec())];
            for result in [
                timed().write_all(&pieces[0]),
                write_pieces(&mut request, &pieces),
            ] {
                assert_eq!(result.map_err(|error| error.kind()).err(), error);
            }
        }
    }

    #[test]
    fn only_an_answer_that_takes_nothing_is_a_refusal() {
        for (head, is_one) in [
            ("HTTP/1.1 413 Content Too Large", true),
            ("HTTP/1.0 503", true),
            ("HTTP/1.1 302 Found", true),
            ("HTTP/1.1 200 OK", false),
            ("HTTP/1.1 100 Continue", false),
            ("HTTP/1.1 4", true),
            ("HTTP/1.1 ", false),
            ("HTTP", false),
            ("", false),
            ("nonsense 500", false),
        ] {
            assert_eq!(is_refusal(head.as_bytes()), is_one, "{head}");
        }
    }

    #[test]
    fn pieces_are_written_whole() {
        let all = ["", "head", "", "{\"n\":1}\n", "{}\n"];
        let pieces = all.map(|text| Piece::from(text.as_bytes().to_vec()));
        for (limit, error) in [(usize::MAX, None), (10, Some(ErrorKind::WriteZero))] {
            let mut slow = Slow {
                taken: Vec::new(),
                calls: 0,
                limit,
            };
            let result = write_pieces(&mut slow, &pieces);
            assert_eq!(result.map_err(|error| error.kind()).err(), error);
            let expected = all.concat().into_bytes();
            assert_eq!(slow.taken, expected[..expected.len().min(limit)]);
        }
    }
}
