//! This host's name.

use std::ffi::CStr;

/// As the kernel has it, or `localhost` if it has none. Asked with a call and not by `/proc`: the service's unit leaves only the
/// processes of that.
pub fn name() -> String {
    // 64 bytes at most (`HOST_NAME_MAX`), and a zero.
    let mut name = [0_u8; 65];
    // SAFETY: the pointer and the length are the array's own.
    let asked = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    match CStr::from_bytes_until_nul(&name) {
        Ok(name) if asked == 0 && !name.is_empty() => name.to_string_lossy().into_owned(),
        _ => "localhost".into(),
    }
}
