//! Sockets that listen, and the connections that they accept.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::source::spec::OpenError;
use crate::source::tls::{TlsServer, TlsStream};
use crate::source::unix;
use crate::sys::poll::{PollFd, poll};
use crate::sys::tcp;

/// When an idle client's host is asked whether it is still there: four times in two minutes. After that it is not.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// A client's connection. It never waits.
pub(crate) trait Stream: Read + Write {
    /// The socket.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Whether bytes to set up the connection were sent, but it is not set up yet.
    fn is_handshaking(&self) -> bool {
        false
    }
}

impl Stream for UnixStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Stream for TcpStream {
    fn socket(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> BorrowedFd<'_> {
        self.get_ref().as_fd()
    }

    fn is_handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }
}

impl AsFd for dyn Stream + '_ {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket()
    }
}

/// A socket that listens.
pub(crate) enum ListeningSocket {
    /// By a path.
    Unix(SocketFile),
    /// By an address, with TLS if there is a server for that.
    Tcp(TcpListener, Option<Arc<TlsServer>>),
}

/// A unix socket, whose file goes with it.
pub(crate) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    mode: u32,
    /// The socket file's identity, so that no successor's file is removed.
    inode: u64,
}

impl SocketFile {
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode)
    }
}

impl ListeningSocket {
    /// Replaces a socket file that nobody listens on. The new file has this mode from the moment it exists.
    pub(crate) fn unix(path: &Path, mode: u32) -> Result<Self, OpenError> {
        let bound = match bind(path, mode) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path)?;
                bind(path, mode)
            }
            bound => bound,
        };
        let (listener, inode) = bound.map_err(OpenError::listening)?;
        let path = path.into();
        Ok(ListeningSocket::Unix(SocketFile {
            listener,
            path,
            mode,
            inode,
        }))
    }

    /// Takes an address of this host, for clients inside TLS if there is a server for that.
    pub(crate) fn tcp(address: SocketAddr, tls: Option<Arc<TlsServer>>) -> Result<Self, OpenError> {
        if let Some(tls) = &tls {
            tls.check().map_err(OpenError::Missing)?;
        }
        let listener = tcp::listen(address).map_err(OpenError::listening)?;
        Ok(ListeningSocket::Tcp(listener, tls))
    }

    /// Whether somebody has removed or replaced its file, so that no client finds it.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, ListeningSocket::Unix(file) if !file.is_there())
    }

    /// Takes its path again. Those who have connected should have been accepted before.
    ///
    /// # Errors
    /// Why it can't.
    pub(super) fn take_again(&mut self) -> Result<(), String> {
        if let ListeningSocket::Unix(file) = self {
            let taken = ListeningSocket::unix(&file.path, file.mode);
            let why = |error| match error {
                OpenError::Wrong(why) | OpenError::Missing(why) | OpenError::InUse(why) => why,
            };
            *self = taken.map_err(why)?;
        }
        Ok(())
    }

    /// Whether its clients are inside TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, ListeningSocket::Tcp(_, Some(_)))
    }

    /// Whether a client waits to be accepted.
    pub(super) fn has_waiting(&self) -> bool {
        let mut waiting = [PollFd::new(self.as_fd())];
        poll(&mut waiting, Some(Duration::ZERO)).is_ok() && waiting[0].is_ready()
    }

    /// Accepts a connection, with its client's address if that has one.
    pub(super) fn accept(&self) -> io::Result<(Box<dyn Stream>, Option<IpAddr>)> {
        match self {
            ListeningSocket::Unix(file) => {
                let (stream, _) = file.listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Box::new(stream), None))
            }
            ListeningSocket::Tcp(listener, tls) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                // One that was idle may wait for days; a peer that has vanished would keep its place for ever.
                SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
                let stream: Box<dyn Stream> = match tls {
                    Some(tls) => Box::new(tls.accept(stream)?),
                    None => Box::new(stream),
                };
                Ok((stream, Some(peer.ip())))
            }
        }
    }

    /// Refuses further connections, while those that wait can still be accepted. TCP has no such thing.
    pub(super) fn close(&self) -> io::Result<()> {
        match self {
            ListeningSocket::Unix(file) => SockRef::from(&file.listener).shutdown(Shutdown::Read),
            ListeningSocket::Tcp(..) => Err(ErrorKind::Unsupported.into()),
        }
    }
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            ListeningSocket::Unix(file) => file.listener.as_fd(),
            ListeningSocket::Tcp(listener, _) => listener.as_fd(),
        }
    }
}

/// A socket that listens, and the identity of its file. That gets the mode of its socket, minus what the umask removes:
/// so the socket's mode is set first. Nothing can fail once clients can connect: they would be lost.
fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, u64)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // SAFETY: the call takes two numbers, one of them an open descriptor.
    if unsafe { libc::fchmod(socket.as_raw_fd(), mode) } != 0 {
        return Err(io::Error::last_os_error());
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let inode = fs::set_permissions(path, Permissions::from_mode(mode))
        .and_then(|()| fs::symlink_metadata(path))
        .and_then(|found| socket.listen(tcp::BACKLOG).map(|()| found.ino()));
    match inode {
        Ok(inode) => Ok((OwnedFd::from(socket).into(), inode)),
        Err(error) => {
            let _ = fs::remove_file(path);
            Err(error)
        }
    }
}

/// Checks that there is nothing but a socket, if anything.
pub(crate) fn check_path(path: &Path) -> Result<(), OpenError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(OpenError::Wrong(
            "there is a file that is no socket; fix: name another path".into(),
        )),
        _ => Ok(()),
    }
}

fn remove_stale(path: &Path) -> Result<(), OpenError> {
    let missing = |error: io::Error| OpenError::Missing(format!("can't take the path: {error}"));
    check_path(path)?;
    match unix::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(missing)
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::NotFound
            ) =>
        {
            Err(missing(error))
        }
        _ => Err(OpenError::InUse(
            "another process listens on this socket; stop it, or give another path".into(),
        )),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_file_has_its_mode_and_goes_with_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.sock");
        for mode in [0o660, 0o600, 0o666, 0o777, 0] {
            let socket = ListeningSocket::unix(&path, mode).ok().unwrap();
            let found = fs::metadata(&path).unwrap().mode() & 0o7777;
            assert_eq!(found, mode, "{found:o}");
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.sock");
        drop(UnixListener::bind(&path).unwrap());
        let socket = ListeningSocket::unix(&path, 0o660).ok().unwrap();
        let second = ListeningSocket::unix(&path, 0o660).err().unwrap();
        assert!(matches!(second, OpenError::InUse(_)), "{second:?}");
        drop(socket);
    }

    /// Else peers that have vanished would keep their places for ever.
    #[test]
    fn a_client_over_tcp_is_asked_whether_it_is_there() {
        let socket = ListeningSocket::tcp(([127, 0, 0, 1], 0).into(), None);
        let Ok(ListeningSocket::Tcp(listener, tls)) = socket else {
            panic!("can't listen");
        };
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = ListeningSocket::Tcp(listener, tls).accept().unwrap();
        let fd = stream.socket();
        let stream = SockRef::from(&fd);
        let times = (stream.tcp_keepalive_time(), stream.tcp_keepalive_interval());
        let seconds = |time: io::Result<Duration>| time.unwrap().as_secs();
        assert_eq!((seconds(times.0), seconds(times.1)), (60, 15));
        assert_eq!(stream.tcp_keepalive_retries().unwrap(), 4);
        assert!(stream.keepalive().unwrap());
    }
}
