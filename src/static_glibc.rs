//! Name resolution in a statically linked glibc.
//!
//! A static glibc loads the modules that the host's `nsswitch.conf` names from the host's own glibc,
//! and crashes in them when that is of another version. So it is told to use what it has built in.

/// Resolves host names by `/etc/hosts` and DNS alone, whatever `nsswitch.conf` says. To be called
/// before the first thread and the first lookup. Does nothing in a dynamically linked program.
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
