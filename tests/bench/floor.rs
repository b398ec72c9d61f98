//! The least that any forwarder could do, as a program of its own: bytes are posted unlooked at, in pieces of 1 MiB cut
//! at no particular place, over one connection. Each floor does what its work can't be done without: gzip with the
//! library and the level, TLS with the libraries, that the agent has; and `http` answers requests and no more.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::sink::ANSWER;

/// Bytes a body.
const PIECE: usize = 1 << 20;

/// Does what the arguments say: the work, the webhook's URL or, for `http`, the address to listen on, and the socket or
/// the webhook's certificate.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["file", url] => pass_on(&mut stdin()?, Plain::connect(url)?),
        ["gzip", url] => pass_on(&mut stdin()?, Packed(Plain::connect(url)?)),
        ["file", url, ca] => pass_on(&mut stdin()?, Tls::new(url, ca)?),
        ["unix", url, ref sockets @ ..] => thread::scope(|scope| {
            let all = sockets
                .iter()
                .map(|socket| scope.spawn(|| pass_stream_on(socket, url)));
            let all: Vec<_> = all.collect();
            all.into_iter()
                .try_for_each(|one| one.join().expect("no floor panics"))
        }),
        ["http", address] => answer(address),
        _ => Err(io::Error::other(format!("no such floor: {arguments:?}"))),
    }
}

/// Not through the standard library's stdin, whose buffer would be one more copy.
fn stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}

/// One of several streams, each of which has its own connection: none waits for another.
fn pass_stream_on(socket: &str, url: &str) -> io::Result<()> {
    let (mut stream, _) = UnixListener::bind(socket)?.accept()?;
    pass_on(&mut stream, Plain::connect(url)?)
}

/// Posts all there is to read.
fn pass_on(input: &mut impl Read, mut webhook: impl Webhook) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let mut length = 0;
        while length < PIECE {
            match input.read(&mut piece[length..])? {
                0 => break,
                read => length += read,
            }
        }
        if length == 0 {
            return Ok(());
        }
        webhook.post(&piece[..length])?;
    }
}

trait Webhook {
    fn post(&mut self, body: &[u8]) -> io::Result<()>;
}

/// A socket, and the shortest request.
struct Plain {
    connection: TcpStream,
    address: String,
}

impl Plain {
    fn connect(url: &str) -> io::Result<Self> {
        let rest = url.trim_start_matches("http://");
        let address = rest.split('/').next().unwrap_or(rest).to_owned();
        let connection = TcpStream::connect(&address)?;
        connection.set_nodelay(true)?;
        Ok(Self {
            connection,
            address,
        })
    }
}

impl Webhook for Plain {
    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "POST /services/collector/raw HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.connection.write_all(head.as_bytes())?;
        self.connection.write_all(body)?;
        self.connection.read_exact(&mut [0; ANSWER.len()])
    }
}

/// Each body compressed on its own.
struct Packed(Plain);

impl Webhook for Packed {
    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        encoder.write_all(body)?;
        self.0.post(&encoder.finish()?)
    }
}

/// The agent's HTTP client, with its defaults but for what keeps the connection.
struct Tls {
    agent: ureq::Agent,
    url: String,
}

impl Tls {
    fn new(url: &str, ca: &str) -> io::Result<Self> {
        let pem = std::fs::read(ca)?;
        let certificate = Certificate::from_pem(&pem).map_err(io::Error::other)?;
        let roots = RootCerts::new_with_certs(&[certificate]);
        let config = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        Ok(Self {
            agent: config.into(),
            url: url.to_owned(),
        })
    }
}

impl Webhook for Tls {
    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let mut answer = self
            .agent
            .post(&self.url)
            .send(body)
            .map_err(io::Error::other)?;
        answer
            .body_mut()
            .read_to_vec()
            .map_err(io::Error::other)
            .map(drop)
    }
}

/// A request comes in one piece, since a client sends the next only when it has the answer.
fn answer(address: &str) -> io::Result<()> {
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
