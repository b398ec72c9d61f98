//! What standard input and sockets have in common: reading one stream to its end.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::output::SourceOutput;
use super::rest::Rest;
use crate::framer::Framer;
use crate::sys::poll::{PollFd, poll};
use crate::sys::shutdown::ShutdownSignal;

/// How long a stop waits until a live stream's writer pauses.
pub const LAST_READS: Duration = Duration::from_millis(500);
/// Reads after that, or once nothing is kept any more: they take what a pipe holds, even a large one.
const LATE_READS: usize = 16;

/// Time between two looks at whether forwarding was enabled.
const DISABLED: Duration = Duration::from_millis(200);

/// Whether this error means only that nothing has arrived.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
    )
}

/// Why reading ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream's writer has closed it.
    Closed,
    /// The agent stops. `is_all`: what was written was read.
    Stopped { is_all: bool },
}

/// Reads until the stream ends or the agent stops; then also what was already written, unless the stream is `lasting`.
/// Does not settle what the framer still holds.
pub(super) fn read<S: Read + AsFd>(
    stream: &mut S,
    framer: &mut Framer,
    output: &mut SourceOutput,
    stop: &ShutdownSignal,
    lasting: bool,
) -> io::Result<End> {
    let mut rest = Rest::new(output.batch_age);
    loop {
        // Events are passed on as soon as there is nothing more to read; until then chunks fill up.
        let mut fds = [PollFd::new(stream.as_fd()), PollFd::new(stop.as_fd())];
        poll(&mut fds, Some(Duration::ZERO))?;
        if !fds[0].is_ready() && !fds[1].is_ready() {
            output.flush();
            if let Some(rest) = rest.due(Instant::now()) {
                stop.wait(rest);
                continue;
            }
            poll(&mut fds, None)?;
        }
        if lasting && !fds[1].is_ready() && !output.is_forwarding() {
            // Its content is still there when forwarding is enabled.
            stop.wait(DISABLED);
            continue;
        }
        if fds[1].is_ready() {
            let is_all = lasting || read_written(stream, framer, output)?;
            return Ok(End::Stopped { is_all });
        }
        match read_once(stream, framer, output)? {
            0 => return Ok(End::Closed),
            count => rest.read(count),
        }
    }
}

/// Whether a stop has waited long enough for what is written since then.
pub(super) fn is_late(since: Instant, output: &SourceOutput) -> bool {
    since.elapsed() >= LAST_READS || !output.is_open()
}

/// What the writer considers sent would be lost without a trace: read it before closing. False if there may be more.
pub(super) fn read_written<S: Read + AsFd>(
    stream: &mut S,
    framer: &mut Framer,
    output: &mut SourceOutput,
) -> io::Result<bool> {
    let since = Instant::now();
    let mut late_reads = 0;
    while late_reads < LATE_READS {
        let mut fds = [PollFd::new(stream.as_fd())];
        poll(&mut fds, Some(Duration::ZERO))?;
        if !fds[0].is_ready() || read_once(stream, framer, output)? == 0 {
            return Ok(true);
        }
        late_reads += usize::from(is_late(since, output));
    }
    Ok(false)
}

/// One read, and its frames. 0 at the stream's end.
pub(super) fn read_once(
    stream: &mut impl Read,
    framer: &mut Framer,
    output: &mut SourceOutput,
) -> io::Result<usize> {
    loop {
        match stream.read(framer.space()) {
            Ok(count) => {
                framer.filled(count);
                output.take(framer);
                return Ok(count);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
