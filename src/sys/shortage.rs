//! What the host has too little of for now, which another start may find.

use std::io;

/// What to do about this error, if it is one of those.
pub fn fix(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EMFILE => Some("raise the limit of open files (LimitNOFILE)"),
        libc::ENFILE => Some("raise the host's limit of open files (fs.file-max)"),
        libc::ENOMEM | libc::ENOBUFS => Some("give the agent or its host more memory"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_a_shortage() {
        for (code, is_one) in [
            (libc::EMFILE, true),
            (libc::ENFILE, true),
            (libc::ENOMEM, true),
            (libc::EADDRINUSE, false),
            (libc::EACCES, false),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(fix(&error).is_some(), is_one, "{error}");
        }
        assert_eq!(fix(&io::Error::other("no code")), None);
    }
}
