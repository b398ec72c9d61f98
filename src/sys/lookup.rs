//! Looks up a host's addresses, of one family at a time: the standard library asks for both, and returns nothing until
//! both are answered.

use std::ffi::{CStr, CString};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A records.
    V4,
    /// AAAA records.
    V6,
}

/// Why there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupError {
    /// The name may well have addresses; the resolver could not say.
    pub is_temporary: bool,
    reason: String,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for LookupError {}

/// The addresses of a host, with this port, in the order in which they should be used. May take as long as the
/// resolver's own timeouts.
///
/// # Errors
/// There are none; the error is the resolver's.
pub fn lookup(host: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, LookupError> {
    let failed = |is_temporary, reason: String| LookupError {
        is_temporary,
        reason,
    };
    let host = CString::new(host).map_err(|error| failed(false, error.to_string()))?;
    let mut found = Vec::new();
    // SAFETY: an addrinfo of zeros is valid. getaddrinfo reads a string that ends with NUL and the hints, and returns a
    // list that is valid until it is freed, once. An entry's address is of the type that its family says. gai_strerror
    // returns a static string.
    unsafe {
        let mut hints: libc::addrinfo = std::mem::zeroed();
        hints.ai_socktype = libc::SOCK_STREAM;
        hints.ai_family = match family {
            Family::V4 => libc::AF_INET,
            Family::V6 => libc::AF_INET6,
        };
        let mut list = ptr::null_mut();
        let code = libc::getaddrinfo(host.as_ptr(), ptr::null(), &hints, &mut list);
        if code != 0 {
            let reason = match code {
                libc::EAI_SYSTEM => std::io::Error::last_os_error().to_string(),
                _ => CStr::from_ptr(libc::gai_strerror(code))
                    .to_string_lossy()
                    .into_owned(),
            };
            return Err(failed(
                matches!(code, libc::EAI_AGAIN | libc::EAI_SYSTEM),
                reason,
            ));
        }
        let mut node = list;
        while let Some(entry) = node.as_ref() {
            match entry.ai_family {
                libc::AF_INET => {
                    let address = &*entry.ai_addr.cast::<libc::sockaddr_in>();
                    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                    found.push(SocketAddr::from((ip, port)));
                }
                libc::AF_INET6 => {
                    let address = &*entry.ai_addr.cast::<libc::sockaddr_in6>();
                    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                    found.push(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into());
                }
                _ => {}
            }
            node = entry.ai_next;
        }
        libc::freeaddrinfo(list);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_familys_addresses_are_found_and_no_others() {
        let found = lookup("127.0.0.1", 80, Family::V4).unwrap();
        assert_eq!(found, ["127.0.0.1:80".parse().unwrap()]);
        let found = lookup("::1", 443, Family::V6).unwrap();
        assert_eq!(found, ["[::1]:443".parse().unwrap()]);
        for (host, family) in [
            ("127.0.0.1", Family::V6),
            ("::1", Family::V4),
            ("a\0b", Family::V4),
        ] {
            let error = lookup(host, 80, family).unwrap_err();
            assert!(!error.is_temporary && !error.to_string().is_empty());
        }
    }
}
