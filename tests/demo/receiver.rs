//! A stand-in for Splunk's HTTP Event Collector, to try the agent with, and the webhook of all tests that are scripts.
//!
//!     cargo run --example receiver -- [--cert FILE --key FILE] [--token TOKEN] [--events FILE] [--tokens FILE] [ADDRESS]
//!
//! The first line that it prints is its URL; then it says what it receives. SIGTERM or Ctrl-C ends it, between two
//! answers: what it says that it has received was answered.
//!
//! `--events` appends every event to a file. While there is a file `slow` beside it, each answer comes 50 ms after its
//! events were taken, and while there is one named `away`, 503 is the answer. `--tokens` appends each request's
//! Authorization. With `--token` another one is refused. Bodies with `"reject":true` are, too, and the first one with
//! `"hang_up":true` gets no answer at all.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

// The tests' webhook can do far more than this program asks of it.
#[allow(dead_code, unused_imports)]
#[path = "../support/webhook/mod.rs"]
mod webhook;

use webhook::{Answer, Request, Webhook};

/// What was accepted so far, and how.
#[derive(Default)]
struct Receiver {
    token: Option<String>,
    events: Option<File>,
    tokens: Option<File>,
    /// Where the files are that change what it does.
    beside: PathBuf,
    hung_up: AtomicBool,
    event_count: AtomicUsize,
    request_count: AtomicUsize,
}

fn main() -> ExitCode {
    let mut receiver = Receiver::default();
    let mut address = "127.0.0.1:0".to_owned();
    let (mut cert, mut key) = (None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value");
        match argument.as_str() {
            "--cert" => cert = Some(value()),
            "--key" => key = Some(value()),
            "--token" => receiver.token = Some(value()),
            "--tokens" => receiver.tokens = Some(append_to(value().as_ref())),
            "--events" => {
                let path = PathBuf::from(value());
                receiver.events = Some(append_to(&path));
                receiver.beside = path.parent().unwrap_or(Path::new("")).to_owned();
            }
            _ => address = argument,
        }
    }
    let Ok(address) = address.parse::<SocketAddr>() else {
        eprintln!("not an address with a port, such as 127.0.0.1:8088: {address}");
        return ExitCode::from(2);
    };
    let mut signals = Signals::new([SIGTERM, SIGINT]).unwrap();
    let mut builder = Webhook::builder().address(address).forgetful();
    if let Some(cert) = cert {
        builder = builder.tls(tls(&cert, &key.expect("a --key")));
    }
    let receiver = Arc::new(receiver);
    let answering = Arc::clone(&receiver);
    let hook = builder.start();
    hook.answer_by(move |request| answering.answer(request));
    say(&hook.url());

    signals.forever().next();
    hook.finish();
    let (events, requests) = (&receiver.event_count, &receiver.request_count);
    say(&format!(
        "total {} events in {} requests",
        events.load(Ordering::Relaxed),
        requests.load(Ordering::Relaxed)
    ));
    ExitCode::SUCCESS
}

impl Receiver {
    fn answer(&self, request: &Request) -> Answer {
        let token = request.header("Authorization").unwrap_or_default();
        append(self.tokens.as_ref(), format!("{token}\n").as_bytes());
        if request.path != "/" && !request.path.starts_with("/services/collector") {
            return Answer::status(404);
        }
        if self.token.as_ref().is_some_and(|right| right != token) {
            say("refused a request with another token");
            return Answer::status(403);
        }
        let has_switch = |name| self.events.is_some() && self.beside.join(name).exists();
        if has_switch("away") {
            return Answer::status(503);
        }
        if request.contains(r#""reject":true"#) {
            return Answer::status(400);
        }
        if request.contains(r#""hang_up":true"#) && !self.hung_up.swap(true, Ordering::Relaxed) {
            return Answer::hang_up();
        }
        let plain = request.plain();
        let events = plain.split_inclusive(|byte| *byte == b'\n').count();
        self.event_count.fetch_add(events, Ordering::Relaxed);
        self.request_count.fetch_add(1, Ordering::Relaxed);
        append(self.events.as_ref(), &plain);
        say(&format!(
            "received {events} events ({} bytes)",
            request.body.len()
        ));
        match has_switch("slow") {
            true => Answer::ok().after(Duration::from_millis(50)),
            false => Answer::ok(),
        }
    }
}

fn tls(cert: &str, key: &str) -> Arc<ServerConfig> {
    let certificates = CertificateDer::pem_file_iter(cert).unwrap();
    let certificates = certificates.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let key = any_supported_type(&key).unwrap();
    // As it is, be it of X.509 version 1.
    let identity = SingleCertAndKey::from(CertifiedKey::new(certificates, key));
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_cert_resolver(Arc::new(identity)))
}

fn append_to(path: &Path) -> File {
    let mut options = OpenOptions::new();
    options.append(true).create(true).open(path).unwrap()
}

/// In one write, since several requests may come at once.
fn append(file: Option<&File>, bytes: &[u8]) {
    if let Some(mut file) = file {
        file.write_all(bytes).unwrap();
    }
}

/// Prints a line. Nobody may be reading any more, which is no reason to panic, as `println!` would.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
