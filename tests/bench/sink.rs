//! A webhook on loopback that takes and keeps everything: reads each body in large pieces into memory that was touched
//! beforehand, answers 200, and looks at nothing until the run is over. With or without TLS.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::events;
use crate::process::Process;

/// The answer to every request, as Splunk's collector gives it.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 27\r\n\r\n{\"text\":\"Success\",\"code\":0}";

/// Room for one body; the forwarders post at most 1 MiB.
const ROOM: usize = 1 << 20;

/// A sink that listens until the process ends.
pub(crate) struct Sink {
    address: SocketAddr,
    /// Its certificate in PEM, if it speaks TLS.
    pub(crate) certificate: Option<String>,
    tls: Option<Arc<ServerConfig>>,
    kept: Arc<Mutex<Entry>>,
}

/// One request's body.
pub(crate) struct Arrival {
    pub(crate) body: Vec<u8>,
    /// When its last byte had been read.
    pub(crate) at: Instant,
}

/// What has arrived, and where the next body goes.
#[derive(Default)]
struct Entry {
    /// It takes nothing, and leaves no connection open.
    away: bool,
    /// How long an answer takes.
    answers_after: Duration,
    arrivals: Vec<Arrival>,
    /// The size of the bodies as lines.
    bytes: u64,
    spare: Vec<Vec<u8>>,
    /// How often each number has arrived, if events are counted instead of kept.
    tally: Vec<u32>,
}

impl Sink {
    /// Listens, with room for this many bytes in bodies of 1 MiB; beyond that it still works, but allocates.
    pub(crate) fn start(bytes: u64) -> io::Result<Self> {
        Self::new(bytes, None, Vec::new())
    }

    /// The same over TLS.
    pub(crate) fn start_tls(bytes: u64) -> io::Result<Self> {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::Pkcs8(own.signing_key.serialize_der().into());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .map_err(io::Error::other)?;
        let tls = Some((Arc::new(config), own.cert.pem()));
        Self::new(bytes, tls, Vec::new())
    }

    /// A sink that keeps no bodies, but counts how often each of these events arrives, in whole lines.
    pub(crate) fn start_counting(events: u64) -> io::Result<Self> {
        Self::new(0, None, vec![0; events as usize])
    }

    fn new(
        bytes: u64,
        tls: Option<(Arc<ServerConfig>, String)>,
        tally: Vec<u32>,
    ) -> io::Result<Self> {
        // Ones, not zeros: memory that was never written is handed out page by page while the clock runs.
        let spare = (0..=bytes / ROOM as u64 + 1)
            .map(|_| vec![1; ROOM])
            .collect();
        let kept = Entry {
            spare,
            tally,
            ..Entry::default()
        };
        let (tls, certificate) = tls.unzip();
        let sink = Self {
            address: free_address()?,
            certificate,
            tls,
            kept: Arc::new(Mutex::new(kept)),
        };
        sink.come_back()?;
        Ok(sink)
    }

    /// Closes its connections with the next request, and refuses new ones.
    pub(crate) fn go_away(&self) {
        lock(&self.kept).away = true;
        // To wake the listener, which then closes its socket.
        let _ = TcpStream::connect(self.address);
    }

    /// Answers each body only after this time.
    pub(crate) fn answer_after(&self, time: Duration) {
        lock(&self.kept).answers_after = time;
    }

    /// Listens again, at the same address.
    pub(crate) fn come_back(&self) -> io::Result<()> {
        lock(&self.kept).away = false;
        let listener = TcpListener::bind(self.address)?;
        let (kept, tls) = (Arc::clone(&self.kept), self.tls.clone());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if lock(&kept).away {
                    return;
                }
                let (kept, tls) = (Arc::clone(&kept), tls.clone());
                // A broken connection loses its unfinished body, which the check then notices.
                thread::spawn(move || accept(connection, tls, &kept));
            }
        });
        Ok(())
    }

    /// The address to post to.
    pub(crate) fn url(&self) -> String {
        let scheme = self.certificate.as_ref().map_or("http", |_| "https");
        format!("{scheme}://{}/services/collector/raw", self.address)
    }

    /// Waits until this many bytes have arrived, the sender has ended, or nothing more comes.
    pub(crate) fn wait_for(&self, bytes: u64, sender: &Process) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let (mut last, mut since) = (0, Instant::now());
        while last < bytes && since.elapsed() < PATIENCE && sender.is_alive() {
            thread::sleep(Duration::from_millis(1));
            let now = lock(&self.kept).bytes;
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Waits until nothing has arrived for two seconds.
    pub(crate) fn wait_until_quiet(&self) {
        let mut last = u64::MAX;
        while mem::replace(&mut last, lock(&self.kept).bytes) != last {
            thread::sleep(Duration::from_secs(2));
        }
    }

    /// Whether every counted event has arrived this often; counts from 0 again.
    pub(crate) fn counted(&self, times: u32) -> bool {
        let mut kept = lock(&self.kept);
        kept.bytes = 0;
        let all = kept.tally.iter().all(|count| *count == times);
        kept.tally.fill(0);
        all
    }

    /// How many lines arrived, where the last one of a body may lack its newline; makes room for the next run.
    pub(crate) fn take_lines(&self) -> u64 {
        let lines = |it: &Arrival| {
            let lines = it.body.split(|byte| *byte == b'\n');
            lines.filter(|line| !line.is_empty()).count() as u64
        };
        self.empty(|arrived| arrived.iter().map(lines).sum())
    }

    /// Passes what arrived, in order, to `look`, and makes room for the next run.
    pub(crate) fn empty<T>(&self, look: impl FnOnce(&[Arrival]) -> T) -> T {
        let mut kept = lock(&self.kept);
        kept.bytes = 0;
        let arrivals = mem::take(&mut kept.arrivals);
        let seen = look(&arrivals);
        kept.spare
            .extend(arrivals.into_iter().map(|arrival| arrival.body));
        seen
    }
}

impl Entry {
    fn count(&mut self, body: &[u8]) {
        for number in events::numbers(body) {
            if let Some(count) = self.tally.get_mut(number as usize) {
                *count += 1;
            }
        }
    }
}

/// An address of loopback that nobody listens at.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn lock(kept: &Mutex<Entry>) -> MutexGuard<'_, Entry> {
    kept.lock().expect("no holder panics")
}

fn accept(
    connection: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    kept: &Mutex<Entry>,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    match tls {
        None => serve(connection, kept),
        Some(config) => {
            let session = ServerConnection::new(config).map_err(io::Error::other)?;
            serve(StreamOwned::new(session, connection), kept)
        }
    }
}

/// Answers requests until the peer closes.
fn serve(connection: impl Read + Write, kept: &Mutex<Entry>) -> io::Result<()> {
    let mut input = BufReader::with_capacity(64 * 1024, connection);
    while let Some(head) = read_head(&mut input)? {
        if head.continues {
            input
                .get_mut()
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = lock(kept).spare.pop().unwrap_or_default();
        match head.length {
            Length::Known(length) => {
                body.resize(length, 0);
                input.read_exact(&mut body)?;
            }
            Length::Chunked => {
                body.clear();
                read_chunks(&mut input, &mut body)?;
            }
        }
        let delay = {
            let at = Instant::now();
            let mut kept = lock(kept);
            if kept.away {
                return Ok(());
            }
            // A body may lack its last newline, which it has in the file.
            kept.bytes += body.len() as u64 + u64::from(!body.ends_with(b"\n"));
            if kept.tally.is_empty() {
                kept.arrivals.push(Arrival { body, at });
            } else {
                kept.count(&body);
                kept.spare.push(body);
            }
            kept.answers_after
        };
        thread::sleep(delay);
        input.get_mut().write_all(ANSWER)?;
        input.get_mut().flush()?;
    }
    Ok(())
}

/// What is needed of a request's head.
struct Head {
    length: Length,
    /// The client waits for a sign to continue, as curl does with large bodies.
    continues: bool,
}

/// How the end of a body is known.
enum Length {
    Known(usize),
    Chunked,
}

/// Reads a request's head; `None` if the peer has closed.
fn read_head(input: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head {
        length: Length::Known(0),
        continues: false,
    };
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            head.length = Length::Known(value.trim().parse().map_err(io::Error::other)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.length = Length::Chunked;
        } else if name.eq_ignore_ascii_case("expect") {
            head.continues = true;
        }
    }
}

/// Reads a chunked body to its end; trailers are not expected.
fn read_chunks(input: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let mut line = String::new();
        input.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let end = body.len();
        body.resize(end + length, 0);
        input.read_exact(&mut body[end..])?;
        input.read_exact(&mut [0; 2])?; // the line end after every chunk, the empty last one too
        if length == 0 {
            return Ok(());
        }
    }
}
