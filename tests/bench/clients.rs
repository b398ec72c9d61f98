//! What writes to the programs: HTTP clients that post one event per request as MinIO does, a fluent client, and
//! writers of streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::events;
use crate::packed;
use crate::process::Process;
use crate::setup::Setup;

/// How many HTTP connections there are at a time.
pub(crate) const CONNECTIONS: usize = 8;

/// How long a program may take to listen, read or answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One HTTP connection, with or without TLS.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    answer: [u8; 4096],
}

impl Client {
    /// Connects as soon as the program listens.
    pub(crate) fn connect(address: SocketAddr, program: &Process) -> io::Result<Self> {
        Ok(Client::over(tcp(address, program)?))
    }
}

impl<S: Read + Write> Client<S> {
    fn over(stream: S) -> Self {
        Client {
            stream,
            answer: [0; 4096],
        }
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

/// Requests for the events up to this number, with `each` of them in a request.
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

/// Posts all requests over several connections, as fast as they are answered; a refused request is an error. With the
/// program's certificate, over TLS.
pub(crate) fn flood(
    address: SocketAddr,
    requests: &[Vec<u8>],
    certificate: Option<&str>,
    program: &Process,
) -> io::Result<()> {
    let parts = requests.chunks(requests.len().div_ceil(CONNECTIONS));
    let flooded = in_parallel(parts, |part| {
        let stream = tcp(address, program)?;
        match certificate {
            None => post_all(Client::over(stream), part),
            Some(certificate) => post_all(Client::over(secure(stream, certificate)?), part),
        }
    });
    flooded.map(drop)
}

fn post_all(mut client: Client<impl Read + Write>, requests: &[Vec<u8>]) -> io::Result<()> {
    for request in requests {
        if !client.post(request)? {
            return Err(io::Error::other("a request was refused"));
        }
    }
    Ok(())
}

fn tcp(address: SocketAddr, program: &Process) -> io::Result<TcpStream> {
    let stream = retry(|| TcpStream::connect(address), program)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn secure(
    stream: TcpStream,
    certificate: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes());
    let added = certificate.map(|certificate| roots.add(certificate));
    added.map_err(io::Error::other)?.map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = Arc::new(config.with_no_client_auth());
    let name = "127.0.0.1".try_into().map_err(io::Error::other)?;
    let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, stream))
}

/// How many events a message of the fluent protocol has.
const PACKED_EVENTS: u64 = 1_000;

/// All events up to this number as PackedForward messages of the same length, each of which wants an acknowledgement.
pub(crate) fn packed_forward(events: u64) -> io::Result<Vec<Vec<u8>>> {
    (0..events)
        .step_by(PACKED_EVENTS as usize)
        .map(|first| {
            let (mut line, mut entries) = (Vec::new(), Vec::new());
            for number in first..events.min(first + PACKED_EVENTS) {
                line.clear();
                events::append(number, &mut line);
                packed::append(&line, &mut entries)?;
            }
            let length = (entries.len() as u32).to_be_bytes();
            let chunk = format!("{first:08}");
            let option = [b"\x81\xa5chunk\xa8", chunk.as_bytes()].concat();
            Ok([b"\x93\xa3log\xc6", &length[..], &entries, &option].concat())
        })
        .collect()
}

/// Sends the messages, each once the previous one is acknowledged.
pub(crate) fn forward(
    address: SocketAddr,
    messages: &[Vec<u8>],
    program: &Process,
) -> io::Result<()> {
    let mut stream = tcp(address, program)?;
    for message in messages {
        stream.write_all(message)?;
        // {"ack": …} with a name of eight letters.
        stream.read_exact(&mut [0; 14])?;
    }
    Ok(())
}

/// Connects to a program's socket as soon as it listens.
pub(crate) fn connect(socket: &Path, program: &Process) -> io::Result<UnixStream> {
    let stream = retry(|| UnixStream::connect(socket), program)?;
    // If a program stops reading, this is an error, not a benchmark that hangs.
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

/// Runs the work for each of these, in a thread of its own.
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

/// Tries until it succeeds, or the program has ended.
fn retry<T>(mut attempt: impl FnMut() -> io::Result<T>, program: &Process) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(_) if start.elapsed() < PATIENCE && program.is_alive() => {
                // Nothing tells when it listens.
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}
