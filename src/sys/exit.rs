//! The end of the process: nothing can delay it, and nothing of its memory is left behind.

use std::process::ExitCode;

/// From now on, this process's memory is in no core dump, and no other process of its user can read it: it contains a
/// token. Root still can.
pub fn without_a_dump() {
    // SAFETY: it changes an attribute of the process and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

/// From now on, a write beyond a limit on the size of files fails, one to a terminal from the background succeeds, and
/// signals that mean something to other programs mean nothing: without this, they would end the process or halt it.
pub fn not_by_chance() {
    for signal in [libc::SIGXFSZ, libc::SIGTTOU, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: it has a signal ignored and touches no memory.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Ends the process without waiting for what other threads hold, such as the lock of standard output.
pub fn at_once(is_success: bool) -> ! {
    // SAFETY: _exit ends the process; it touches no memory of this program.
    unsafe { libc::_exit(i32::from(!is_success)) }
}

/// The exit code, for an end that need not be immediate.
pub fn code(is_success: bool) -> ExitCode {
    ExitCode::from(u8::from(!is_success))
}
