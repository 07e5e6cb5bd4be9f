//! Lab 2, the addresses: `sockaddr` as the kernel reads it, byte by byte.
//!
//! What it does     builds the struct that bind and connect take, and reads the one that accept and getsockname fill in.
//! New here         sockaddr_in, sockaddr_in6 and sockaddr_un: one pointer type for all three, told apart by their first
//!                  two bytes; port and IPv4 address in network byte order (most significant byte first).
//! Still wrong      nothing; but nobody writes it twice: from lab 3 on the nix crate does it.
//! Man pages        ip(7), ipv6(7), unix(7), byteorder(3), sockaddr(3type)
//! Peer             server.rs and client.rs use it; exercises 2.1 to 2.8 in EXERCISES.md

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::ValueEnum;
use libc::{sa_family_t, sockaddr_in, sockaddr_in6, sockaddr_storage, sockaddr_un, socklen_t};
use nix::errno::Errno;

/// Which kind of address the socket has: the first argument of socket(2), with one choice more for IPv6.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// AF_INET: IPv4
    V4,
    /// AF_INET6 with IPV6_V6ONLY: IPv6 and nothing else
    V6,
    /// AF_INET6 without IPV6_V6ONLY: IPv6, and IPv4 as ::ffff:a.b.c.d
    Dual,
    /// AF_UNIX: a file in place of address and port, on this machine only
    Unix,
}

/// Room for any address, and how many bytes of it count: what bind(2) takes and accept(2) fills in.
#[derive(Clone, Copy)]
pub struct Address {
    /// Large enough, and aligned, for every family. Its first two bytes say which family it is.
    pub storage: sockaddr_storage,
    /// How many bytes of `storage` are in use; accept(2) needs it on the way in and changes it.
    pub length: socklen_t,
}

impl Address {
    /// An empty address with room for any: for accept(2) and getsockname(2) to fill in.
    pub fn unnamed() -> Self {
        // SAFETY: sockaddr_storage is integers and arrays of integers; all zeroes is a valid value of it.
        let storage = unsafe { std::mem::zeroed() };
        Self { storage, length: size_of::<sockaddr_storage>() as socklen_t }
    }

    /// A `sockaddr_in` or `sockaddr_in6`.
    pub fn inet(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Self::from_struct(sockaddr_in {
                sin_family: libc::AF_INET as sa_family_t,
                // The port in network byte order: 7002 is 0x1b5a, and 0x1b must come first in memory. This is htons().
                sin_port: address.port().to_be(),
                // The four bytes of 127.0.0.1 in just that order, whatever this machine's own order is.
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                sin_zero: [0; 8],
            }),
            IpAddr::V6(ip) => Self::from_struct(sockaddr_in6 {
                sin6_family: libc::AF_INET6 as sa_family_t,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                // Which interface a link-local address (fe80::…) belongs to; 0 for all others.
                sin6_scope_id: match address {
                    SocketAddr::V6(address) => address.scope_id(),
                    SocketAddr::V4(_) => 0,
                },
            }),
        }
    }

    /// A `sockaddr_un`: a path of at most 107 bytes, ended by a NUL. ENAMETOOLONG or EINVAL where it is no such path.
    pub fn unix(path: &Path) -> Result<Self, Errno> {
        let mut address = sockaddr_un { sun_family: libc::AF_UNIX as sa_family_t, sun_path: [0; 108] };
        let bytes = path.as_os_str().as_bytes();
        if bytes.len() >= address.sun_path.len() {
            return Err(Errno::ENAMETOOLONG);
        }
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(Errno::EINVAL);
        }
        for (to, from) in address.sun_path.iter_mut().zip(bytes) {
            *to = *from as libc::c_char;
        }
        // Not the whole struct counts: the family, the path and its NUL.
        let length = offset_of!(sockaddr_un, sun_path) + bytes.len() + 1;
        Ok(Self { length: length as socklen_t, ..Self::from_struct(address) })
    }

    /// Which of the three structs this is: AF_INET, AF_INET6 or AF_UNIX.
    pub fn family(&self) -> i32 {
        i32::from(self.storage.ss_family)
    }

    /// The address as bind(2) and connect(2) want it: a pointer that fits every family.
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// The bytes that the kernel reads, in the order in which they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        let length = (self.length as usize).min(size_of::<sockaddr_storage>());
        // SAFETY: the storage is `size_of::<sockaddr_storage>()` initialised bytes, `length` is no more than that, and
        // the slice borrows it.
        unsafe { std::slice::from_raw_parts((&raw const self.storage).cast(), length) }
    }

    fn from_struct<T>(address: T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<sockaddr_storage>()) }
        let mut unnamed = Self::unnamed();
        // SAFETY: the storage has room for a T, as the line above made the compiler check, and is aligned for each family.
        unsafe { (&raw mut unnamed.storage).cast::<T>().write(address) };
        Self { length: size_of::<T>() as socklen_t, ..unnamed }
    }
}

/// As a person writes it: `127.0.0.1:7002`, `[::1]:7002`, `/tmp/lab2.sock`.
impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        match (self.family(), bytes) {
            // Family (2 bytes), port (2), address (4), padding (8).
            (libc::AF_INET, [_, _, p0, p1, a, b, c, d, ..]) => {
                write!(f, "{}:{}", Ipv4Addr::new(*a, *b, *c, *d), u16::from_be_bytes([*p0, *p1]))
            }
            // Family (2 bytes), port (2), flow label (4), address (16), scope (4).
            (libc::AF_INET6, [_, _, p0, p1, _, _, _, _, rest @ ..]) => match rest.first_chunk::<16>() {
                Some(ip) => write!(f, "[{}]:{}", Ipv6Addr::from(*ip), u16::from_be_bytes([*p0, *p1])),
                None => f.write_str("a cut IPv6 address"),
            },
            // Family (2 bytes), then the path; a client that did not bind has none.
            (libc::AF_UNIX, [_, _, path @ ..]) if path.first().is_some_and(|&first| first != 0) => {
                let path = path.split(|&byte| byte == 0).next().unwrap_or(path);
                write!(f, "{}", Path::new(OsStr::from_bytes(path)).display())
            }
            (libc::AF_UNIX, _) => f.write_str("a client without a name"),
            (family, _) => write!(f, "an address of family {family}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_family_port_and_address_in_network_byte_order() {
        let address = Address::inet("127.0.0.1:7002".parse().unwrap());
        let family = (libc::AF_INET as u16).to_ne_bytes();
        assert_eq!(address.bytes()[..2], family);
        assert_eq!(address.bytes()[2..], [0x1b, 0x5a, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_address_reads_as_it_was_written() {
        for text in ["127.0.0.1:7002", "[::1]:7002", "[::ffff:127.0.0.1]:65535", "0.0.0.0:0"] {
            assert_eq!(Address::inet(text.parse().unwrap()).to_string(), text);
        }
        assert_eq!(Address::unix(Path::new("/tmp/x.sock")).unwrap().to_string(), "/tmp/x.sock");
    }

    #[test]
    fn a_path_of_107_bytes_fits_and_one_of_108_does_not() {
        assert!(Address::unix(Path::new(&"x".repeat(107))).is_ok());
        assert_eq!(Address::unix(Path::new(&"x".repeat(108))).err(), Some(Errno::ENAMETOOLONG));
    }

    #[test]
    fn a_unix_client_that_did_not_bind_has_no_name() {
        let mut address = Address::unix(Path::new("/tmp/x.sock")).unwrap();
        address.length = 2;
        assert_eq!(address.to_string(), "a client without a name");
    }
}
