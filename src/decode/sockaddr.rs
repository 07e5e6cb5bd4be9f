//! Socket addresses as a program hands them to a call, and the other way round (`struct sockaddr`, sockaddr(3type)).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{Malformed, Reader};
use crate::event::Endpoint;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An address, or the number of an address family that is none of these.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// IPv4, IPv6 or Unix.
    End(Endpoint),
    /// Of another family. AF_UNSPEC, which dissolves a connection, is 0.
    Family(u16),
}

/// Reads an address of which the program says that it is as long as `bytes`.
pub fn address(bytes: &[u8]) -> Result<Address, Malformed> {
    let mut reader = Reader::new(bytes, "socket address");
    let family = u16::from_ne_bytes(reader.take()?);
    let end = match family {
        AF_INET => {
            let port = reader.big_endian_u16()?;
            let ip = Ipv4Addr::from(reader.take::<4>()?);
            Endpoint::Inet(SocketAddr::from((ip, port)))
        }
        AF_INET6 => {
            let port = reader.big_endian_u16()?;
            let flow = u32::from_be_bytes(reader.take()?);
            let ip = Ipv6Addr::from(reader.take::<16>()?);
            // Old programs leave it away.
            let scope = reader.u32().unwrap_or(0);
            Endpoint::Inet(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        AF_UNIX => path(&bytes[2..]),
        _ => return Ok(Address::Family(family)),
    };
    Ok(Address::End(end))
}

/// A path ends at its first zero; a name that begins with one is abstract, and has no end but its length (unix(7)).
fn path(bytes: &[u8]) -> Endpoint {
    match bytes {
        [] => Endpoint::Unnamed,
        [0, name @ ..] => Endpoint::Path(format!("@{}", String::from_utf8_lossy(name))),
        _ => {
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            Endpoint::Path(String::from_utf8_lossy(&bytes[..end]).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(bytes: &[u8]) -> String {
        match address(bytes).unwrap() {
            Address::End(end) => end.to_string(),
            Address::Family(family) => format!("family {family}"),
        }
    }

    #[test]
    fn ipv4_ipv6_and_unix_addresses_are_read() {
        assert_eq!(end(&[2, 0, 0x1b, 0x59, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), "127.0.0.1:7001");
        let mut v6 = vec![10, 0, 0x1b, 0x59, 0, 0, 0, 0];
        v6.extend(Ipv6Addr::LOCALHOST.octets());
        assert_eq!(end(&v6), "[::1]:7001");
        assert_eq!(end(b"\x01\0/tmp/a\0rest"), "/tmp/a");
        assert_eq!(end(b"\x01\0\0name"), "@name");
        assert_eq!(end(b"\x01\0"), "(unnamed)");
        assert_eq!(end(&[16, 0, 1, 2]), "family 16");
    }

    #[test]
    fn an_address_that_is_cut_short_is_malformed() {
        for length in 0..8 {
            assert!(address(&[2, 0, 0x1b, 0x59, 127, 0, 0, 1][..length]).is_err(), "{length}");
        }
    }
}
