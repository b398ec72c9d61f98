//! File systems that are full, read-only or in the way.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A mount, for as long as this lives.
pub(crate) struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    /// Mounts it; `None` where that is not possible, after printing the reason.
    pub(crate) fn new(
        kind: &str,
        what: &Path,
        at: &'a Path,
        options: &str,
        flags: libc::c_ulong,
    ) -> Option<Self> {
        let c = |bytes: &[u8]| CString::new(bytes).unwrap();
        let (what, to) = (c(what.as_os_str().as_bytes()), c(at.as_os_str().as_bytes()));
        let (kind, options) = (c(kind.as_bytes()), c(options.as_bytes()));
        // SAFETY: the pointers are to strings that end with a NUL.
        let result = unsafe {
            libc::mount(
                what.as_ptr(),
                to.as_ptr(),
                kind.as_ptr(),
                flags,
                options.as_ptr().cast(),
            )
        };
        if result != 0 {
            eprintln!("skipped: can't mount: {}", std::io::Error::last_os_error());
            return None;
        }
        Some(Mount(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let path = CString::new(self.0.as_os_str().as_bytes()).unwrap();
        // SAFETY: the pointer is to a string that ends with a NUL.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
