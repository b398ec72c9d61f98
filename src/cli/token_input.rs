//! A token from standard input, for `--auth-token -`: asked for without echo, or the first line of a pipe.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::thread;

use signal_hook::consts::{SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Far more than any header may have.
const MAX_BYTES: u64 = 64 << 10;

/// Reads the token's line.
///
/// # Errors
/// Standard input can't be read, or is no text.
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

/// The terminal shows nothing of what is typed until this is dropped or a signal ends the program.
struct NoEcho {
    before: libc::termios,
}

impl NoEcho {
    fn start() -> io::Result<Self> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: the pointer is to room for a termios, which the call fills if it succeeds.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: filled, since the call has succeeded.
        let before = unsafe { before.assume_init() };
        let mut silent = before;
        silent.c_lflag &= !libc::ECHO;
        // But the end of the line, so that what follows begins a new one.
        silent.c_lflag |= libc::ECHONL;

        let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM])?;
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let _ = set(&before);
                    let _ = emulate_default_handler(signal);
                }
            })?;
        set(&silent)?;
        Ok(NoEcho { before })
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        let _ = set(&self.before);
    }
}

fn set(termios: &libc::termios) -> io::Result<()> {
    // SAFETY: the pointer is to a live termios, which the call only reads.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSADRAIN, termios) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
