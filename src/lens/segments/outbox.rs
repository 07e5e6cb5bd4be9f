//! Sending without ever waiting: what the channel has no room for is kept, up to a bound, and beyond it is counted.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use crate::event::Event;

/// So many events are kept: about 40 MiB, with the packets in them.
const MOST: usize = 65_536;

/// The sending end of a channel, and what is on its way into it.
pub struct Outbox {
    to: SyncSender<Event>,
    waiting: VecDeque<Event>,
    most: usize,
    lost: u64,
    is_closed: bool,
}

impl Outbox {
    /// For this channel.
    pub fn new(to: SyncSender<Event>) -> Self {
        Self { to, waiting: VecDeque::new(), most: MOST, lost: 0, is_closed: false }
    }

    /// Sends it, behind all that waits.
    pub fn send(&mut self, event: Event) {
        self.flush();
        if !self.waiting.is_empty() {
            self.keep(event);
            return;
        }
        match self.to.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(event)) => self.keep(event),
            Err(TrySendError::Disconnected(_)) => self.is_closed = true,
        }
    }

    fn keep(&mut self, event: Event) {
        if self.waiting.len() < self.most {
            self.waiting.push_back(event);
        } else {
            self.lost += 1;
        }
    }

    /// Sends of what waits as much as there is room for.
    pub fn flush(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            match self.to.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => return self.waiting.push_front(event),
                Err(TrySendError::Disconnected(_)) => {
                    self.is_closed = true;
                    self.waiting.clear();
                }
            }
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The time of the first event that waits.
    pub fn first_waiting(&self) -> Option<Duration> {
        self.waiting.front().map(|event| event.at)
    }

    /// Whether nobody is there any more to receive anything.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// What still waits, and how many were lost.
    pub fn into_rest(mut self) -> (Vec<Event>, u64) {
        self.flush();
        (self.waiting.into(), self.lost)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::event::{What, Who};

    fn event(number: u64) -> Event {
        Event { at: Duration::from_secs(number), who: Who::Wire, what: What::Note(number.to_string()) }
    }

    fn numbers(events: impl IntoIterator<Item = Event>) -> Vec<u64> {
        events.into_iter().map(|event| event.at.as_secs()).collect()
    }

    /// A channel for two, three that may wait, and seven events on their way.
    fn congested() -> (Outbox, Receiver<Event>) {
        let (to, from) = sync_channel(2);
        let mut outbox = Outbox { most: 3, ..Outbox::new(to) };
        (0..7).for_each(|number| outbox.send(event(number)));
        (outbox, from)
    }

    #[test]
    fn what_there_is_no_room_for_waits_in_order_and_what_cannot_wait_is_counted() {
        let (mut outbox, from) = congested();
        assert_eq!(outbox.first_waiting(), Some(Duration::from_secs(2)));
        assert_eq!(numbers(from.try_iter()), [0, 1]);
        outbox.flush();
        assert_eq!(numbers(from.try_iter()), [2, 3]);
        outbox.send(event(7));
        outbox.send(event(8));
        assert_eq!(numbers(from.try_iter()), [4, 7]);
        let (rest, lost) = outbox.into_rest();
        assert_eq!((numbers(from.try_iter().chain(rest)), lost), (vec![8], 2));
    }

    #[test]
    fn what_still_waits_at_the_end_is_handed_back() {
        let (outbox, from) = congested();
        let (rest, lost) = outbox.into_rest();
        assert_eq!((numbers(from.try_iter()), numbers(rest), lost), (vec![0, 1], vec![2, 3, 4], 2));
    }

    #[test]
    fn when_the_receiver_has_gone_nothing_is_kept_for_it() {
        let (mut outbox, from) = congested();
        drop(from);
        outbox.flush();
        assert!(outbox.is_closed() && outbox.is_empty());
    }
}
