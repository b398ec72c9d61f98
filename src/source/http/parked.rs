//! What is left of a connection that has no thread.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::transport::Socket;

/// A connection that waits for its next request without a thread.
pub(super) struct Parked {
    pub(super) number: u64,
    pub(super) peer: IpAddr,
    pub(super) socket: Socket,
    pub(super) is_trusted: bool,
}

impl Parked {
    /// Whether its client has closed it, or it was ended, when there is something to read: then no place is needed for
    /// it, and nobody is refused.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.socket.stream().peek(&mut [0]), Ok(1..))
    }
}

impl AsFd for Parked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.stream().as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::source::http::connections::Member;

    #[test]
    fn one_that_was_closed_has_ended_when_all_of_it_was_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for (sent, has_ended) in [("", true), ("POST /", false)] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, peer) = listener.accept().unwrap();
            client.write_all(sent.as_bytes()).unwrap();
            drop(client);
            let parked = Parked {
                number: 0,
                peer: peer.ip(),
                socket: Socket::new(Arc::new(Member::new(stream)), Duration::from_secs(1)).unwrap(),
                is_trusted: false,
            };
            assert_eq!(parked.has_ended(), has_ended, "{sent:?}");
        }
    }
}
