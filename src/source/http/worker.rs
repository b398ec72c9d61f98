//! A thread that serves connections: the one that it was started for, and then those that have parked.

use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;

use super::answer::Answer;
use super::connection::{self, Memory, Parked};
use super::connections::{BURST, Member, TurnedAway};
use super::lot::Next;
use super::service::Service;
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
    thread::Builder::new()
        .name("http".into())
        .stack_size(if is_tls { TLS_STACK } else { STACK })
        .spawn(move || run(&service, newcomer))
        .map(drop)
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
                if is_last {
                    // If there are no more threads, this one is back soon.
                    let _ = start(service, None);
                }
                let number = item.number;
                let parked = resume(service, item, &mut memory);
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

fn resume<'a>(service: &'a Service, parked: Parked, memory: &mut Memory<'a>) -> Option<Parked> {
    match service.connections.resume(parked.number, BURST) {
        Ok(displaced) => {
            if let Some(displaced) = displaced {
                service.output.refused(Refusal::Displaced, displaced);
            }
            connection::resume(parked, service, memory)
        }
        Err(turned_away) => {
            turn_away(service, parked.socket.stream(), parked.peer, turned_away);
            None
        }
    }
}

/// One client too many gets an answer if that needs no waiting.
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
