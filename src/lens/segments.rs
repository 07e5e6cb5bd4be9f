//! The segments lens: every TCP segment and UDP datagram that passes an interface, in the order in which the kernel had
//! them, with the kernel's own times.
//!
//! What it does not see: what the kernel throws away before (a full queue), what a ring that is full has no room for (it
//! says how many), and on loopback the splitting into packets and the checksums that only real hardware needs.

mod outbox;
mod tracker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::decode::{packet, ring};
use crate::event::{Event, What, Who};
use crate::sys::clock::{self, Relation};
use crate::sys::packet::{Capture, Filling, HEADERS_AND_SOME_DATA, Options, Refused};

use outbox::Outbox;
pub use tracker::Tracker;

/// The longest time between two looks: so often is the watermark advanced when nothing comes.
const IDLE: Duration = Duration::from_millis(5);
/// As long as somebody has to be waited for who reads slowly, the next look comes after this.
const CONGESTED: Duration = Duration::from_millis(1);
/// A packet may be stamped this long before it can be seen in the ring: where another program has asked the kernel for
/// exact times, it stamps packets before it queues them for the processor that is to receive them.
const QUEUED: Duration = Duration::from_millis(2);
/// So much longer than it should take may it take until all that was captured before [`Segments::stop`] has been seen.
const LAST_LOOKS: Duration = Duration::from_secs(1);
/// The end has not been asked for.
const NEVER: u64 = u64::MAX;

/// A capture that runs in a thread of its own, and sends what it sees.
pub struct Segments {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Ended>>,
}

struct Shared {
    /// Nanoseconds of CLOCK_MONOTONIC.
    delivered_until: AtomicU64,
    stop_at: AtomicU64,
    started: Duration,
}

/// What happened in a capture.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    /// TCP segments and UDP datagrams that were captured; those lost later are among them.
    pub captured: u64,
    /// Packets that the kernel had no room for in the ring.
    pub dropped: u64,
    /// Captured ones that were thrown away because nobody took them out of the channel in time.
    pub lost: u64,
    /// Packets whose headers were not what they should be.
    pub malformed: u64,
    /// Captured ones that were sent after [`Segments::delivered_until`] had passed their time. There should be none.
    pub late: u64,
}

/// What a capture leaves behind.
#[derive(Debug, Default)]
pub struct Ended {
    /// What happened in it.
    pub statistics: Statistics,
    /// Events for which there was no room in the channel any more. They come after all that is in it.
    pub rest: Vec<Event>,
    /// Why it ended before it was asked to.
    pub error: Option<io::Error>,
}

impl Segments {
    /// Captures on `interface`, everything or only one port. What passes after this has returned is seen.
    ///
    /// Times count from `started`. A receiver that is slow is waited for, up to some ten thousand segments; beyond that,
    /// they are counted as lost.
    pub fn start(interface: &str, port: Option<u16>, started: Instant, to: SyncSender<Event>) -> Result<Self, Refused> {
        let capture = Capture::open(&Options { interface, port, keep: HEADERS_AND_SOME_DATA })?;
        let shared = Arc::new(Shared {
            delivered_until: AtomicU64::new(0),
            stop_at: AtomicU64::new(NEVER),
            started: clock::monotonic_at(started),
        });
        let lens = Lens {
            capture,
            port,
            shared: Arc::clone(&shared),
            relation: Relation::measure(),
            tracker: Tracker::new(),
            outbox: Outbox::new(to),
            seen_until: clock::monotonic(),
            statistics: Statistics::default(),
        };
        let thread = thread::Builder::new()
            .name("segments".into())
            .spawn(move || lens.run())
            .map_err(|error| Refused { call: "clone".into(), error })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Every segment that came before this time has been sent (or counted as lost); later ones may have been. It advances
    /// when nothing comes, too, and lies some 10 ms behind. [`Duration::MAX`] when no more will come.
    pub fn delivered_until(&self) -> Duration {
        match self.shared.delivered_until.load(Ordering::Acquire) {
            u64::MAX => Duration::MAX,
            nanoseconds => Duration::from_nanos(nanoseconds).saturating_sub(self.shared.started),
        }
    }

    /// Ends the capture when all that was captured up to now has been sent; what the channel has no room for is returned.
    pub fn stop(mut self) -> Ended {
        self.join().unwrap_or_default()
    }

    fn join(&mut self) -> Option<Ended> {
        let now = u64::try_from(clock::monotonic().as_nanos()).unwrap_or(NEVER - 1);
        self.shared.stop_at.store(now, Ordering::Release);
        self.thread.take()?.join().ok()
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.join();
    }
}

/// What the thread works with. All times are of CLOCK_MONOTONIC.
struct Lens {
    capture: Capture,
    port: Option<u16>,
    shared: Arc<Shared>,
    relation: Relation,
    tracker: Tracker,
    outbox: Outbox,
    /// All that came before has been taken out of the ring.
    seen_until: Duration,
    statistics: Statistics,
}

impl Lens {
    fn run(mut self) -> Ended {
        let error = self.look_until_stopped().err();
        let dropped = self.capture.dropped().unwrap_or(self.statistics.dropped);
        let (rest, lost) = self.outbox.into_rest();
        self.shared.delivered_until.store(u64::MAX, Ordering::Release);
        Ended { statistics: Statistics { dropped, lost, ..self.statistics }, rest, error }
    }

    fn look_until_stopped(&mut self) -> io::Result<()> {
        loop {
            // Read before the look: what was captured until then is in what the look finds.
            let stop_at = self.shared.stop_at.load(Ordering::Acquire);
            self.look();
            self.outbox.flush();
            self.publish();
            if stop_at != NEVER {
                let stop_at = Duration::from_nanos(stop_at);
                if self.seen_until >= stop_at || clock::monotonic() >= stop_at + LAST_LOOKS {
                    return Ok(());
                }
            }
            if self.outbox.is_closed() {
                return Ok(());
            }
            self.capture.wait(if self.outbox.is_empty() { IDLE } else { CONGESTED })?;
        }
    }

    /// Takes out of the ring what the kernel has handed over, and notes up to when that is all.
    fn look(&mut self) {
        self.relation.update();
        while self.take_block() {}
        let now = clock::monotonic();
        let seen_until = match self.capture.filling() {
            Filling::Nothing => now,
            Filling::Since(realtime) => self.relation.to_monotonic(realtime, (self.seen_until, now)),
        };
        self.seen_until = self.seen_until.max(seen_until.min(now).saturating_sub(QUEUED));
    }

    fn take_block(&mut self) -> bool {
        let Self { capture, port, shared, relation, tracker, outbox, seen_until, statistics } = self;
        let Some(block) = capture.block() else { return false };
        let now = clock::monotonic();
        for packet in ring::packets(block.bytes()) {
            let decoded = packet.and_then(|packet| Ok((packet, packet::ip(packet.bytes, packet.length)?)));
            let Ok((packet, header)) = decoded else {
                statistics.malformed += 1;
                continue;
            };
            let Some(header) = header else { continue };
            if port.is_some_and(|port| header.from.port() != port && header.to.port() != port) {
                continue;
            }
            let at = relation.to_monotonic(packet.at, (*seen_until, now));
            statistics.captured += 1;
            statistics.late += u64::from(at < *seen_until);
            let at = at.saturating_sub(shared.started);
            let segment = tracker.segment(header, packet.bytes, packet.length, at);
            outbox.send(Event { at, who: Who::Wire, what: What::Segment(Box::new(segment)) });
        }
        true
    }

    fn publish(&self) {
        // What waits for room in the channel has not been delivered.
        let waiting = self.outbox.first_waiting().map(|at| (at + self.shared.started).saturating_sub(QUEUED));
        let until = waiting.map_or(self.seen_until, |waiting| waiting.min(self.seen_until));
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX - 1);
        self.shared.delivered_until.fetch_max(until, Ordering::Release);
    }
}
