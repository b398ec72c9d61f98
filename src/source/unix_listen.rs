//! `unix-listen:PATH`: a stream socket that any number of writers connect to.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Intake, OpenError, Source, check_socket_path, stream};
use crate::framer::Framer;
use crate::poll::{PollFd, poll};
use crate::stop::Stop;

/// How long accepting rests when the agent is out of descriptors.
const REST: Duration = Duration::from_millis(100);
/// Reads in a row from one writer while others wait.
const TURN: usize = 16;

/// A listening socket, whose file goes with it.
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// The socket file's identity, so that no successor's file is removed.
    inode: u64,
}

struct Writer {
    stream: UnixStream,
    framer: Framer,
}

impl Listener {
    /// Takes the place of a socket file that nobody listens on.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        check_socket_path(path)?;
        let wrong = |error: io::Error| OpenError::Wrong(format!("can't listen: {error}"));
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        let listener = listener.map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let inode = fs::symlink_metadata(path).map_err(wrong)?.ino();
        Ok(Listener {
            listener,
            path: path.into(),
            inode,
        })
    }
}

fn remove_stale(path: &Path) -> Result<(), OpenError> {
    let wrong = |error: io::Error| OpenError::Wrong(format!("can't take the path: {error}"));
    if !fs::symlink_metadata(path)
        .map_err(wrong)?
        .file_type()
        .is_socket()
    {
        return Err(OpenError::Wrong("there is a file that is no socket".into()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(wrong)
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(wrong(error)),
        _ => Err(OpenError::InUse(
            "another process listens on this socket; stop it, or give another path".into(),
        )),
    }
}

impl Source for Listener {
    fn is_lasting(&self) -> bool {
        false
    }

    fn run(self: Box<Self>, mut intake: Intake, stop: &Stop) {
        let mut writers: Vec<Writer> = Vec::new();
        let mut deadline = None;
        loop {
            // From the stop on, what has been written already is read, with a bound.
            if stop.is_given() && deadline.is_none() {
                deadline = Some(Instant::now() + stream::LAST_READS);
            }
            let mut fds: Vec<_> = [self.listener.as_fd(), stop.as_fd()]
                .into_iter()
                .chain(writers.iter().map(|writer| writer.stream.as_fd()))
                .map(PollFd::new)
                .collect();
            // A failing poll(2) means no memory: rest as for descriptors.
            let rested = poll(&mut fds, Some(Duration::ZERO)).is_err();
            let is_idle =
                |fds: &[PollFd<'_>]| !fds[0].is_ready() && !fds[2..].iter().any(PollFd::is_ready);
            match deadline {
                Some(deadline) if is_idle(&fds) || Instant::now() >= deadline => break,
                None if is_idle(&fds) && !rested => {
                    intake.flush();
                    if poll(&mut fds, None).is_err() {
                        stop.wait(REST);
                    }
                }
                _ => {}
            }
            let ready: Vec<_> = fds.iter().map(PollFd::is_ready).collect();
            let mut ready = ready.into_iter();
            let accepts = ready.next().unwrap_or(false);
            ready.next();
            writers.retain_mut(|writer| !ready.next().unwrap_or(false) || writer.read(&mut intake));
            if accepts {
                self.accept(&mut writers, &mut intake, stop);
            }
        }
        for mut writer in writers {
            intake.take_cut_off(&mut writer.framer);
        }
    }
}

impl Listener {
    fn accept(&self, writers: &mut Vec<Writer>, intake: &mut Intake, stop: &Stop) {
        match self.listener.accept() {
            Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                intake.worked();
                writers.push(Writer {
                    stream,
                    framer: intake.framer(),
                });
            }
            Err(error) if !is_passing(&error) => {
                intake.failed(&format!("can't accept a writer: {error}"));
                // The waiting writer keeps the loop from ever being idle.
                intake.flush();
                stop.wait(REST);
            }
            _ => {}
        }
    }
}

impl Writer {
    /// Reads what is there. False when the writer has gone.
    fn read(&mut self, intake: &mut Intake) -> bool {
        for _ in 0..TURN {
            match stream::read_once(&mut self.stream, &mut self.framer, intake) {
                Ok(0) => {
                    intake.take_last(&mut self.framer);
                    return false;
                }
                Ok(_) => {}
                Err(error) if is_passing(&error) => break,
                // Reset by its writer: what came before counts.
                Err(_) => {
                    intake.take_last(&mut self.framer);
                    return false;
                }
            }
        }
        self.framer.release();
        true
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

impl Drop for Listener {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
