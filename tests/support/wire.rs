//! The network between the agent and the webhook: a relay that can fail in every way in which a network does, whatever
//! the protocol.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::black_hole::BlackHole;
use super::webhook::bind;

/// What is wrong with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Connections are refused.
    Refuse,
    /// Connecting never ends.
    BlackHole,
    /// Connections are accepted, and nothing is passed on.
    Stall,
    /// Each connection ends when this many bytes have passed to the webhook.
    CutToWebhook(usize),
    /// Each connection ends when this many bytes have passed to the agent.
    CutToAgent(usize),
    /// One byte at a time is passed to the agent, with this pause after each.
    Drip(Duration),
}

/// The network. It ends when it is dropped.
pub(crate) struct Wire {
    address: SocketAddr,
    webhook: SocketAddr,
    open: Arc<Mutex<Open>>,
    entry: Entry,
}

/// The connections that are open now, so that they can be cut.
#[derive(Default)]
struct Open {
    /// How often they were cut: a connection that was accepted before the last cut must not be opened any more.
    age: usize,
    sockets: Vec<TcpStream>,
}

/// Who is at the address where the agent connects.
enum Entry {
    Nobody,
    BlackHole(BlackHole),
    /// The listener, disguised as a stream because a stream can be shut down, which ends the thread's accept().
    Relay(TcpStream, JoinHandle<()>),
}

impl Wire {
    /// From a free port of this loopback address to the webhook.
    pub(crate) fn to(webhook: SocketAddr, from: impl Into<IpAddr>) -> Self {
        let listener = bind((from, 0).into());
        let mut wire = Self {
            address: listener.local_addr().unwrap(),
            webhook,
            open: Arc::default(),
            entry: Entry::Nobody,
        };
        drop(listener);
        wire.set(Fault::None);
        wire
    }

    /// Where the agent connects.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and applies this fault from now on.
    pub(crate) fn set(&mut self, fault: Fault) {
        match std::mem::replace(&mut self.entry, Entry::Nobody) {
            Entry::Relay(listener, thread) => {
                let _ = listener.shutdown(Shutdown::Both);
                drop(listener);
                let _ = thread.join();
            }
            Entry::BlackHole(hole) => drop(hole),
            Entry::Nobody => {}
        }
        self.cut();
        self.entry = match fault {
            Fault::Refuse => Entry::Nobody,
            Fault::BlackHole => Entry::BlackHole(BlackHole::of(bind(self.address))),
            _ => self.relay(fault),
        };
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        let mut open = self.open.lock().unwrap();
        open.age += 1;
        for socket in open.sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn relay(&self, fault: Fault) -> Entry {
        let listener = bind(self.address);
        let handle = OwnedFd::from(listener.try_clone().unwrap()).into();
        let (webhook, open) = (self.webhook, Arc::clone(&self.open));
        let thread = thread::spawn(move || {
            while let Ok((agent, _)) = listener.accept() {
                let age = open.lock().unwrap().age;
                connect(agent, webhook, fault, age, &open);
            }
        });
        Entry::Relay(handle, thread)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.set(Fault::Refuse);
    }
}

fn connect(
    agent: TcpStream,
    webhook: SocketAddr,
    fault: Fault,
    age: usize,
    open: &Arc<Mutex<Open>>,
) {
    // An unavailable webhook looks like one that hangs up.
    let Some(server) = (match fault {
        Fault::Stall => None,
        _ => TcpStream::connect(webhook).ok(),
    }) else {
        if fault == Fault::Stall {
            open.lock().unwrap().sockets.push(agent);
        }
        return;
    };
    for socket in [&agent, &server] {
        let _ = socket.set_nodelay(true);
    }
    {
        let mut open = open.lock().unwrap();
        if open.age != age {
            return;
        }
        // Connections whose peer is gone are of no use any more.
        open.sockets.retain(|socket| socket.peer_addr().is_ok());
        open.sockets
            .extend([agent.try_clone().unwrap(), server.try_clone().unwrap()]);
    }
    let copies = [&agent, &server].map(|socket| socket.try_clone().unwrap());
    let (up, down) = match fault {
        Fault::CutToWebhook(bytes) => (Some(bytes), None),
        Fault::CutToAgent(bytes) => (None, Some(bytes)),
        _ => (None, None),
    };
    let pause = match fault {
        Fault::Drip(pause) => Some(pause),
        _ => None,
    };
    let [agent_too, server_too] = copies;
    thread::spawn(move || pass(&agent, &server, up, None));
    thread::spawn(move || pass(&server_too, &agent_too, down, pause));
}

/// Passes on what comes, until either side has ended or `limit` bytes have passed; then both are ended.
fn pass(mut from: &TcpStream, mut to: &TcpStream, limit: Option<usize>, pause: Option<Duration>) {
    let mut left = limit.unwrap_or(usize::MAX);
    let mut buffer = vec![0; if pause.is_some() { 1 } else { 64 << 10 }];
    while left > 0 {
        let Ok(count @ 1..) = from.read(&mut buffer) else {
            break;
        };
        let count = count.min(left);
        left -= count;
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if let Some(pause) = pause {
            thread::sleep(pause);
        }
    }
    for socket in [from, to] {
        let _ = socket.shutdown(Shutdown::Both);
    }
}
