//! What writes to the programs: HTTP clients that post an event each as MinIO does, and writers of streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::events;
use crate::process::Process;
use crate::setup::Setup;

/// HTTP connections at a time.
pub(crate) const CONNECTIONS: usize = 8;

/// How long a program may take to listen, read or answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One HTTP connection.
pub(crate) struct Client {
    stream: TcpStream,
    answer: [u8; 4096],
}

impl Client {
    /// Connects as soon as the program listens.
    pub(crate) fn connect(address: SocketAddr, program: &Process) -> io::Result<Self> {
        let stream = retry(|| TcpStream::connect(address), program)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            answer: [0; 4096],
        })
    }

    /// Posts, and returns whether the answer is a 200.
    pub(crate) fn post(&mut self, request: &[u8]) -> io::Result<bool> {
        self.stream.write_all(request)?;
        match self.stream.read(&mut self.answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => Ok(self.answer[..length].starts_with(b"HTTP/1.1 20")),
        }
    }
}

/// One request for each of the events up to this number.
pub(crate) fn requests(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(request).collect()
}

/// Requests for the events up to this number, so many in each.
pub(crate) fn batches(count: u64, each: u64) -> Vec<Vec<u8>> {
    let starts = (0..count).step_by(each as usize);
    starts
        .map(|from| post(from..count.min(from + each)))
        .collect()
}

/// The request for one event.
pub(crate) fn request(number: u64) -> Vec<u8> {
    post(number..number + 1)
}

fn post(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let mut event = Vec::new();
    numbers.for_each(|number| events::append(number, &mut event));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: MinIO\r\nContent-Type: application/json\r\n\
         Accept-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        event.len()
    );
    [head.as_bytes(), &event].concat()
}

/// Posts all requests over several connections, as fast as they are answered; one that is refused is an error.
pub(crate) fn flood(
    address: SocketAddr,
    requests: &[Vec<u8>],
    program: &Process,
) -> io::Result<()> {
    let parts = requests.chunks(requests.len().div_ceil(CONNECTIONS));
    in_parallel(parts, |part| {
        let mut client = Client::connect(address, program)?;
        for request in part {
            if !client.post(request)? {
                return Err(io::Error::other("a request was refused"));
            }
        }
        Ok(())
    })
    .map(drop)
}

/// Connects to a program's socket as soon as it listens.
pub(crate) fn connect(socket: &Path, program: &Process) -> io::Result<UnixStream> {
    let stream = retry(|| UnixStream::connect(socket), program)?;
    // A program that stops reading is an error, not a benchmark that hangs.
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Writes all events in pieces, as a program does; `io::copy` would hand over the file's pages.
pub(crate) fn stream(setup: &Setup, mut to: impl Write) -> io::Result<()> {
    let mut file = File::open(setup.file())?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length])?;
    }
}

/// Runs the work for each of these, each in a thread.
pub(crate) fn in_parallel<T: Send, R: Send>(
    items: impl Iterator<Item = T>,
    work: impl Fn(T) -> io::Result<R> + Sync,
) -> io::Result<Vec<R>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a client panicked"))
            .collect()
    })
}

/// Tries until it can, or the program has ended.
fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>, program: &Process) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < PATIENCE && program.is_alive() => {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}
