//! A webhook on loopback that takes everything and keeps it: reads each body in large pieces into
//! memory that was touched beforehand, answers 200, and looks at nothing until the run is over.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// The answer to every request, as Splunk's collector gives it.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 27\r\n\r\n{\"text\":\"Success\",\"code\":0}";

/// Room for one body; the forwarders post at most 1 MiB.
const ROOM: usize = 1 << 20;

/// A sink that listens until the process ends.
pub(crate) struct Sink {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

/// What has arrived, and where the next body goes.
#[derive(Default)]
struct Kept {
    bodies: Vec<Vec<u8>>,
    /// The size of the bodies as lines.
    bytes: u64,
    spare: Vec<Vec<u8>>,
}

impl Sink {
    /// Listens, with room for so many bytes in bodies of 1 MiB; past that it still works, but
    /// allocates.
    pub(crate) fn start(bytes: u64) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        // Ones, not zeros: memory that was never written is given page by page, while the clock
        // runs.
        let spare = (0..=bytes / ROOM as u64 + 1)
            .map(|_| vec![1; ROOM])
            .collect();
        let kept = Arc::new(Mutex::new(Kept {
            spare,
            ..Kept::default()
        }));
        let of_listener = Arc::clone(&kept);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let kept = Arc::clone(&of_listener);
                // A connection that breaks loses its unfinished body, which the check then misses.
                thread::spawn(move || serve(connection, &kept));
            }
        });
        Ok(Self { address, kept })
    }

    /// The address to post to.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/services/collector/raw", self.address)
    }

    /// Waits until so many bytes have arrived, or nothing more comes.
    pub(crate) fn wait_for(&self, bytes: u64) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let (mut last, mut since) = (0, Instant::now());
        while last < bytes && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
            let now = lock(&self.kept).bytes;
            if now > last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    /// Hands over the bodies that arrived, in their order, for looking at, and makes room for the
    /// next run.
    pub(crate) fn empty<T>(&self, look: impl FnOnce(&[Vec<u8>]) -> T) -> T {
        let mut kept = lock(&self.kept);
        kept.bytes = 0;
        let bodies = mem::take(&mut kept.bodies);
        let seen = look(&bodies);
        kept.spare.extend(bodies);
        seen
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().expect("no holder panics")
}

/// Answers requests until the peer closes.
fn serve(connection: TcpStream, kept: &Mutex<Kept>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(64 * 1024, connection);
    while let Some(length) = read_head(&mut input)? {
        let mut body = lock(kept).spare.pop().unwrap_or_default();
        match length {
            Length::Known(length) => {
                body.resize(length, 0);
                input.read_exact(&mut body)?;
            }
            Length::Chunked => {
                body.clear();
                read_chunks(&mut input, &mut body)?;
            }
        }
        {
            let mut kept = lock(kept);
            // A body may lack its last newline; in the file it has one.
            kept.bytes += body.len() as u64 + u64::from(!body.ends_with(b"\n"));
            kept.bodies.push(body);
        }
        input.get_mut().write_all(ANSWER)?;
    }
    Ok(())
}

/// How the end of a body is known.
enum Length {
    Known(usize),
    Chunked,
}

/// Reads a request's head; `None` where the peer has closed.
fn read_head(input: &mut impl BufRead) -> io::Result<Option<Length>> {
    let mut length = Length::Known(0);
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            return Ok(Some(length));
        }
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = Length::Known(value.trim().parse().map_err(io::Error::other)?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            length = Length::Chunked;
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
