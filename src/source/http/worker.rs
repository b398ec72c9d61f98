//! A thread that serves connections: the one that it was started for, and then those that have parked.

use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;

use super::answer::Answer;
use super::connection::{self, Memory};
use super::connections::{Member, TurnedAway};
use super::lot::Next;
use super::parked::Parked;
use super::service::Service;
use crate::sys::thread;
use crate::telemetry::counters::Refusal;

/// A thread needs little: its buffers are on the heap. Handshakes need more.
const STACK: usize = 128 << 10;
const TLS_STACK: usize = 512 << 10;

/// A client that was let in.
pub(super) struct Newcomer {
    pub(super) member: Arc<Member>,
    pub(super) number: u64,
    pub(super) peer: IpAddr,
}

/// Starts a thread.
///
/// # Errors
/// No more threads.
pub(super) fn start(service: &Arc<Service>, newcomer: Option<Newcomer>) -> io::Result<()> {
    let service = Arc::clone(service);
    let is_tls = service.tls.is_some();
    let stack = if is_tls { TLS_STACK } else { STACK };
    thread::spawn_small("http", stack, move || run(&service, newcomer)).map(drop)
}

fn run(service: &Arc<Service>, newcomer: Option<Newcomer>) {
    let mut memory = Memory::new(service);
    if let Some(Newcomer {
        member,
        number,
        peer,
    }) = newcomer
    {
        service.output.worked();
        let parked = connection::serve(member, number, peer, service, &mut memory);
        if !leave(service, number, parked) {
            return;
        }
    }
    loop {
        match service.lot.next(&service.stop) {
            Next::Serve { item, is_last } => {
                let number = item.number;
                // Another thread only then: the number of threads that wait for a place must not keep growing.
                let is_let_in = !item.has_ended() && let_in(service, &item);
                if is_last {
                    // If no more threads can be started, this one is back soon.
                    let _ = start(service, None);
                }
                let parked = match is_let_in {
                    true => connection::resume(item, service, &mut memory),
                    false => None,
                };
                leave(service, number, parked);
            }
            Next::Close(expired) => {
                for (number, _) in expired {
                    service.connections.close(number);
                }
            }
            Next::End => return,
        }
    }
}

/// A connection is to wait, or has ended.
fn leave(service: &Service, number: u64, parked: Option<Parked>) -> bool {
    let is_parked = parked.is_some_and(|parked| service.lot.park(number, parked).is_none());
    if !is_parked {
        service.connections.close(number);
    }
    is_parked
}

/// A client that has waited wants a place among those that are served.
fn let_in(service: &Service, parked: &Parked) -> bool {
    let admitted = service.connections.resume(parked.number);
    match admitted {
        Ok(Some(displaced)) => service.output.refused(Refusal::Displaced, displaced),
        Ok(None) => {}
        Err(why) => turn_away(service, parked.socket.stream(), parked.peer, why),
    }
    admitted.is_ok()
}

/// A client beyond the limit gets an answer if that needs no waiting.
pub(super) fn turn_away(service: &Service, mut stream: &TcpStream, peer: IpAddr, why: TurnedAway) {
    let answer = match why {
        TurnedAway::Full => Answer::TooManyConnections,
        TurnedAway::PeerFull => Answer::TooManyOfPeer,
    };
    if let Some(reason) = answer.refusal() {
        service.output.refused(reason, peer);
    }
    if service.tls.is_some() {
        return;
    }
    let mut bytes = Vec::new();
    answer.write(false, false, &mut bytes);
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
    }
}
