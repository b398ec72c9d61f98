//! `unix:PATH`: connects to a stream socket and reads, again and again. Ceph RGW's ops log is such a socket: RGW
//! listens, serves one reader at a time, and opens a `[` that never closes.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::output::SourceOutput;
use super::reader::Source;
use super::separators::Separators;
use super::spec::OpenError;
use super::stream;
use crate::framer::Framer;
use crate::sys::backoff::Backoff;
use crate::sys::poll::{PollFd, poll};
use crate::sys::random;
use crate::sys::shutdown::ShutdownSignal;

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A server that hangs up later than this has served, and may be back at once.
const AT_ONCE: Duration = Duration::from_millis(500);
/// How long a record's separator is waited for: the server's thread may have to wait for a processor between the two.
const SEPARATOR: Duration = Duration::from_secs(2);
/// How often to look whether anything is kept of what is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A socket to read from.
pub(super) struct Reader {
    path: PathBuf,
    /// The first connection, if the server was there at start.
    first: io::Result<UnixStream>,
}

impl Reader {
    /// A server that is not there yet is not an error.
    pub(super) fn open(path: &Path) -> Self {
        Reader {
            path: path.into(),
            first: connect(path),
        }
    }
}

/// Checks that nothing but a socket is at `path`, where a server listens. It may not be there yet.
pub(super) fn check_server(path: &Path) -> Result<(), OpenError> {
    match fs::metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(OpenError::Wrong(
            "is no socket; fix: for a file use file:PATH".into(),
        )),
        _ => Ok(()),
    }
}

impl Source for Reader {
    fn run(self: Box<Self>, mut output: SourceOutput, stop: &ShutdownSignal) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX, random::seed());
        let mut connection = self.first;
        loop {
            let reason = match connection {
                Ok(stream) => {
                    let since = Instant::now();
                    let mut framer = output.framer();
                    let mut connection = Connection::new(stream);
                    let end = stream::read(&mut connection, &mut framer, &mut output, stop, false);
                    if matches!(end, Ok(stream::End::Stopped { .. })) {
                        connection.close(&mut framer, &mut output);
                        return;
                    }
                    output.take_last(&mut framer);
                    // A server that hangs up at once should not be asked again in a hurry.
                    if since.elapsed() > AT_ONCE {
                        backoff.reset();
                    }
                    end.map_or_else(describe, |_| "closed by the server".into())
                }
                Err(error) => describe(error),
            };
            output.failed(&reason);
            if stop.wait(backoff.next_delay()) {
                return;
            }
            connection = connect(&self.path);
            if connection.is_ok() {
                output.worked();
            }
        }
    }
}

/// The stream, and how its records are separated: a record of Ceph RGW without its separator is not ours when we close.
struct Connection {
    stream: UnixStream,
    separators: Separators,
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        Connection {
            stream,
            separators: Separators::default(),
        }
    }

    /// Closes it so that nothing is lost between the two sides, and nothing is taken twice.
    fn close(mut self, framer: &mut Framer, output: &mut SourceOutput) {
        self.wait_for_separator(framer, output);
        // From now on the server's writes fail, so that it keeps what it could not write; what it has
        // written until now is read to its end: no more than a socket holds.
        let mut rest = Vec::new();
        if self.stream.shutdown(Shutdown::Read).is_ok() {
            let _ = self.stream.read_to_end(&mut rest);
        }
        self.separators.read(&rest);
        let is_rgw = self.separators.are_of_rgw();
        if is_rgw {
            let whole = rest.windows(2).rposition(|two| two == b",\n");
            rest.truncate(whole.map_or(0, |at| at + 2));
        }
        let mut rest = rest.as_slice();
        while let Ok(1..) = stream::read_once(&mut rest, framer, output) {}
        if is_rgw {
            output.flush();
        } else {
            output.take_cut_off(framer);
        }
    }

    fn wait_for_separator(&mut self, framer: &mut Framer, output: &mut SourceOutput) {
        let until = Instant::now() + SEPARATOR;
        while self.separators.may_follow() && output.is_open() {
            let left = until.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.stream.as_fd())];
            if poll(&mut fds, Some(left.min(LOOK))).is_err() {
                return;
            }
            if fds[0].is_ready() {
                if !matches!(stream::read_once(self, framer, output), Ok(1..)) {
                    return;
                }
            } else if left.is_zero() {
                return;
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.separators.read(&buffer[..count]);
        Ok(count)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Checks that `path` can be the address of a unix socket.
pub(super) fn check_socket_path(path: &Path) -> Result<(), OpenError> {
    if path.as_os_str().as_encoded_bytes().starts_with(b"@") {
        let what = "an abstract socket has no file, and its mode can't be set; fix: use a path, or ./@… for a file of \
                    this name";
        return Err(OpenError::Wrong(what.into()));
    }
    std::os::unix::net::SocketAddr::from_pathname(path)
        .map(drop)
        .map_err(|_| {
            OpenError::Wrong(format!(
                "a socket's path has 107 bytes at most, this one has {}; fix: use a shorter one",
                path.as_os_str().len()
            ))
        })
}

/// Connects without waiting: if a server's queue is full, connecting would wait forever.
pub(super) fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(OwnedFd::from(socket).into())
}

fn describe(error: io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "no such socket".into(),
        ErrorKind::PermissionDenied => {
            "no permission to connect; fix: run as the socket's owner or as root".into()
        }
        ErrorKind::WouldBlock => "it lets nobody in: its queue is full".into(),
        ErrorKind::ConnectionRefused => "nobody listens on the socket".into(),
        _ => error.to_string(),
    }
}
