//! The ring: blocks of memory that the kernel fills one after another, each given back to it when it has been read.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;

use super::{Refused, refused, set_option};

/// Small, so that there are many: at a low rate each is handed over nearly empty, after [`RETIRE_MS`].
const BLOCK: usize = 128 * 1024;
/// 24 MiB: room for 100,000 segments a second while nobody reads for about a second.
const BLOCKS: usize = 192;
/// Where the kernel has not so much memory to give, down to this many.
const FEWEST_BLOCKS: usize = 12;
/// How long a block with packets in it may wait to be handed over, in milliseconds; the kernel takes up to twice that.
const RETIRE_MS: u32 = 5;
/// With TPACKET_V3 of no meaning, but it has to fit.
const FRAME: usize = 2048;

/// Where in a block its header has these (struct tpacket_block_desc).
const STATUS: usize = 8;
const COUNT: usize = 12;
const OPENED_SECONDS: usize = 32;
const OPENED_NANOSECONDS: usize = 36;

/// The mapped ring of one packet socket.
pub struct Ring {
    memory: NonNull<u8>,
    blocks: usize,
    next: usize,
}

// SAFETY: the memory belongs to this value alone, and no other thread has a pointer into it; no part of it is bound to the
// thread that mapped it.
unsafe impl Send for Ring {}

/// How far the kernel is with a block that it has not handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filling {
    /// There is no packet in it.
    Nothing,
    /// There are packets in it, none of which came before this moment of CLOCK_REALTIME.
    Since(Duration),
}

impl Ring {
    /// Gives the socket a ring and maps it.
    pub fn open(fd: &OwnedFd) -> Result<Self, Refused> {
        let version = libc::tpacket_versions::TPACKET_V3 as i32;
        set_option(fd, libc::SOL_PACKET, libc::PACKET_VERSION, &version)
            .map_err(refused("setsockopt(PACKET_VERSION)"))?;
        let mut blocks = BLOCKS;
        loop {
            match request(fd, blocks) {
                Ok(()) => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && blocks / 2 >= FEWEST_BLOCKS => blocks /= 2,
                Err(error) => return Err(Refused { call: "setsockopt(PACKET_RX_RING)".into(), error }),
            }
        }
        let memory = map(fd, blocks * BLOCK).map_err(refused("mmap"))?;
        Ok(Self { memory, blocks, next: 0 })
    }

    /// The next block, if the kernel has handed it over.
    pub fn block(&mut self) -> Option<Block<'_>> {
        let status = self.word(STATUS).load(Ordering::Acquire);
        // Not then_some: it would make a block, and give it back, also where there is none.
        if status & libc::TP_STATUS_USER != 0 { Some(Block { ring: self }) } else { None }
    }

    /// How far the kernel is with the next block. Asked right after there was none: a block that was handed over since
    /// counts as being filled.
    pub fn filling(&self) -> Filling {
        // A block was given back with a count of 0, and gets its time before its first packet: with another count, the
        // time belongs to the packets that are counted.
        if self.word(COUNT).load(Ordering::Acquire) == 0 {
            return Filling::Nothing;
        }
        let [seconds, nanoseconds] =
            [OPENED_SECONDS, OPENED_NANOSECONDS].map(|at| u64::from(self.word(at).load(Ordering::Relaxed)));
        Filling::Since(Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
    }

    /// A word of the next block's header, which the kernel may write to at any time.
    fn word(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at < BLOCK && at.is_multiple_of(4) && self.next < self.blocks);
        // SAFETY: `next` is below `blocks` and `at` is one of the constants above, so it is within the mapped memory.
        let word = unsafe { self.memory.add(self.next * BLOCK + at) };
        // SAFETY: it lies in memory that stays mapped as long as `self`, is aligned to 4 (the mapping to a page), and is
        // written to by the kernel and through such an atomic only: a Block, which reads it otherwise, borrows `self`
        // mutably.
        unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this address and length, and nothing borrows from it any more.
        let _ = unsafe { libc::munmap(self.memory.as_ptr().cast(), self.blocks * BLOCK) };
    }
}

/// A block that the kernel has handed over. Dropping it gives it back.
pub struct Block<'a> {
    ring: &'a mut Ring,
}

impl Block<'_> {
    /// The whole block, as [`decode::ring`](crate::decode::ring) reads it.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `next` is below `blocks`, so a whole block follows there in the mapped memory.
        let begin = unsafe { self.ring.memory.add(self.ring.next * BLOCK) };
        // SAFETY: the memory is mapped and initialised by the kernel, and stays mapped as long as `self` borrows the ring.
        // The kernel does not write to a block between handing it over and getting it back, which drop does, when no
        // slice of it is left.
        unsafe { std::slice::from_raw_parts(begin.as_ptr(), BLOCK) }
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.ring.word(COUNT).store(0, Ordering::Relaxed);
        self.ring.word(STATUS).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.ring.next = (self.ring.next + 1) % self.ring.blocks;
    }
}

fn request(fd: &OwnedFd, blocks: usize) -> io::Result<()> {
    let request = libc::tpacket_req3 {
        tp_block_size: BLOCK as u32,
        tp_block_nr: blocks as u32,
        tp_frame_size: FRAME as u32,
        tp_frame_nr: (BLOCK / FRAME * blocks) as u32,
        tp_retire_blk_tov: RETIRE_MS,
        tp_sizeof_priv: 0,
        tp_feature_req_word: 0,
    };
    set_option(fd, libc::SOL_PACKET, libc::PACKET_RX_RING, &request)
}

fn map(fd: &OwnedFd, length: usize) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses the place, so that nothing that is mapped already is touched.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd.as_raw_fd(), 0) };
    if memory == libc::MAP_FAILED {
        return Err(Errno::last().into());
    }
    NonNull::new(memory.cast()).ok_or_else(|| Errno::ENOMEM.into())
}
