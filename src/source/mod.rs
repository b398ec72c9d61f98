//! Where events come from: one file per kind of source, one thread per source.
//!
//! A source owns its descriptors, knows how to find its stream again, and hands what it reads to its [`SourceOutput`].
//! It ends when its stream has ended for good, or when the agent stops.

mod file;
pub mod fluent;
mod foreign;
pub mod gunzip;
pub mod http;
mod listen;
mod output;
mod reader;
mod rest;
mod separators;
pub mod spec;
pub mod stdin;
mod stream;
pub mod tls;
mod unix;
mod unix_listen;
pub mod watched;

pub use file::{Claims, FileSettings};
pub use listen::ListenSettings;
pub use output::{Broken, SourceOutput};
pub use reader::Source;
pub use spec::{FileStart, HecInput, OpenError, Spec, WhenFull};
pub use stream::LAST_READS;

use std::path::Path;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::state::checkpoint::Restored;
use crate::sys::shutdown::ShutdownSignal;
use crate::telemetry::message::Message;

/// Opens a source, so that whatever can fail fails before the first thread starts. A file resumes where its checkpoint
/// says, or else begins where its settings say. What a listener needs and is not there yet is waited for.
///
/// # Errors
/// Says what is wrong, and what would be right.
pub fn open(
    spec: &Spec,
    http: &http::Settings,
    files: &FileSettings,
    restored: Option<Receiver<Restored>>,
) -> Result<Box<dyn Source>, OpenError> {
    check(spec, http, &files.exclude)?;
    let (spec, http, files) = (spec.clone(), http.clone(), files.clone());
    let open = move || -> Result<Box<dyn Source>, OpenError> {
        let listen = http.listen.clone();
        Ok(match &spec {
            Spec::Stdin => Box::new(stdin::Stdin::open()?),
            Spec::File(path) => Box::new(file::FileSource {
                path: path.clone(),
                settings: files.clone(),
                restored: restored.clone(),
            }),
            Spec::Unix(path) => Box::new(unix::Reader::open(path)),
            Spec::UnixListen(path) => Box::new(unix_listen::Listener::open(path, listen)?),
            Spec::Fluent(address) => Box::new(fluent::Listener::tcp(*address, listen, false)?),
            Spec::Fluents(address) => Box::new(fluent::Listener::tcp(*address, listen, true)?),
            Spec::FluentUnix(path) => Box::new(fluent::Listener::unix(path, listen)?),
            Spec::Http(address) => Box::new(http::Listener::open(*address, &http, false)?),
            Spec::Https(address) => Box::new(http::Listener::open(*address, &http, true)?),
        })
    };
    match open() {
        Err(OpenError::Missing(reason)) => Ok(Box::new(Awaited { open, reason })),
        opened => opened,
    }
}

/// Whether a source's settings are enough for it, and leave it something to read. Opens nothing.
///
/// # Errors
/// As for [`open`].
pub fn check(spec: &Spec, http: &http::Settings, exclude: &[String]) -> Result<(), OpenError> {
    match spec {
        Spec::File(path) => file::check(path, exclude),
        Spec::Https(_) | Spec::Fluents(_) if http.listen.tls.is_none() => Err(OpenError::Wrong(
            "needs a certificate; fix: give --listen-cert and --listen-key".into(),
        )),
        Spec::Http(address) => http::check(*address, http, false),
        Spec::Https(address) => http::check(*address, http, true),
        Spec::Unix(path) | Spec::UnixListen(path) | Spec::FluentUnix(path) => {
            unix::check_socket_path(path)?;
            match spec {
                Spec::Unix(path) => unix::check_server(path),
                _ => listen::check_path(path),
            }
        }
        _ => Ok(()),
    }
}

/// What an operator should know of a source that has something else in the place of its file.
pub fn doubt(spec: &Spec) -> Option<Message> {
    match spec {
        Spec::File(path) => file::doubt(path),
        _ => None,
    }
}

/// Whether the source reads the file at `path`.
pub fn reads(spec: &Spec, exclude: &[String], path: &Path) -> bool {
    matches!(spec, Spec::File(own) if file::reads(own, exclude, path))
}

/// Time between two attempts to open a source.
const RETRY: Duration = Duration::from_secs(1);

/// A source whose address, certificate, token or directory is not there yet, and why it can't be opened now.
struct Awaited<F> {
    open: F,
    reason: String,
}

impl<F: Fn() -> Result<Box<dyn Source>, OpenError> + Send> Source for Awaited<F> {
    fn run(self: Box<Self>, output: SourceOutput, stop: &ShutdownSignal) {
        let mut reason = self.reason;
        loop {
            output.failed(&reason);
            if stop.wait(RETRY) {
                return;
            }
            reason = match (self.open)() {
                Ok(source) => {
                    output.worked();
                    return source.run(output, stop);
                }
                Err(
                    OpenError::Missing(reason)
                    | OpenError::Wrong(reason)
                    | OpenError::InUse(reason),
                ) => reason,
            };
        }
    }
}
