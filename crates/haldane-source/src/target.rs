//! Where requests may go: never to the addresses under which clouds give credentials to whoever asks from inside.
//!
//! The client asks for every address that a name resolves to, and again after every redirect. Private and loopback addresses are
//! allowed: that is where metric systems live.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Metadata services outside of the link-local ranges.
const METADATA_V4: [Ipv4Addr; 3] = [
    // Alibaba Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    // Oracle Cloud, in its older regions.
    Ipv4Addr::new(192, 0, 0, 192),
    // Azure's wire server.
    Ipv4Addr::new(168, 63, 129, 16),
];

/// Metadata services in IPv6: AWS (instances, containers) and Google Cloud.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0x0ce, 0, 0, 0, 0, 0, 0x254),
];

/// Whether a request may go to `ip`.
///
/// ```
/// # use haldane_source::target::is_allowed_target;
/// assert!(is_allowed_target("127.0.0.1".parse().unwrap()));
/// assert!(!is_allowed_target("169.254.169.254".parse().unwrap()));
/// ```
#[must_use]
pub fn is_allowed_target(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_allowed_v4(ip),
        IpAddr::V6(ip) => match embedded(ip) {
            Some(ip) => is_allowed_v4(ip),
            None => is_allowed_v6(ip),
        },
    }
}

/// `0.0.0.0/8` reaches this host on some systems without being named as loopback, multicast and broadcast reach many.
fn is_allowed_v4(ip: Ipv4Addr) -> bool {
    let [first, ..] = ip.octets();
    !(ip.is_link_local()
        || first == 0
        || ip.is_multicast()
        || ip.is_broadcast()
        || METADATA_V4.contains(&ip))
}

fn is_allowed_v6(ip: Ipv6Addr) -> bool {
    let [first, ..] = ip.segments();
    let is_link_local = first & 0xffc0 == 0xfe80;
    !(is_link_local || ip.is_unspecified() || ip.is_multicast() || METADATA_V6.contains(&ip))
}

/// Returns the IPv4 address that an IPv6 one stands for: mapped, compatible, translated (64:ff9b::/96, 64:ff9b:1::/48) or 6to4.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let of = |high: u16, low: u16| {
        let [one, two] = high.to_be_bytes();
        let [three, four] = low.to_be_bytes();
        Some(Ipv4Addr::new(one, two, three, four))
    };
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) | (0x64, 0xff9b, 1, ..) => of(g, h),
        // Not `::` and `::1`, which are addresses of their own.
        (0, 0, 0, 0, 0, 0) if g != 0 => of(g, h),
        (0x2002, ..) => of(b, c),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_refused_in_every_spelling() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.0",
            "169.254.255.255",
            "0.0.0.0",
            "0.1.2.3",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!is_allowed_target(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn where_metric_systems_live_is_allowed() {
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "8.8.8.8",
            "169.253.255.255",
            "169.255.0.0",
            "::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_allowed_target(text.parse().unwrap()), "{text}");
        }
    }
}
