//! A client's bytes, plain or inside TLS, with a time for each wait.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::{Member, WRITE_TIME};
use crate::source::foreign;
use crate::source::tls::{self, TlsServer, TlsStream};
use crate::telemetry::counters::Refusal;

/// How long a read may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// This long for each read: needs no system call while it stays the same.
    Each(Duration),
    /// Until then.
    Until(Instant),
}

/// A socket whose reads end in time, with `WouldBlock`; its writes with `TimedOut`.
pub(super) struct Socket {
    member: Arc<Member>,
    /// How long a write may take.
    write_time: Duration,
    /// A write took too long.
    is_unread: bool,
    patience: Cell<Patience>,
    /// What the socket's own timeout is.
    timeout: Cell<Option<Duration>>,
}

impl Socket {
    /// Over a blocking socket. Writes may take `timeout`.
    pub(super) fn new(member: Arc<Member>, timeout: Duration) -> io::Result<Self> {
        let stream = member.stream();
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout.min(WRITE_TIME)))?;
        Ok(Socket {
            member,
            write_time: timeout,
            is_unread: false,
            patience: Cell::new(Patience::Each(timeout)),
            timeout: Cell::new(None),
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        self.member.stream()
    }

    /// Sets the socket's timeout for the next read.
    fn prepare(&self) -> io::Result<()> {
        let timeout = match self.patience.get() {
            Patience::Each(timeout) => timeout,
            Patience::Until(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(ErrorKind::WouldBlock.into());
                }
                left
            }
        };
        if self.timeout.get() != Some(timeout) {
            self.member.stream().set_read_timeout(Some(timeout))?;
            self.timeout.set(Some(timeout));
        }
        Ok(())
    }

    /// The first bytes to read, which stay unread.
    fn peek<'b>(&self, first: &'b mut [u8]) -> io::Result<&'b [u8]> {
        self.prepare()?;
        let count = self.member.read(|stream| stream.peek(first))?;
        Ok(first.get(..count).unwrap_or_default())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.prepare()?;
            match self.member.read(|mut stream| stream.read(buffer)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Write for Socket {
    /// Writes all of it, so that an answer has one deadline.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_unread {
            // TLS tries again.
            return Err(ErrorKind::TimedOut.into());
        }
        let written = self.member.write_all(bytes, self.write_time);
        self.is_unread = (written.as_ref()).is_err_and(|error| error.kind() == ErrorKind::TimedOut);
        written.map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A client's bytes.
pub(super) enum Transport {
    /// As they are.
    Plain(Socket),
    /// Inside TLS.
    Tls(Box<TlsStream<Socket>>),
}

/// Why there is no TLS.
pub(super) enum NoTls {
    /// The client is gone, or has sent nothing in time.
    Gone,
    /// It does not speak TLS, and can get an answer.
    Plain(Transport, Refusal),
    /// The handshake failed: what that is counted as, unless the connection broke.
    Failed(Option<Refusal>),
}

impl Transport {
    /// Begins TLS.
    pub(super) fn secure(
        socket: Socket,
        server: &TlsServer,
        deadline: Instant,
    ) -> Result<Self, NoTls> {
        socket.patience.set(Patience::Until(deadline));
        let mut first = [0; 16];
        let first = socket.peek(&mut first).unwrap_or_default();
        let refusal = match foreign::of(first) {
            _ if first.is_empty() => return Err(NoTls::Gone),
            Some(Refusal::TlsHello) => None,
            Some(Refusal::ProxyHeader) => Some(Refusal::ProxyHeader),
            _ => Some(Refusal::NotTls),
        };
        if let Some(refusal) = refusal {
            return Err(NoTls::Plain(Transport::Plain(socket), refusal));
        }
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => NoTls::Failed(Some(Refusal::Timeout)),
            _ => NoTls::Failed(match tls::handshake_error(&error) {
                // It has begun with TLS.
                Some(Refusal::NotTls) => Some(Refusal::Handshake),
                reason => reason,
            }),
        };
        let mut stream = server.accept(socket).map_err(failed)?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(failed)?;
        }
        Ok(Transport::Tls(Box::new(stream)))
    }

    fn socket(&self) -> &Socket {
        match self {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref(),
        }
    }

    /// Whether the client has not read an answer in time.
    pub(super) fn is_unread(&self) -> bool {
        self.socket().is_unread
    }

    /// How long the next reads may wait.
    pub(super) fn set_patience(&self, patience: Patience) {
        let patience = match (self, patience) {
            // What is read from the socket may be only a part of a record.
            (Transport::Tls(_), Patience::Each(time)) => Patience::Until(Instant::now() + time),
            _ => patience,
        };
        self.socket().patience.set(patience);
    }

    /// Says that nothing follows, where that takes more than closing the socket.
    pub(super) fn close(&mut self) {
        if let Transport::Tls(stream) = self {
            stream.conn.send_close_notify();
            // If the client is gone, it need not know.
            let _ = stream.flush();
        }
    }

    /// Says that nothing follows, to a client that may still send.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.close();
        self.socket().member.stream().shutdown(Shutdown::Write)
    }

    /// Reads and forgets: what is left of a request that was refused.
    pub(super) fn discard(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buffer),
            // Without decrypting it.
            Transport::Tls(stream) => {
                let socket = stream.get_ref();
                socket.prepare()?;
                socket.member.read(|mut stream| stream.read(buffer))
            }
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.read(buffer),
            Transport::Tls(stream) => match stream.read(buffer) {
                // Closed without notice: treated like any other end.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Transport {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Transport::Plain(socket) => socket.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}
