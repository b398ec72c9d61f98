//! This host's name, and who runs this process.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The kernel's name, or `localhost` if it has none. By a call, not from `/proc`, where the service's unit shows only
/// processes.
pub fn name() -> String {
    // At most 64 bytes (`HOST_NAME_MAX`) and a zero.
    let mut name = [0_u8; 65];
    // SAFETY: the pointer and the length are the array's own.
    let status = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) };
    match CStr::from_bytes_until_nul(&name) {
        Ok(name) if status == 0 && !name.is_empty() => name.to_string_lossy().into_owned(),
        _ => "localhost".into(),
    }
}

/// Whether this user may make files in a directory.
///
/// # Errors
/// The directory is not there, is read-only, or is others'.
pub fn check_writable(directory: &Path) -> io::Result<()> {
    let path = CString::new(directory.as_os_str().as_bytes())?;
    let wanted = libc::W_OK | libc::X_OK;
    // SAFETY: the path is a string that ends with a zero.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), wanted, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The number of the user whose rights this process has.
pub fn user() -> u32 {
    // SAFETY: it only returns a number.
    unsafe { libc::geteuid() }
}
