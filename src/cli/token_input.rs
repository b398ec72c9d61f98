//! Reads a token from standard input, for `--auth-token -`: typed without echo, or the first line of a pipe.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::mem::MaybeUninit;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::sys::thread;

/// Far more than any header can contain.
const MAX_BYTES: u64 = 64 << 10;

/// Reads the token's line.
///
/// # Errors
/// Standard input can't be read, or is not UTF-8.
pub fn read() -> io::Result<String> {
    let _no_echo = if io::stdin().is_terminal() {
        write!(io::stderr(), "Token: ")?;
        Some(NoEcho::start()?)
    } else {
        None
    };
    let mut line = String::new();
    io::stdin().lock().take(MAX_BYTES).read_line(&mut line)?;
    Ok(line)
}

/// Turns the terminal's echo off until this is dropped or a signal ends the program.
struct NoEcho {
    previous: libc::termios,
}

impl NoEcho {
    fn start() -> io::Result<Self> {
        let mut previous = MaybeUninit::uninit();
        // SAFETY: the pointer is to room for a termios, which the call fills if it succeeds.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, previous.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: filled, since the call has succeeded.
        let previous = unsafe { previous.assume_init() };
        let mut silent = previous;
        silent.c_lflag &= !libc::ECHO;
        // The line end is echoed, so that the next output begins a new line.
        silent.c_lflag |= libc::ECHONL;

        let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM])?;
        thread::spawn("signals", move || {
            for signal in signals.forever() {
                let _ = set(&previous);
                let _ = emulate_default_handler(signal);
            }
        })?;
        set(&silent)?;
        Ok(NoEcho { previous })
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        let _ = set(&self.previous);
    }
}

fn set(termios: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to a live termios, which the call only reads.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSADRAIN, termios) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
