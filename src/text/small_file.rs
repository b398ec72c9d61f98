//! Files that are read as a whole: settings, tokens, keys, certificates. A named pipe, or a device that never ends,
//! does not block whoever reads it.

use std::fs::OpenOptions;
use std::io::{self, Error, ErrorKind, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Files with more bytes than this are an error: nothing that is read here is that long.
const MAX: u64 = 1 << 20;

/// What is wrong with a text file that could be read.
pub const NOT_UTF8: &str = "it contains bytes that are not UTF-8";

/// Reads a file of at most 1 MiB.
///
/// # Errors
/// It can't be opened or read, is longer, or is a pipe, which would be empty the next time it is read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Otherwise, opening a pipe would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if file.metadata()?.file_type().is_fifo() {
        return Err(Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX {
        return Err(Error::other("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

/// Reads a text file, without the byte order mark that some editors put before it.
///
/// # Errors
/// As for [`read`], or it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read(path)?).map_err(|_| Error::other(NOT_UTF8))?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

/// Reads a text file that contains a secret.
///
/// # Errors
/// Says what is wrong, naming the file; as for [`check_name`].
pub fn read_secret(path: &Path) -> Result<String, String> {
    check_name(path)?;
    read_text(path).map_err(|error| format!("{} {}", path.display(), unreadable(&error)))
}

/// Checks that what should name a file with a secret is not the secret itself, which must not be shown: there is such a
/// file, or one could be there later, since the name says in which directory.
///
/// # Errors
/// Says so, without the name.
pub fn check_name(path: &Path) -> Result<(), String> {
    let is_path = path
        .to_str()
        .is_none_or(|text| text.starts_with(['/', '.', '~']));
    let is_in_directory = || {
        let directory = path.parent().filter(|parent| *parent != Path::new(""));
        directory.is_some_and(Path::is_dir)
    };
    match is_path || path.symlink_metadata().is_ok() || is_in_directory() {
        true => Ok(()),
        false => Err(
            "no file has this name, which is not shown, since it may be the secret itself; fix: give the path of the file \
             that contains it, or ./NAME if that will be in this directory"
                .into(),
        ),
    }
}

/// Why a file that somebody named can't be read, and what to do about that.
pub fn unreadable(error: &Error) -> String {
    let fix = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied => {
            "name a file that this user can read"
        }
        // Those of this module.
        ErrorKind::Other => "name a regular file of text in UTF-8, of at most 1 MiB",
        _ => "name a regular file",
    };
    format!("can't be read: {error}; fix: {fix}")
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_may_be_a_secret_instead_of_a_files_name_is_not_shown() {
        for secret in [
            "Splunk B5A79AAD-D822-46CC-80D1-819F80D7BFB0",
            "B5A79AAD-D822-46CC-80D1-819F80D7BFB0",
            "whsec_c2VjcmV0/c2VjcmV0+w==",
            "Basic c2VjcmV0/x",
            "s3cret",
            "-----BEGIN PRIVATE KEY-----\nMC4CAQ/wBQYDK2Vw\n",
            &"s".repeat(300),
        ] {
            let error = read_secret(Path::new(secret)).unwrap_err();
            assert!(error.starts_with("no file has this name"), "{error}");
            assert!(!error.contains(secret), "{error}");
        }
        for path in ["/missing", "./missing", "../missing", "~/x", "src/missing"] {
            let error = read_secret(Path::new(path)).unwrap_err();
            let begin = format!("{path} can't be read: ");
            assert!(error.starts_with(&begin), "{error}");
        }
        assert!(read_secret(Path::new("Cargo.toml")).is_ok());
    }

    #[test]
    fn small_files_are_read_and_what_holds_up_a_reader_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let longest = vec![b'x'; usize::try_from(MAX).unwrap()];
        fs::write(at("longest"), &longest).unwrap();
        symlink("longest", at("link")).unwrap();
        assert_eq!(read(&at("link")).unwrap(), longest);
        fs::write(at("longer"), [longest, b"x".into()].concat()).unwrap();
        fs::write(at("latin"), b"caf\xe9").unwrap();
        let fifo = CString::new(at("fifo").as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a string that ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
        symlink("/dev/zero", at("endless")).unwrap();
        assert_eq!(read_text(Path::new("/dev/null")).unwrap(), "");
        fs::write(at("marked"), "\u{feff}Splunk x\n").unwrap();
        assert_eq!(read_text(&at("marked")).unwrap(), "Splunk x\n");
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, what, fix) in [
            ("longer", "longer than 1 MiB", "of at most 1 MiB"),
            ("latin", "not UTF-8", "of text in UTF-8"),
            ("fifo", "not a regular file", "a regular file"),
            ("endless", "longer than 1 MiB", "of at most 1 MiB"),
            ("socket", "No such device", "a regular file"),
            (".", "Is a directory", "a regular file"),
            ("missing", "No such file", "that this user can read"),
        ] {
            let error = unreadable(&read_text(&at(name)).unwrap_err());
            let (error, hint) = error.split_once("; fix: name ").unwrap();
            assert!(error.contains(what), "{name}: {error}");
            assert!(hint.contains(fix), "{name}: {hint}");
        }
    }
}
