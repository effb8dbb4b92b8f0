//! The hosts' addresses.

use std::net::Ipv4Addr;

use super::star::Host;

const NETWORK: [u8; 3] = [10, 79, 0];

/// `10.79.0.1` for the first host.
pub(super) fn address(host: Host) -> Ipv4Addr {
    let last = u8::try_from(host.0 + 1).expect("a network has at most 254 hosts: Options::parse");
    Ipv4Addr::new(NETWORK[0], NETWORK[1], NETWORK[2], last)
}

/// Which of so many hosts an IP packet is for.
pub(super) fn destination(packet: &[u8], hosts: usize) -> Option<Host> {
    let is_version_4 = packet.first()? >> 4 == 4;
    // RFC 791, section 3.1: the destination's address is the header's fifth word.
    let address = packet.get(16..20).filter(|_| is_version_4)?;
    let number = usize::from(address[3]);
    let is_host = address.starts_with(&NETWORK) && (1..=hosts).contains(&number);
    is_host.then(|| Host(number - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: u8, to: [u8; 4]) -> Vec<u8> {
        [&[version << 4 | 5], &[0; 15][..], &to, &[0; 8]].concat()
    }

    #[test]
    fn packets_find_their_host() {
        for index in 0..3 {
            assert_eq!(destination(&packet(4, address(Host(index)).octets()), 3), Some(Host(index)));
        }
    }

    #[test]
    fn what_is_for_nobody_goes_nowhere() {
        for (version, to) in
            [(4, [10, 79, 0, 0]), (4, [10, 79, 0, 4]), (4, [10, 78, 0, 1]), (6, [10, 79, 0, 1])]
        {
            assert_eq!(destination(&packet(version, to), 3), None);
        }
        assert_eq!(destination(&[], 3), None);
        assert_eq!(destination(&[0x45; 19], 3), None);
    }
}
