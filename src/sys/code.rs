//! The program's own code and constants in memory.

use std::ffi::{c_int, c_void};

/// Unmaps the pages of the program's code and constants, of which most are only for the start. They stay in the
/// kernel's cache, and what is used again is mapped again, 64 KiB at a time.
pub fn forget() {
    // SAFETY: `forget_program` has the type that this takes, and gets no data.
    unsafe {
        libc::dl_iterate_phdr(Some(forget_program), std::ptr::null_mut());
    }
}

/// Called for each object that is loaded, the program first: nonzero, so that there is no next one.
unsafe extern "C" fn forget_program(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: the object's headers stay where they are as long as it is loaded.
    let (base, headers) = unsafe {
        let info = &*info;
        let headers = std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
        (info.dlpi_addr, headers)
    };
    for header in headers {
        if header.p_type != libc::PT_LOAD || header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // SAFETY: nothing can write to these pages, so the kernel finds the same in the file again.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE).max(1) as u64;
            let start = (base + header.p_vaddr) / page * page;
            let length = base + header.p_vaddr + header.p_memsz - start;
            libc::madvise(start as *mut c_void, length as usize, libc::MADV_DONTNEED);
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// KiB of this program's file that are mapped, without what can be written to.
    fn mapped() -> usize {
        let program = std::env::current_exe().unwrap();
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let (mut is_code, mut sum) = (false, 0);
        for line in maps.lines() {
            if line.ends_with(program.to_str().unwrap()) {
                is_code = !line.contains(" rw");
            } else if let Some(rss) = line.strip_prefix("Rss:").filter(|_| is_code) {
                sum += rss.trim_end_matches("kB").trim().parse::<usize>().unwrap();
                is_code = false;
            }
        }
        sum
    }

    #[test]
    fn code_is_forgotten_and_found_again() {
        let before = mapped();
        forget();
        let after = mapped();
        assert!(0 < after && after < before, "{before} KiB, then {after}");
    }
}
