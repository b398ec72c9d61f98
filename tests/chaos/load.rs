//! S3 servers that write numbered events endlessly, through a socket, a file and a webhook at once.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::support::{Client, eventually};

use super::books::event;

/// The writer through a socket, which never waits: what finds no room is dropped.
pub(super) const SOCKET: usize = 0;
/// The writer to a file, which is its own buffer.
pub(super) const LOG: usize = 1;
/// The client of the `http:` source, which learns what was taken.
pub(super) const CLIENT: usize = 2;

/// The servers. They end when this is dropped.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Locked by each server while it writes, so that they can be paused between two events.
    turn: RwLock<()>,
    stop: AtomicBool,
    written: Mutex<Written>,
}

/// What was written so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    /// The events of the first two.
    pub(super) events: [usize; 2],
    /// What the client was told of each of its events.
    pub(super) told: Vec<Told>,
}

/// What the client of the `http:` source was told of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Taken,
    Busy,
    /// The connection broke.
    Nothing,
}

/// Where the servers write.
pub(super) struct Places {
    pub(super) socket: PathBuf,
    pub(super) log: PathBuf,
    pub(super) http: SocketAddr,
}

impl Load {
    /// Begins to write, with this many events at a time to the socket.
    pub(super) fn start(places: &Places, burst: usize) -> Self {
        let shared = Arc::new(Shared::default());
        eventually("the agent's socket", || {
            UnixStream::connect(&places.socket).ok()
        });
        drop(Client::connect(places.http));
        let (socket, log) = (places.socket.clone(), places.log.clone());
        Self {
            threads: vec![
                write(&shared, to_socket(socket, burst)),
                write(&shared, to_log(log)),
                write(&shared, to_agent(places.http)),
            ],
            shared,
        }
    }

    /// Pauses all servers for as long as the guard lives.
    pub(super) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.shared.turn.write().unwrap()
    }

    /// Stops the servers.
    pub(super) fn stop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }

    /// What they have written so far.
    pub(super) fn written(&self) -> Written {
        self.shared.written.lock().unwrap().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Lets a server write a few events at a time, until the end.
fn write(
    shared: &Arc<Shared>,
    mut burst: impl FnMut(&Mutex<Written>) + Send + 'static,
) -> JoinHandle<()> {
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        while !shared.stop.load(SeqCst) {
            {
                let _turn = shared.turn.read().unwrap();
                burst(&shared.written);
            }
            // The pace of the load.
            thread::sleep(Duration::from_millis(10));
        }
    })
}

/// Events that are lost with a connection still count as written.
fn to_socket(path: PathBuf, burst: usize) -> impl FnMut(&Mutex<Written>) {
    let mut socket = None;
    let mut next = 0;
    move |written| {
        if socket.is_none() {
            socket = UnixStream::connect(&path).ok();
        }
        // No agent is running.
        let Some(connected) = &mut socket else { return };
        let events = events(SOCKET, next, burst);
        if connected.write_all(events.as_bytes()).is_err() {
            socket = None;
        }
        next += burst;
        written.lock().unwrap().events[SOCKET] = next;
    }
}

fn to_log(path: PathBuf) -> impl FnMut(&Mutex<Written>) {
    let mut log = open(&path);
    let mut next = 0;
    move |written| {
        // As after a signal from logrotate.
        if !same(&path, &log) {
            log = open(&path);
        }
        log.write_all(events(LOG, next, 10).as_bytes()).unwrap();
        next += 10;
        written.lock().unwrap().events[LOG] = next;
    }
}

fn to_agent(address: SocketAddr) -> impl FnMut(&Mutex<Written>) {
    let mut client = None;
    let mut next = 0;
    move |written| {
        if client.is_none() {
            client = TcpStream::connect(address).ok().map(Client::over);
        }
        let Some(connection) = &mut client else {
            return;
        };
        let told = match connection.post(&events(CLIENT, next, 5)) {
            Ok((200, _)) => Told::Taken,
            Ok((503, _)) => Told::Busy,
            Ok(other) => panic!("answered {other:?}"),
            Err(_) => {
                client = None;
                Told::Nothing
            }
        };
        next += 5;
        written.lock().unwrap().told.resize(next, told);
    }
}

fn events(source: usize, first: usize, count: usize) -> String {
    (first..first + count)
        .map(|number| event((source, number), 100))
        .collect()
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap()
}

fn same(path: &Path, file: &File) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.ino() == file.metadata().unwrap().ino())
}
