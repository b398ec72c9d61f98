//! Which of a name's addresses are used, by family.

use std::net::IpAddr;
use std::str::FromStr;

use crate::sys::lookup::Family;
use crate::text::choice::choose;

/// Which addresses of a name are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressFamily {
    /// All.
    Any,
    /// These alone.
    Only(Family),
}

impl AddressFamily {
    /// Checks that a host, if it is an address and no name, is of this family.
    ///
    /// # Errors
    /// Says what is wrong, and what would be right.
    pub fn check(self, host: &str) -> Result<(), String> {
        let ip: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
        match (self, ip.map(|ip| ip.is_ipv4())) {
            (AddressFamily::Only(family), Ok(is_v4)) if (family == Family::V4) != is_v4 => {
                Err(format!(
                    "{host} is of the other family; fix: leave the option out, or connect to a name"
                ))
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for AddressFamily {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let families = [
            ("4", AddressFamily::Only(Family::V4)),
            ("6", AddressFamily::Only(Family::V6)),
            ("any", AddressFamily::Any),
        ];
        choose(text, &families)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_family_that_is_wanted() {
        for (wanted, host, fits) in [
            ("4", "127.0.0.1", true),
            ("4", "[::1]", false),
            ("4", "hec", true),
            ("6", "127.0.0.1", false),
            ("6", "[::1]", true),
            ("6", "hec", true),
            ("any", "127.0.0.1", true),
            ("any", "[::1]", true),
        ] {
            let family: AddressFamily = wanted.parse().unwrap();
            assert_eq!(family.check(host).is_ok(), fits, "{wanted} {host}");
        }
    }
}
