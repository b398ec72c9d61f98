//! The hosts that are reached without a proxy, as curl reads `NO_PROXY`: names separated by commas or blanks, each with
//! everything below it; addresses and networks; or `*` alone. ureq does not know networks.

use std::net::IpAddr;

/// Whether `list` names `host`; an IPv6 address may be in brackets.
pub fn covers(list: &str, host: &str) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    let mut entries = list
        .split([',', ' ', '\t'])
        .filter(|entry| !entry.is_empty());
    match host.parse::<IpAddr>() {
        Ok(address) => entries.any(|entry| is_in_network(address, entry)),
        Err(_) => entries.any(|entry| is_below(host, entry)),
    }
}

fn is_below(host: &str, entry: &str) -> bool {
    let entry = entry.strip_prefix('.').unwrap_or(entry);
    let (host, entry) = (host.to_ascii_lowercase(), entry.to_ascii_lowercase());
    let entry = entry.trim_end_matches('.');
    let above = host.strip_suffix(entry);
    !entry.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

fn is_in_network(address: IpAddr, entry: &str) -> bool {
    let (network, bits) = match entry.split_once('/') {
        Some((network, bits)) => (network, Some(bits)),
        None => (entry, None),
    };
    let (difference, width): (u128, u32) = match (address, network.trim_matches(['[', ']']).parse())
    {
        (IpAddr::V4(one), Ok(IpAddr::V4(other))) => ((one.to_bits() ^ other.to_bits()).into(), 32),
        (IpAddr::V6(one), Ok(IpAddr::V6(other))) => (one.to_bits() ^ other.to_bits(), 128),
        _ => return false,
    };
    // This many of the last bits may differ.
    let free = match bits.map(str::parse::<u32>) {
        None => Some(0),
        Some(bits) => bits.ok().and_then(|bits| width.checked_sub(bits)),
    };
    free.is_some_and(|free| u128::checked_shr(difference, free).unwrap_or(0) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_networks_are_covered() {
        for (list, host) in [
            ("*", "hec.example.com"),
            (" * ", "192.0.2.1"),
            ("hec", "hec"),
            ("a, HEC.example.COM ,b", "hec.example.com"),
            ("a b\thec", "HEC"),
            ("example.com", "hec.example.com"),
            (".example.com", "hec.example.com"),
            (".example.com", "example.com"),
            ("example.com.", "hec.example.com"),
            ("example.com", "hec.example.com."),
            ("192.0.2.1", "192.0.2.1"),
            ("10.0.0.0/8,192.0.2.0/25", "192.0.2.127"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("0.0.0.0/0", "192.0.2.1"),
            ("::1", "[::1]"),
            ("[::1]", "::1"),
            ("2001:db8::/32", "[2001:db8:1::2]"),
            ("::/0", "[2001:db8:1::2]"),
            ("0:0::1", "::1"),
        ] {
            assert!(covers(list, host), "{list} {host}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for (list, host) in [
            ("", "hec"),
            (" , ", "hec"),
            (".", "hec"),
            ("*,a", "hec"),
            ("*.example.com", "hec.example.com"),
            ("example.com", "badexample.com"),
            ("example.com:443", "example.com"),
            ("hec.example.com", "example.com"),
            ("192.0.2.1", "192.0.2.11"),
            ("192.0.2", "192.0.2.1"),
            ("2.1", "192.0.2.1"),
            ("192.0.2.0/25", "192.0.2.128"),
            ("192.0.2.1/33", "192.0.2.1"),
            ("192.0.2.1/", "192.0.2.1"),
            ("192.0.2.1/x", "192.0.2.1"),
            ("192.0.2.1/4294967295", "192.0.2.1"),
            ("::/0", "192.0.2.1"),
            ("0.0.0.0/0", "::1"),
            ("2001:db8::/32", "[2001:db9::1]"),
            ("::1/129", "::1"),
        ] {
            assert!(!covers(list, host), "{list} {host}");
        }
    }
}
