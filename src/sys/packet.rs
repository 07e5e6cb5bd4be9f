//! Capturing packets: packet(7) with a ring of memory that the kernel fills and this process reads (TPACKET_V3).
//!
//! Needs the capability CAP_NET_RAW in the user namespace that owns the network.

mod filter;
mod ring;

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket, sockopt};

pub use ring::{Block, Filling};

/// How many bytes of each packet are kept where nobody asks for more: all headers, and some data.
pub const HEADERS_AND_SOME_DATA: u32 = 256;

/// What to capture.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The name of the interface.
    pub interface: &'a str,
    /// Only TCP and UDP from or to this port. A fragment other than the first has no port, and does not come; an IPv6
    /// packet with extension headers comes whatever its port is.
    pub port: Option<u16>,
    /// How many bytes of each packet to keep, from its IP header on.
    pub keep: u32,
}

/// What the kernel refused.
#[derive(Debug)]
pub struct Refused {
    /// The call, with what it was about: `socket(AF_PACKET)`.
    pub call: String,
    /// What it said.
    pub error: io::Error,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error.raw_os_error().map(Errno::from_raw) {
            Some(errno) => write!(f, "{}: {errno:?} ({})", self.call, errno.desc()),
            None => write!(f, "{}: {}", self.call, self.error),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// For `map_err`: this call failed.
fn refused<E: Into<io::Error>>(call: impl Into<String>) -> impl FnOnce(E) -> Refused {
    move |error| Refused { call: call.into(), error: error.into() }
}

/// A running capture: every IP packet of one interface, from its IP header on.
///
/// On a loopback interface each packet passes twice, out and in, and is captured when it comes in; on any other one both
/// directions are captured.
pub struct Capture {
    fd: OwnedFd,
    ring: ring::Ring,
    dropped: u64,
}

impl Capture {
    /// Begins. What passes before this returns may be in it, and what passes afterwards is.
    pub fn open(options: &Options) -> Result<Self, Refused> {
        let name = options.interface;
        let fd = socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
            .map_err(refused("socket(AF_PACKET)"))?;
        let index = if_nametoindex(name).map_err(refused(format!("if_nametoindex({name})")))?;
        // With protocol 0 it belongs to the interface but gets nothing yet: no packet passes by the filter.
        bind(&fd, index, 0).map_err(refused(format!("bind({name})")))?;
        let is_loopback = kind_of_interface(&fd).map_err(refused("getsockname"))? == libc::ARPHRD_LOOPBACK;
        if is_loopback {
            // Spares the kernel the trouble. It came with Linux 4.20; the filter passes over those packets in any case.
            let _ = set_option(&fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1_i32);
        }
        let program = filter::program(options.port, is_loopback, options.keep);
        attach(&fd, &program).map_err(refused("setsockopt(SO_ATTACH_FILTER)"))?;
        let ring = ring::Ring::open(&fd)?;
        bind(&fd, index, libc::ETH_P_ALL as u16).map_err(refused(format!("bind({name})")))?;
        let pending = getsockopt(&fd, sockopt::SocketError).map_err(refused("getsockopt(SO_ERROR)"))?;
        if pending != 0 {
            return Err(Refused { call: format!("bind({name})"), error: io::Error::from_raw_os_error(pending) });
        }
        Ok(Self { fd, ring, dropped: 0 })
    }

    /// Waits until there is a block to read, for at most `limit`, rounded up to milliseconds.
    ///
    /// While the interface is down, it only waits.
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        let timeout = PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(0) | Err(Errno::EINTR) => return Ok(()),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        if polled[0].revents().is_none_or(|events| events.contains(PollFlags::POLLERR)) {
            // Reading it clears it. ENETDOWN is no end: the interface may come up again, and the capture goes on then.
            let error = getsockopt(&self.fd, sockopt::SocketError)?;
            if error != 0 && error != libc::ENETDOWN {
                return Err(io::Error::from_raw_os_error(error));
            }
        }
        Ok(())
    }

    /// The next block that the kernel has handed over. It is given back when it is dropped.
    ///
    /// The kernel hands a block over when it is full, or some milliseconds after the first packet in it.
    pub fn block(&mut self) -> Option<Block<'_>> {
        self.ring.block()
    }

    /// How far the kernel is with the block that comes next.
    pub fn filling(&self) -> Filling {
        self.ring.filling()
    }

    /// How many packets have been lost since the beginning because the ring was full.
    pub fn dropped(&mut self) -> io::Result<u64> {
        self.dropped += u64::from(read_statistics(&self.fd)?.tp_drops);
        Ok(self.dropped)
    }
}

fn address(interface: u32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: interface.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    }
}

fn bind(fd: &OwnedFd, interface: u32, protocol: u16) -> io::Result<()> {
    let address = address(interface, protocol);
    // SAFETY: the kernel reads one sockaddr_ll of the given size, which lives through the call.
    let bound = unsafe {
        libc::bind(fd.as_raw_fd(), (&raw const address).cast(), mem::size_of_val(&address) as libc::socklen_t)
    };
    Ok(Errno::result(bound).map(drop)?)
}

/// The kind (`ARPHRD_…`) of the interface that a socket is bound to. The kernel writes no more of the address than there
/// is, which is why nix takes it for none.
fn kind_of_interface(fd: &OwnedFd) -> io::Result<u16> {
    let mut address = address(0, 0);
    let mut length = mem::size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `address`, which is as long, and the length that there was
    // into `length`; both live through the call.
    let named = unsafe { libc::getsockname(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) };
    Errno::result(named)?;
    Ok(address.sll_hatype)
}

fn attach(fd: &OwnedFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let filter =
        libc::sock_fprog { len: u16::try_from(program.len()).unwrap_or(u16::MAX), filter: program.as_ptr().cast_mut() };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}

/// `value` is of the type that this option takes. Where it holds a pointer, the kernel only reads what is behind it.
fn set_option<T>(fd: &OwnedFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    let length = mem::size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `value`, which lives through the call. The one pointer in a value of this
    // file, that to a filter's program, leads to as many instructions as stand beside it, and they live as long.
    let set = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const *value).cast(), length) };
    Ok(Errno::result(set).map(drop)?)
}

/// What happened since it was last read.
fn read_statistics(fd: &OwnedFd) -> io::Result<libc::tpacket_stats_v3> {
    let mut statistics = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut length = mem::size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `statistics`, which is as long, and the length written into
    // `length`; both live through the call.
    let read = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    Errno::result(read)?;
    Ok(statistics)
}
