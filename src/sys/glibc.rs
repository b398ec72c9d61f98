//! What is asked of the GNU C library before anything else; another C library needs none of it.

/// Gives memory back when it is freed. By default each of many threads gets a heap of its own, and
/// large blocks are kept once they were used: with a thread a client, that is far more memory than
/// the buffer's bound. To be called before the second thread.
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    {
        const HEAPS: libc::c_int = 2;
        /// Blocks from this size on are the kernel's again when they are freed; chunks are smaller.
        const LARGE: libc::c_int = 128 << 10;
        // SAFETY: mallopt takes two numbers; at worst it refuses them.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, HEAPS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Resolves host names by `/etc/hosts` and DNS alone, whatever `nsswitch.conf` says, in a statically
/// linked program: that would load the modules named there from the host's own glibc, and crash in
/// them if it is of another version. To be called before the first thread and the first lookup.
pub fn keep_to_files_and_dns() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    {
        use std::ffi::{c_char, c_int};

        unsafe extern "C" {
            fn __nss_configure_lookup(
                database: *const c_char,
                service_line: *const c_char,
            ) -> c_int;
        }
        // SAFETY: glibc's nss.h declares it so; both are constant C strings, which it copies; no
        // other thread runs yet.
        unsafe {
            __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
        }
    }
}
