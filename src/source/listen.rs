//! Listening for writers that keep their connection: one thread serves them all, since each is
//! only read from when there is something to read.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{OpenError, SourceOutput, check_socket_path, stream, unix};
use crate::framer::Framer;
use crate::sys::descriptors;
use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;

/// How long accepting rests when the agent is out of descriptors.
const REST: Duration = Duration::from_millis(100);
/// Reads in a row from one writer while others wait.
const TURN: usize = 16;
/// All writers' unfinished events together take the memory of so many of the largest: an event that grows beyond is
/// lost as too large, so that no number of writers takes all there is.
const LARGE_EVENTS: usize = 4;

/// A writer's connection.
pub(super) trait Stream: Read + Write + AsFd {
    /// Lets the writer's next write fail, while what it has written can be read to its end. TCP has
    /// no such thing.
    fn refuse_more(&self) -> io::Result<()>;
}

impl Stream for UnixStream {
    fn refuse_more(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Read)
    }
}

impl Stream for TcpStream {
    fn refuse_more(&self) -> io::Result<()> {
        Err(ErrorKind::Unsupported.into())
    }
}

/// What is made of a writer's bytes.
pub(super) trait Protocol {
    /// Reads once, without waiting. 0 at the stream's end.
    fn read(&mut self, stream: &mut dyn Stream, output: &mut SourceOutput) -> io::Result<usize>;

    /// What the bytes are read into.
    fn framer(&mut self) -> &mut Framer;

    /// The writer has gone.
    fn closed(&mut self, output: &mut SourceOutput);

    /// The agent stops.
    fn cut_off(&mut self, output: &mut SourceOutput);
}

/// A socket that listens.
pub(super) enum ListeningSocket {
    /// By a path.
    Unix(SocketFile),
    /// By an address.
    Tcp(TcpListener),
}

/// A unix socket, whose file goes with it.
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// The socket file's identity, so that no successor's file is removed.
    inode: u64,
}

impl ListeningSocket {
    /// Takes the place of a socket file that nobody listens on.
    pub(super) fn unix(path: &Path) -> Result<Self, OpenError> {
        check_socket_path(path)?;
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let listener = listener.map_err(cant_listen)?;
        listener.set_nonblocking(true).map_err(cant_listen)?;
        let inode = fs::symlink_metadata(path).map_err(cant_listen)?.ino();
        let path = path.into();
        Ok(ListeningSocket::Unix(SocketFile {
            listener,
            path,
            inode,
        }))
    }

    /// Takes an address of this host.
    pub(super) fn tcp(address: SocketAddr) -> Result<Self, OpenError> {
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => OpenError::InUse("another process listens on this port".into()),
            _ => cant_listen(error),
        })?;
        listener.set_nonblocking(true).map_err(cant_listen)?;
        Ok(ListeningSocket::Tcp(listener))
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            ListeningSocket::Unix(file) => {
                let (stream, _) = file.listener.accept()?;
                stream.set_nonblocking(true)?;
                Box::new(stream)
            }
            ListeningSocket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }

    /// Refuses further writers, while those that wait can still be accepted. TCP has no such thing.
    fn close(&self) -> io::Result<()> {
        match self {
            ListeningSocket::Unix(file) => SockRef::from(&file.listener).shutdown(Shutdown::Read),
            ListeningSocket::Tcp(_) => Err(ErrorKind::Unsupported.into()),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Unix(file) => file.listener.as_fd(),
            ListeningSocket::Tcp(listener) => listener.as_fd(),
        }
    }
}

fn cant_listen(error: io::Error) -> OpenError {
    OpenError::Wrong(format!("can't listen: {error}"))
}

fn remove_stale(path: &Path) -> Result<(), OpenError> {
    let wrong = |error: io::Error| OpenError::Wrong(format!("can't take the path: {error}"));
    let found = fs::symlink_metadata(path).map_err(wrong)?;
    if !found.file_type().is_socket() {
        return Err(OpenError::Wrong("there is a file that is no socket".into()));
    }
    match unix::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(wrong)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(wrong(error)),
        _ => Err(OpenError::InUse(
            "another process listens on this socket; stop it, or give another path".into(),
        )),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

struct Writer<P> {
    stream: Box<dyn Stream>,
    protocol: P,
}

/// Serves writers until the agent stops; then reads what they have written already, with a bound.
pub(super) fn serve<P: Protocol>(
    door: &ListeningSocket,
    protocol: impl Fn(&SourceOutput) -> P,
    mut output: SourceOutput,
    stop: &ShutdownSignal,
) {
    let mut writers: Vec<Writer<P>> = Vec::new();
    let mut taken = 0;
    let mut deadline = None;
    loop {
        if stop.is_triggered() && deadline.is_none() {
            deadline = Some(Instant::now() + stream::LAST_READS);
        }
        let mut fds: Vec<_> = [door.as_fd(), stop.as_fd()]
            .into_iter()
            .chain(writers.iter().map(|writer| writer.stream.as_fd()))
            .map(PollFd::new)
            .collect();
        // A failing poll(2) means no memory: rest as for descriptors.
        let rested = poll(&mut fds, Some(Duration::ZERO)).is_err();
        let is_idle =
            |fds: &[PollFd<'_>]| !fds[0].is_ready() && !fds[2..].iter().any(PollFd::is_ready);
        match deadline {
            Some(deadline) if is_idle(&fds) || Instant::now() >= deadline => break,
            None if is_idle(&fds) && !rested => {
                output.flush();
                if poll(&mut fds, None).is_err() {
                    stop.wait(REST);
                }
            }
            _ => {}
        }
        let ready: Vec<_> = fds.iter().map(PollFd::is_ready).collect();
        let accepts = ready[0];
        let mut ready = ready[2..].iter();
        writers.retain_mut(|writer| {
            let is_ready = ready.next().copied().unwrap_or(false);
            !is_ready || writer.read(&mut output, &mut taken)
        });
        if accepts && descriptors::are_scarce(door) {
            output.failed("too many writers; raise the limit of open files (LimitNOFILE)");
            // The waiting writer keeps the loop from ever being idle.
            output.flush();
            stop.wait(REST);
        } else if accepts {
            match door.accept() {
                Ok(stream) => {
                    output.worked();
                    writers.push(Writer {
                        stream,
                        protocol: protocol(&output),
                    });
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    output.failed(&format!("can't accept a writer: {error}"));
                    output.flush();
                    stop.wait(REST);
                }
            }
        }
    }
    // What is written between the last look and the end would be lost, and its writer none the wiser.
    if door.close().is_ok() {
        while let Ok(stream) = door.accept() {
            let protocol = protocol(&output);
            writers.push(Writer { stream, protocol });
        }
    }
    for mut writer in writers {
        if writer.stream.refuse_more().is_ok() {
            while let Ok(1..) = writer.protocol.read(&mut *writer.stream, &mut output) {}
        }
        writer.protocol.cut_off(&mut output);
    }
}

impl<P: Protocol> Writer<P> {
    /// Reads what is there. False when the writer has gone. `taken` is the memory of all writers' unfinished events.
    fn read(&mut self, output: &mut SourceOutput, taken: &mut usize) -> bool {
        let most = LARGE_EVENTS.saturating_mul(output.max_event());
        let mut own = self.protocol.framer().surplus();
        for _ in 0..TURN {
            if own > 0 && *taken > most {
                self.protocol.framer().give_up();
            }
            let read = self.protocol.read(&mut *self.stream, output);
            *taken -= own;
            own = self.protocol.framer().surplus();
            *taken += own;
            match read {
                Ok(1..) => {}
                Err(error) if is_passing(&error) => break,
                // Reset by its writer: what came before counts.
                Ok(0) | Err(_) => {
                    self.protocol.closed(output);
                    *taken -= own;
                    return false;
                }
            }
        }
        let framer = self.protocol.framer();
        framer.release();
        *taken = *taken - own + framer.surplus();
        true
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}
