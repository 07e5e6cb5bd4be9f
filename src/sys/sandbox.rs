//! A network of its own for this process and whatever it starts: user and network namespaces, without root.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork, getegid, geteuid};

use crate::decode::netlink;

/// The size of the largest IP packet on the loopback interface in there: that of Ethernet, so that data is cut into segments
/// as it would be between two machines.
pub const MTU: i32 = 1500;

/// The kernel would not give us a network of our own.
#[derive(Debug)]
pub struct Refusal {
    /// What it was asked for.
    pub call: &'static str,
    /// What it answered.
    pub errno: Errno,
}

impl Refusal {
    fn to(call: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { call, errno: error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw) }
    }

    /// Why, and the one command that would change it, as far as that is known.
    pub fn hint(&self) -> &'static str {
        match (self.call, self.errno) {
            ("unshare", Errno::ENOSPC) => {
                "this machine allows no user namespaces: sudo sysctl user.max_user_namespaces=15000"
            }
            ("unshare", Errno::EPERM) if fs::exists(UNPRIVILEGED_CLONE).unwrap_or(false) => {
                "ordinary users may not make namespaces here: sudo sysctl kernel.unprivileged_userns_clone=1"
            }
            ("unshare", Errno::EPERM) => {
                "a container's seccomp profile forbids it: start the container with --security-opt seccomp=unconfined"
            }
            ("write uid_map", Errno::EPERM | Errno::EACCES) => {
                "AppArmor forbids it (Ubuntu 24.04 and later): sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            }
            ("unshare", Errno::EINVAL) => "the kernel was built without namespaces (CONFIG_USER_NS, CONFIG_NET_NS)",
            _ => "the kernel gives no other reason",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?} ({}): {}", self.call, self.errno, self.errno.desc(), self.hint())
    }
}

const UNPRIVILEGED_CLONE: &str = "/proc/sys/kernel/unprivileged_userns_clone";

/// Moves this process into a network of its own, with nothing but a loopback interface, that goes away with the last process
/// in it. Its user stays who it is: what it executes has no more rights than before.
///
/// Has to be called before another thread is started (EINVAL, user_namespaces(7)).
pub fn enter() -> Result<(), Refusal> {
    let (user, group) = (geteuid(), getegid());
    match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
        Ok(()) => {
            write("/proc/self/setgroups", "deny").map_err(Refusal::to("write setgroups"))?;
            write("/proc/self/uid_map", &format!("{user} {user} 1")).map_err(Refusal::to("write uid_map"))?;
            write("/proc/self/gid_map", &format!("{group} {group} 1")).map_err(Refusal::to("write gid_map"))?;
        }
        // Root needs no user namespace for it.
        Err(_) if user.is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok() => {}
        Err(errno) => return Err(Refusal { call: "unshare", errno }),
    }
    // A table of connections of its own, and a small one: asking for all of it takes 13 µs then, and not 200 (Linux 6.1 and
    // later). It is made when the next network is made.
    if wish_for_a_small_table() {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Refusal { call: "unshare", errno })?;
    }
    furnish()
}

/// Moves the calling thread, and what it starts from now on, from the network that [`enter`] has made into another such one,
/// in which nothing has happened yet: no port is taken, no connection is in TIME-WAIT. The other threads stay where they
/// are.
pub fn renew() -> Result<(), Refusal> {
    wish_for_a_small_table();
    unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Refusal { call: "unshare", errno })?;
    furnish()
}

/// For the next network that is made from this one. Whether the kernel knows of such wishes.
fn wish_for_a_small_table() -> bool {
    write("/proc/sys/net/ipv4/tcp_child_ehash_entries", "16").is_ok()
}

fn furnish() -> Result<(), Refusal> {
    // Ports below 1024 harm nobody in here. Not there in old kernels.
    let _ = write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    set_up_loopback().map_err(Refusal::to("ioctl SIOCSIFFLAGS"))
}

fn write(path: &str, text: &str) -> io::Result<()> {
    fs::write(path, text)
}

/// Up, with Ethernet's MTU, and with nothing that joins segments before they are seen.
fn set_up_loopback() -> io::Result<()> {
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut request = loopback();
    request.ifr_ifru.ifru_mtu = MTU;
    ioctl(&control, libc::SIOCSIFMTU, &mut request)?;
    for offload in [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO] {
        let mut value = EthtoolValue { command: offload, data: 0 };
        let mut request = loopback();
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // Where it cannot be turned off, segments are shown as large as they are.
        let _ = ioctl(&control, libc::SIOCETHTOOL as _, &mut request);
    }
    let mut request = loopback();
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    ioctl(&control, libc::SIOCSIFFLAGS, &mut request)
}

/// `struct ethtool_value`, and what can be set with it (`linux/ethtool.h`): segmentation and joining by the interface.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

/// A request about the interface `lo`.
fn loopback() -> libc::ifreq {
    // SAFETY: all of its fields are numbers, arrays of numbers or pointers: zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request
}

fn ioctl(control: &OwnedFd, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: each of these requests reads and writes one ifreq, and what its pointer, where it has one, points to: both
    // live through the call.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), what as _, std::ptr::from_mut(request)) };
    Ok(Errno::result(result).map(drop)?)
}

/// Tries [`enter`] in a process made for that, so that a refusal half-way leaves this one as it was. With it, whether a pair
/// of interfaces (veth(4)) can be made in there.
///
/// To be called while this process has a single thread.
pub fn try_it() -> io::Result<Result<bool, Refusal>> {
    let (mut answer, said) = io::pipe()?;
    // SAFETY: this process has one thread (the caller's duty), so that the child may do all that it could.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let verdict = match enter() {
                Ok(()) if can_make_a_pair() => [b'2', 0, 0],
                Ok(()) => [b'1', 0, 0],
                Err(refusal) => {
                    let call = CALLS.iter().position(|call| *call == refusal.call).unwrap_or(0);
                    [b'0', call as u8, refusal.errno as i32 as u8]
                }
            };
            let _ = (&said).write_all(&verdict);
            // SAFETY: _exit ends this process at once, without what belongs to its parent.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            drop(said);
            let mut verdict = [0; 3];
            let read = answer.read_exact(&mut verdict);
            let _ = waitpid(child, None);
            read?;
            Ok(match verdict {
                [b'0', call, errno] => Err(Refusal {
                    call: CALLS.get(usize::from(call)).copied().unwrap_or("unshare"),
                    errno: Errno::from_raw(i32::from(errno)),
                }),
                [has_pairs, ..] => Ok(has_pairs == b'2'),
            })
        }
    }
}

/// What [`enter`] does that can be refused.
const CALLS: [&str; 5] = ["unshare", "write setgroups", "write uid_map", "write gid_map", "ioctl SIOCSIFFLAGS"];

/// Makes a pair of interfaces, and leaves them to go with their network (rtnetlink(7)).
fn can_make_a_pair() -> bool {
    const RTM_NEWLINK: u16 = 16;
    const ACKNOWLEDGE_CREATE_NEW: u16 = 0x4 | 0x400 | 0x200;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    let attribute = |kind: u16, value: &[u8]| {
        let length = (4 + value.len()) as u16;
        [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), value].concat()
    };
    // An ifinfomsg of 16 bytes that leaves all to the kernel, and what kind of interface it is to be.
    let body = [[0; 16].as_slice(), &attribute(IFLA_LINKINFO, &attribute(IFLA_INFO_KIND, b"veth"))].concat();
    let made = || -> io::Result<bool> {
        let kernel = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        send(kernel.as_raw_fd(), &netlink::request(RTM_NEWLINK, ACKNOWLEDGE_CREATE_NEW, 1, &body), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        let first = netlink::messages(&answer[..length]).next();
        Ok(
            matches!(first, Some(Ok(message)) if message.kind == netlink::ERROR && netlink::errno(message.body) == Ok(0)),
        )
    };
    made().unwrap_or(false)
}

/// Whether this process may capture segments on the machine's own network (packet(7): CAP_NET_RAW).
pub fn may_capture() -> bool {
    socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).is_ok()
}
