//! `unix:PATH`: connects to a stream socket and reads, again and again for ever. Ceph RGW's ops log
//! is such a socket: RGW listens, serves one reader at a time, and opens a `[` that never closes.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Intake, OpenError, Source, check_socket_path, stream};
use crate::backoff::Backoff;
use crate::stop::Stop;

const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A server that hangs up later than this has served, and may be back at once.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A socket to read from.
pub(super) struct Reader {
    path: PathBuf,
    /// The first connection, if the server was there at start.
    first: io::Result<UnixStream>,
}

impl Reader {
    /// A server that is not there yet is no error; one that may not be connected to is.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        check_socket_path(path)?;
        if fs::metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(OpenError::Wrong(
                "is no socket; for a file use file:PATH".into(),
            ));
        }
        let first = connect(path);
        if let Err(error) = &first
            && error.kind() == ErrorKind::PermissionDenied
        {
            return Err(OpenError::Wrong(format!(
                "no permission to connect ({error}); run as the socket's owner or as root"
            )));
        }
        Ok(Reader {
            path: path.into(),
            first,
        })
    }
}

impl Source for Reader {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, mut intake: Intake, stop: &Stop) {
        let mut backoff = Backoff::new(RETRY_MIN, RETRY_MAX);
        let mut connection = self.first;
        loop {
            let why = match connection {
                Ok(mut stream) => {
                    let since = Instant::now();
                    let mut framer = intake.framer();
                    let end = stream::read(&mut stream, &mut framer, &mut intake, stop, false);
                    if matches!(end, Ok(stream::End::Stopped)) {
                        // From now on the server's writes fail, so that it keeps what it could not write;
                        // what it has written until now is read to its end.
                        let mut rest = stream.shutdown(Shutdown::Read).map(|()| 1);
                        while let Ok(1..) = rest {
                            rest = stream::read_once(&mut stream, &mut framer, &mut intake);
                        }
                        intake.take_cut_off(&mut framer);
                        return;
                    }
                    intake.take_last(&mut framer);
                    // A server that hangs up at once is not to be asked in a hurry.
                    if since.elapsed() > AT_ONCE {
                        backoff.reset();
                    }
                    end.map_or_else(describe, |_| "closed by the server".into())
                }
                Err(error) => describe(error),
            };
            intake.failed(&why);
            if stop.wait(backoff.next_delay()) {
                return;
            }
            connection = connect(&self.path);
            if connection.is_ok() {
                intake.worked();
            }
        }
    }
}

/// Connects without waiting: a server whose queue is full would have us wait for ever.
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
        ErrorKind::WouldBlock => "it lets nobody in: its queue is full".into(),
        ErrorKind::ConnectionRefused => "nobody listens on the socket".into(),
        _ => error.to_string(),
    }
}
