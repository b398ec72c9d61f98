//! A thread that serves connections: the one that it was started for, and then those that wait without a thread.

use std::io::{self, Write as _};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;

use super::answer::Answer;
use super::client::Waiting;
use super::connection::{self, Memory};
use super::service::Service;
use crate::sys::thread;
use crate::telemetry::counters::Refusal;

/// A thread needs little: its buffers are on the heap. Handshakes need more.
const STACK: usize = 128 << 10;
const TLS_STACK: usize = 512 << 10;

/// Starts a thread.
///
/// # Errors
/// No more threads.
pub(super) fn start(service: &Arc<Service>, newcomer: Option<Waiting>) -> io::Result<()> {
    let of_thread = Arc::clone(service);
    let is_tls = service.settings.listen.tls.is_some();
    let stack = if is_tls { TLS_STACK } else { STACK };
    service.lot.begin();
    let run = move || run(&of_thread, newcomer);
    let started = thread::spawn_small("http", stack, run);
    if started.is_err() {
        service.lot.end();
    }
    started
}

fn run(service: &Arc<Service>, newcomer: Option<Waiting>) {
    let mut memory = Memory::new(service);
    let mut may_wait = true;
    if let Some(newcomer) = newcomer {
        service.output.worked();
        may_wait = serve(service, newcomer, &mut memory);
    }
    while let Some(waiting) = service.lot.next(may_wait, &service.stop) {
        may_wait = true;
        let is_let_in = !waiting.has_ended() && let_in(service, &waiting);
        let is_needed = service.lot.placed();
        if !is_let_in {
            service.connections.close(waiting.client.number);
            continue;
        }
        if is_needed {
            // If no more threads can be started, this one is back soon.
            let _ = start(service, None);
        }
        serve(service, waiting, &mut memory);
    }
}

/// Serves a client until its connection is to wait without a thread. False if it has ended instead.
fn serve<'a>(service: &'a Service, waiting: Waiting, memory: &mut Memory<'a>) -> bool {
    let number = waiting.client.number;
    let waiting = connection::serve(waiting, service, memory);
    let is_parked = waiting.is_some_and(|waiting| service.lot.park(number, waiting));
    if !is_parked {
        service.connections.close(number);
    }
    is_parked
}

/// A client that has waited wants a place among those that are served.
fn let_in(service: &Service, waiting: &Waiting) -> bool {
    let peer = waiting.client.peer;
    let admitted = service.connections.resume(waiting.client.number);
    match admitted {
        Ok(ended) => service.displaced(ended),
        Err(refusal) => turn_away(service, waiting.socket.stream(), peer, refusal),
    }
    admitted.is_ok()
}

/// A client beyond the limit gets an answer if that needs no waiting.
pub(super) fn turn_away(service: &Service, mut stream: &TcpStream, peer: IpAddr, refusal: Refusal) {
    service.refused(refusal, peer);
    if service.settings.listen.tls.is_some() {
        return;
    }
    let mut bytes = Vec::new();
    Answer::Refused(refusal).write(false, false, &mut bytes);
    if stream.set_nonblocking(true).is_ok() {
        let _ = stream.write(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
    }
}
