//! An address where connecting never ends, as with a firewall that drops packets.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A listener whose backlog is full and which never accepts: the kernel leaves further connection attempts unanswered.
///
/// (For a server that accepts connections but says nothing, not even in a TLS handshake, any `TcpListener` will do.)
pub(crate) struct BlackHole {
    listener: TcpListener,
    /// The connections that fill the backlog.
    _waiting: Vec<TcpStream>,
}

impl BlackHole {
    /// Binds a port and fills the backlog.
    pub(crate) fn start() -> Self {
        Self::of(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Makes one from a listener.
    pub(super) fn of(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        // SAFETY: the descriptor is open. A second listen() only sets the length of the backlog anew.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
        let mut waiting = Vec::new();
        while let Ok(socket) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(socket);
        }
        Self {
            listener,
            _waiting: waiting,
        }
    }

    /// The address that can't be connected to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// `http://ADDRESS/services/collector/raw`
    pub(crate) fn url(&self) -> String {
        format!("http://{}/services/collector/raw", self.address())
    }
}
