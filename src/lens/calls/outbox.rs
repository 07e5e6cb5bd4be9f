//! News on its way to whoever wants it. Who is slow is waited for, but not while there is something to be answered.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use super::News;

/// How long to wait for room in the channel at a time.
const ROOM: Duration = Duration::from_micros(200);

/// Says that there is a request in the inbox: that is seen also by a thread that no signal interrupts, because it is never
/// asleep.
#[derive(Clone, Default, Debug)]
pub struct Bell(Arc<AtomicBool>);

impl Bell {
    /// Rings; to be done after the request was put into the inbox.
    pub fn ring(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was rung since the last answer.
    pub fn answer(&self) -> bool {
        // Asked at every stop: a load is cheaper than an exchange.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Acquire)
    }

    fn is_ringing(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The sending end of the channel.
pub struct Outbox {
    to: SyncSender<News>,
    bell: Bell,
    /// What there was no room for when the bell rang. It grows only until the request is answered: that is the next thing
    /// that the thread does.
    waiting: RefCell<VecDeque<News>>,
}

impl Outbox {
    /// For this channel; whoever rings the bell does not read it meanwhile.
    pub fn new(to: SyncSender<News>, bell: Bell) -> Self {
        Self { to, bell, waiting: RefCell::default() }
    }

    /// Sends it, behind all that waits. Returns when it is sent, or when the bell rings.
    pub fn send(&self, news: News) {
        self.waiting.borrow_mut().push_back(news);
        self.flush();
    }

    /// Sends what waits, until nothing does or the bell rings. When the receiver has gone, nobody is left to tell.
    pub fn flush(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while let Some(news) = waiting.pop_front() {
            match self.to.try_send(news) {
                Ok(()) => {}
                Err(TrySendError::Full(news)) => {
                    waiting.push_front(news);
                    if self.bell.is_ringing() {
                        return;
                    }
                    std::thread::sleep(ROOM);
                }
                Err(TrySendError::Disconnected(_)) => waiting.clear(),
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn refused(pid: u32) -> News {
        News::Refused { pid, errno: nix::errno::Errno::ENOENT }
    }

    fn pid(news: News) -> Option<u32> {
        if let News::Refused { pid, .. } = news { Some(pid) } else { None }
    }

    #[test]
    fn while_the_bell_rings_a_full_channel_holds_nobody_up_and_the_order_is_kept() {
        let (to, from) = sync_channel(2);
        let bell = Bell::default();
        let outbox = Outbox::new(to, bell.clone());
        bell.ring();
        (0..5).for_each(|pid| outbox.send(refused(pid)));
        assert!(!outbox.is_empty());
        let mut heard: Vec<_> = from.try_iter().filter_map(pid).collect();
        while !outbox.is_empty() {
            outbox.flush();
            heard.extend(from.try_iter().filter_map(pid));
        }
        assert_eq!(heard, [0, 1, 2, 3, 4]);
        assert!(bell.answer() && !bell.answer());
    }
}
