//! Settings of the GNU C library, to be made before anything else. Other C libraries need none.

/// Returns freed memory to the kernel. By default, many threads have a heap each, and large blocks are kept after
/// their first use: with one thread per client, that is far more memory than the buffer's limit. To be called before
/// the second thread starts.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        const HEAPS: libc::c_int = 2;
        /// Freed blocks of this size or more return to the kernel; chunks are smaller.
        const LARGE: libc::c_int = 128 << 10;
        // SAFETY: mallopt takes two numbers; at worst it refuses them.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, HEAPS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Returns to the kernel what was freed between blocks in use, after far more was allocated than is kept.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes a number and touches only unused memory.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Resolves host names only by `/etc/hosts` and DNS, whatever `nsswitch.conf` says: a statically linked program would
/// load the modules named there, which belong to the host's glibc, and crash in them if its version differs. To be
/// called before the second thread starts and before the first lookup.
pub fn resolve_by_files_and_dns() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        use std::ffi::{c_char, c_int};

        unsafe extern "C" {
            fn __nss_configure_lookup(
                database: *const c_char,
                service_line: *const c_char,
            ) -> c_int;
        }
        // SAFETY: this is its declaration in glibc's nss.h; both are constant C strings, which it copies; no
        // other thread runs yet.
        unsafe {
            __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
        }
    }
}
