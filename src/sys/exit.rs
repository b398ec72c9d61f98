//! The end of the process that nothing can delay.

use std::process::ExitCode;

/// Ends the process without waiting for what other threads hold, such as the lock of standard output.
pub fn at_once(is_success: bool) -> ! {
    // SAFETY: _exit ends the process; it touches no memory of this program.
    unsafe { libc::_exit(i32::from(!is_success)) }
}

/// The code of an end that may wait.
pub fn code(is_success: bool) -> ExitCode {
    ExitCode::from(u8::from(!is_success))
}
