//! The `http:` source: one event a POST over eight connections, beside a bare loop that reads the
//! same requests and answers the same bytes; and how long clients wait for their answers.

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::Setup;
use crate::events;
use crate::process::{Process, Usage};
use crate::sink::{ANSWER, Sink};
use crate::table::{middle, sorted, target};
use crate::work::agent;

const CONNECTIONS: usize = 8;
/// Requests a second, all connections together, for the waiting times.
const RATE: u64 = 20_000;
const DURATION: Duration = Duration::from_secs(3);

/// The bare loop: what any server must do. A request comes in one piece, since a client sends the
/// next only when it has the answer.
pub(crate) fn floor(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::spawn(move || -> io::Result<()> {
            stream.set_nodelay(true)?;
            let mut request = [0; 32 << 10];
            while stream.read(&mut request)? > 0 {
                stream.write_all(ANSWER)?;
            }
            Ok(())
        });
    }
}

/// Measures and prints.
pub(crate) fn run(setup: &Setup, sink: &Sink, rounds: u64) -> io::Result<()> {
    let requests = requests(setup.events.min(100_000))?;
    println!(
        "http: {} POSTs of one event over {CONNECTIONS} connections, {rounds} rounds",
        requests.len()
    );
    let (mut floors, mut agents) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let address = free_address()?;
        let floor = start(floor_command(setup, address)?, address, |address| {
            flood(address, &requests)
        })?;
        let address = free_address()?;
        let ours = start(
            agent_command(setup, &sink.url(), address)?,
            address,
            |address| flood(address, &requests),
        )?;
        sink.empty(|_| ());
        let million = 1e6 / requests.len() as f64;
        floors.push(floor.cpu * million);
        agents.push(ours.cpu * million);
    }
    let ratio = middle(&sorted(
        agents.iter().zip(&floors).map(|(ours, floor)| ours / floor),
    ));
    println!(
        "answer  {:6.3} CPU s a million",
        middle(&sorted(floors.into_iter()))
    );
    println!(
        "http    {:6.3} CPU s a million  {ratio:6.2} × answer {}",
        middle(&sorted(agents.into_iter())),
        target(ratio, Some(1.6))
    );

    println!("http: answers at {RATE} requests a second       p50 ms  p99 ms  max ms  target");
    let refused = "http://127.0.0.1:1/".to_owned();
    for (name, url) in [
        ("webhook there", sink.url()),
        ("webhook away, buffer full", refused),
    ] {
        let address = free_address()?;
        let mut waits = Vec::new();
        start(agent_command(setup, &url, address)?, address, |address| {
            waits = pace(address, &requests)?;
            Ok(())
        })?;
        sink.empty(|_| ());
        waits.sort();
        let at = |share: f64| waits[(waits.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        let (median, p99) = (at(0.5), at(0.99));
        let worst = waits[waits.len() - 1].as_secs_f64() * 1e3;
        println!(
            "  {name:<43} {median:6.3}  {p99:6.3}  {worst:6.1}  {}",
            target(p99, Some(1.0))
        );
    }
    Ok(())
}

/// One request an event, as MinIO sends them.
pub(crate) fn requests(count: u64) -> io::Result<Vec<Vec<u8>>> {
    let mut lines = Vec::new();
    events::write(0..count, &mut lines)?;
    let requests = lines.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: MinIO\r\nContent-Type: application/json\r\n\
             Accept-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            line.len()
        );
        [head.as_bytes(), line].concat()
    });
    Ok(requests.collect())
}

pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn floor_command(setup: &Setup, address: SocketAddr) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["answer", &address.to_string()])
        .stdin(Stdio::null())
        .stderr(File::create(setup.log())?);
    Ok(command)
}

/// A buffer of 1,000 events is full at once when the webhook is away.
fn agent_command(setup: &Setup, url: &str, address: SocketAddr) -> io::Result<Command> {
    let mut command = agent(setup, url)?;
    command.arg(format!("--source=http:{address}"));
    if url.ends_with(":1/") {
        command.args(["--buffer-events", "1000", "--shutdown-timeout", "0"]);
    }
    Ok(command)
}

/// Returns when something listens there.
pub(crate) fn wait_for(address: SocketAddr) -> io::Result<()> {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        if start.elapsed() > Duration::from_secs(10) {
            return Err(io::Error::other("the server does not listen"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Starts a server, has clients do their work, and ends it.
fn start(
    mut command: Command,
    address: SocketAddr,
    clients: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> io::Result<Usage> {
    let server = Process::start(&mut command)?;
    wait_for(address)?;
    clients(address)?;
    server.terminate();
    server.wait()
}

/// All requests, as fast as they are answered.
fn flood(address: SocketAddr, requests: &[Vec<u8>]) -> io::Result<()> {
    let parts = requests.chunks(requests.len().div_ceil(CONNECTIONS));
    thread::scope(|scope| {
        let clients: Vec<_> = parts
            .map(|part| {
                scope.spawn(move || {
                    let mut client = Client::connect(address)?;
                    part.iter().try_for_each(|request| client.post(request))
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client panicked"))
    })
}

/// Requests at a steady rate, and how long each waited for its answer.
fn pace(address: SocketAddr, requests: &[Vec<u8>]) -> io::Result<Vec<Duration>> {
    let waits = Mutex::new(Vec::new());
    let interval = Duration::from_secs(CONNECTIONS as u64).div_f64(RATE as f64);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let waits = &waits;
                scope.spawn(move || -> io::Result<()> {
                    let mut client = Client::connect(address)?;
                    let mut mine = Vec::new();
                    let start =
                        Instant::now() + interval.mul_f64(number as f64 / CONNECTIONS as f64);
                    for (turn, request) in (0..).zip(requests.iter().cycle()) {
                        let due = start + interval * turn;
                        if due > start + DURATION {
                            break;
                        }
                        thread::sleep(due.saturating_duration_since(Instant::now()));
                        let sent = Instant::now();
                        client.post(request)?;
                        mine.push(sent.elapsed());
                    }
                    waits.lock().expect("a client panicked").extend(mine);
                    Ok(())
                })
            })
            .collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().expect("a client panicked"))
    })?;
    Ok(waits.into_inner().expect("a client panicked"))
}

pub(crate) struct Client {
    stream: TcpStream,
    answer: [u8; 4096],
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Client {
            stream,
            answer: [0; 4096],
        })
    }

    pub(crate) fn post(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)?;
        match self.stream.read(&mut self.answer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
