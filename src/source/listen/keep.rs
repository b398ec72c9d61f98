//! Keeps a unix socket's file where clients look for it.

use std::net::IpAddr;
use std::time::Duration;

use super::{ListeningSocket, Protocol, REST, SOCKET, Server};
use crate::source::output::SourceOutput;
use crate::sys::epoll::Interest;

/// How often to look whether it is still there.
const CHECK: Duration = Duration::from_secs(2);

impl<P: Protocol, F: Fn(&SourceOutput, Option<IpAddr>) -> P> Server<'_, P, F> {
    /// When to look for it again, if there is one.
    pub(super) fn next_file_check(&self) -> Option<Duration> {
        matches!(self.socket, ListeningSocket::Unix(_)).then_some(self.next_file_check)
    }

    /// Makes the socket's file again if it is gone: without it, no client could connect any more.
    pub(super) fn keep_file(&mut self) {
        if self.clock.now < self.next_file_check {
            return;
        }
        self.next_file_check = self.clock.now + CHECK;
        if !self.socket.is_lost() {
            return;
        }
        // Those who have connected already would be lost with the socket.
        if !self.accept_all() {
            self.next_file_check = self.clock.now + REST;
            return;
        }
        let taken = self.socket.take_again().and_then(|()| {
            let watched = self.epoll.add(&*self.socket, SOCKET, Interest::Read);
            watched.map_err(|error| error.to_string())
        });
        match taken {
            Ok(()) => {
                self.output.failed("the socket's file was removed");
                self.output.worked();
            }
            Err(why) => {
                let why = format!("the socket's file was removed: {why}");
                self.output.failed(&why);
            }
        }
    }
}
