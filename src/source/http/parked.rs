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

impl AsFd for Parked {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.stream().as_fd()
    }
}
