//! What is no webhook at all: an address where connecting never ends, as with a firewall that drops packets, and a server
//! that speaks another protocol.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

/// A server that says this to everyone and hangs up.
pub(crate) fn server_that_says(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        while let Ok((mut socket, _)) = listener.accept() {
            let _ = socket.write_all(bytes);
            let _ = socket.shutdown(Shutdown::Write);
            // What was not read would make the close a reset.
            let _ = io::copy(&mut socket, &mut io::sink());
        }
    });
    address
}

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
