//! The end of the process: that nothing can delay it, and that nothing of its memory is left.

use std::process::ExitCode;

/// From now on, no core dump has this process's memory, and no other process of its user can read it: a token is in it.
/// Root still can.
pub fn without_a_dump() {
    // SAFETY: it changes an attribute of the process and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
}

/// Ends the process without waiting for what other threads hold, such as the lock of standard output.
pub fn at_once(is_success: bool) -> ! {
    // SAFETY: _exit ends the process; it touches no memory of this program.
    unsafe { libc::_exit(i32::from(!is_success)) }
}

/// The code of an end that may wait.
pub fn code(is_success: bool) -> ExitCode {
    ExitCode::from(u8::from(!is_success))
}
