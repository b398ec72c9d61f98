//! This host's name.

use std::fs;

/// As the kernel has it; `localhost` where it can't be asked, in a container without `/proc`, say.
pub fn name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".into(),
        name => name.to_owned(),
    }
}
