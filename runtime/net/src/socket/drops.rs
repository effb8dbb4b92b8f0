//! What the kernel dropped because a socket's receive buffer was full.

use std::fs;
use std::net::SocketAddr;

/// Datagrams that the kernel dropped at the UDP sockets bound to this port of this network namespace since
/// they were bound; none where `/proc` does not tell.
pub fn dropped_by_kernel(socket: SocketAddr) -> Option<u64> {
    let table = if socket.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    count(&fs::read_to_string(table).ok()?, socket.port())
}

/// Columns as in the kernel's `udp4_format_sock`: the second is address:port in hexadecimal, the last counts
/// drops.
fn count(table: &str, port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let drops = rows
        .filter(|columns| columns.get(1).is_some_and(|address| address.ends_with(&port)))
        .filter_map(|columns| columns.last()?.parse::<u64>().ok());
    drops.reduce(|sum, drops| sum + drops)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_last_column_of_the_port_counts() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 11 2 0000000000000000 17\n\
             2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 12 2 0000000000000000 5\n";
        assert_eq!(count(table, 0x1f90), Some(17));
        assert_eq!(count(table, 0x1f92), None);
    }

    #[test]
    fn datagrams_nobody_reads_are_counted() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4_096).unwrap();
        let address = socket.local_addr().unwrap();
        for _ in 0..100 {
            socket.send_to(&[0; 1_024], address).unwrap();
        }
        assert!(dropped_by_kernel(address).is_some_and(|drops| drops > 0));
    }
}
