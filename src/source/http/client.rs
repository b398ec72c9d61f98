//! Who is at a connection's other end, and a connection that has no thread.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use super::transport::Socket;

/// Who is at a connection's other end.
pub(super) struct Client {
    pub(super) number: u64,
    pub(super) peer: IpAddr,
    /// It has shown a valid token or certificate.
    pub(super) is_trusted: bool,
    /// A request was answered.
    pub(super) is_served: bool,
}

/// A connection without a thread: a new one, or one that waits for its next request.
pub(super) struct Waiting {
    pub(super) client: Client,
    pub(super) socket: Socket,
}

impl Waiting {
    /// Whether its client has closed it, or it was ended, when there is something to read: then no place is needed for
    /// it, and nobody is refused.
    pub(super) fn has_ended(&self) -> bool {
        !matches!(self.socket.stream().peek(&mut [0]), Ok(1..))
    }
}

impl AsFd for Waiting {
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
            let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            stream.write_all(sent.as_bytes()).unwrap();
            drop(stream);
            let member = Arc::new(Member::new(accepted));
            let client = Client {
                number: 0,
                peer: peer.ip(),
                is_trusted: false,
                is_served: true,
            };
            let socket = Socket::new(member, Duration::from_secs(1)).unwrap();
            let waiting = Waiting { client, socket };
            assert_eq!(waiting.has_ended(), has_ended, "{sent:?}");
        }
    }
}
