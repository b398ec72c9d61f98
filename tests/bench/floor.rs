//! The least that any forwarder could do, as a program of its own: bytes are posted unexamined, in pieces of 1 MiB cut
//! anywhere, over one connection. Each floor does what its work can't be done without: gzip with the agent's library
//! and level, TLS with the agent's libraries; and `http` only answers requests.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::webhook::Answer;

/// How many bytes a body has.
const PIECE: usize = 1 << 20;

/// Does what the arguments say: the work, the webhook's URL or, for `http`, the address to listen on, and the socket or
/// the webhook's certificate.
pub(crate) fn run(arguments: &[String]) -> io::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["file", url] => pass_on(&mut stdin()?, Plain::connect(url)?),
        ["gzip", url] => pass_on(&mut stdin()?, Packed(Plain::connect(url)?)),
        ["file", url, ca] => pass_on(&mut stdin()?, Plain::connect_with(url, ca)?),
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

/// Passes on one of several streams, each over its own connection: none waits for another.
fn pass_stream_on(socket: &str, url: &str) -> io::Result<()> {
    let (mut stream, _) = UnixListener::bind(socket)?.accept()?;
    pass_on(&mut stream, Plain::connect(url)?)
}

/// Posts everything there is to read.
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

type Tls = StreamOwned<ClientConnection, TcpStream>;

trait Webhook {
    fn post(&mut self, body: &[u8]) -> io::Result<()>;
}

/// A connection, and the shortest request.
struct Plain<S = TcpStream> {
    connection: S,
    address: String,
    /// Room for an answer; all have one length.
    answer: Vec<u8>,
}

/// The address of a URL, and a socket connected to it.
fn dial(url: &str) -> io::Result<(TcpStream, String)> {
    let rest = url.split("://").last().unwrap_or(url);
    let address = rest.split('/').next().unwrap_or(rest).to_owned();
    let connection = TcpStream::connect(&address)?;
    connection.set_nodelay(true)?;
    Ok((connection, address))
}

impl Plain {
    fn connect(url: &str) -> io::Result<Self> {
        let (connection, address) = dial(url)?;
        Ok(Self {
            connection,
            address,
            answer: Answer::ok().bytes(),
        })
    }
}

impl Plain<Tls> {
    fn connect_with(url: &str, ca: &str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (connection, address) = dial(url)?;
        let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.into(), name).map_err(io::Error::other)?;
        Ok(Self {
            connection: StreamOwned::new(tls, connection),
            address,
            answer: Answer::ok().bytes(),
        })
    }
}

impl<S: Read + Write> Webhook for Plain<S> {
    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let head = format!(
            "POST /services/collector/raw HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        self.connection.write_all(head.as_bytes())?;
        self.connection.write_all(body)?;
        self.connection.read_exact(&mut self.answer)
    }
}

/// Compresses each body on its own.
struct Packed(Plain);

impl Webhook for Packed {
    fn post(&mut self, body: &[u8]) -> io::Result<()> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::new(1));
        encoder.write_all(body)?;
        self.0.post(&encoder.finish()?)
    }
}

/// A request comes in one piece, since a client sends the next only when it has the answer.
fn answer(address: &str) -> io::Result<()> {
    let (listener, answer) = (TcpListener::bind(address)?, Answer::ok().bytes());
    loop {
        let (mut stream, _) = listener.accept()?;
        let answer = answer.clone();
        thread::spawn(move || -> io::Result<()> {
            stream.set_nodelay(true)?;
            let mut request = [0; 32 << 10];
            while stream.read(&mut request)? > 0 {
                stream.write_all(&answer)?;
            }
            Ok(())
        });
    }
}
