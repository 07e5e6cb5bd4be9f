//! Pure functions between bytes and values: no system call, no privilege, nothing that a malformed message could break.

pub mod escape;
pub mod inet_diag;
pub mod netlink;
pub mod packet;
pub mod ring;
pub mod sockaddr;
pub mod symbols;
pub mod syscall;
pub mod unix_diag;

/// The bytes do not have the shape that they should have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
    /// How many bytes were there.
    pub length: usize,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed {} ({} bytes)", self.what, self.length)
    }
}

impl std::error::Error for Malformed {}

/// Takes fixed-size values from the front of a slice, in the machine's byte order unless a method says otherwise.
struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
    length: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what, length: bytes.len() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_ne_bytes)
    }

    fn big_endian_u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_be_bytes)
    }

    fn big_endian_u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_be_bytes)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    /// For a value that was there, but cannot be.
    fn malformed(&self) -> Malformed {
        Malformed { what: self.what, length: self.length }
    }
}
