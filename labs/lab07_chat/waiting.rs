//! What the thread at the keyboard can wait for, and what the thread at the connection has to tell it.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The latest lines are kept for whoever waits for one of them, so many at most.
const MOST_KEPT: usize = 1000;

/// What one thread tells and the other waits for: answers, lines, a connection, the end.
#[derive(Default)]
pub struct Waiting {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_connected: bool,
    is_leaving: bool,
    /// Requests that were sent and not answered.
    open: usize,
    /// Requests that will not be answered any more: their connection is gone.
    lost: usize,
    shown: VecDeque<String>,
}

/// Why somebody waited in vain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InVain {
    /// The time was over.
    TooLong,
    /// The connection is gone.
    Lost,
}

impl Waiting {
    /// A connection is there.
    pub fn connected(&self) {
        self.change(|state| state.is_connected = true);
    }

    /// The connection is gone, and with it the answers that were to come.
    pub fn disconnected(&self) {
        self.change(|state| {
            state.is_connected = false;
            state.lost += std::mem::take(&mut state.open);
        });
    }

    /// A request is about to be sent.
    pub fn sent(&self) {
        self.change(|state| state.open += 1);
    }

    /// An answer has come.
    pub fn answered(&self) {
        self.change(|state| state.open = state.open.saturating_sub(1));
    }

    /// A line has been shown.
    pub fn shown(&self, line: &str) {
        self.change(|state| {
            if state.shown.len() == MOST_KEPT {
                state.shown.pop_front();
            }
            state.shown.push_back(line.into());
        });
    }

    /// From here on the connection's end is what is wanted.
    pub fn leave(&self) {
        self.change(|state| state.is_leaving = true);
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.state().is_connected
    }

    /// Whether the connection's end is what is wanted.
    pub fn is_leaving(&self) -> bool {
        self.state().is_leaving
    }

    /// Waits until every request has its answer; in vain if one can have none any more.
    pub fn for_answers(&self, limit: Duration) -> Result<(), InVain> {
        self.wait(limit, |state| match (state.open, state.lost) {
            (0, 0) => Some(Ok(())),
            (_, 0) => None,
            _ => Some(Err(InVain::Lost)),
        })
        .unwrap_or(Err(InVain::TooLong))
    }

    /// Waits for a line that contains `text` and was shown after the one that was waited for last.
    pub fn for_line(&self, text: &str, limit: Duration) -> Result<(), InVain> {
        self.wait(limit, |state| {
            let found = state.shown.iter().position(|line| line.contains(text));
            match found {
                Some(position) => {
                    state.shown.drain(..=position);
                    Some(Ok(()))
                }
                None => (!state.is_connected).then_some(Err(InVain::Lost)),
            }
        })
        .unwrap_or(Err(InVain::TooLong))
    }

    /// Waits for a connection, however long that takes; none is needed any more where its end is wanted.
    pub fn for_connection(&self) {
        while self.wait(Duration::MAX, |state| (state.is_connected || state.is_leaving).then_some(())).is_none() {}
    }

    /// Waits until there is no connection; false if there still is one.
    pub fn for_end(&self, limit: Duration) -> bool {
        self.wait(limit, |state| (!state.is_connected).then_some(())).is_some()
    }

    /// Lets `time` pass; less of it if somebody wants to leave meanwhile.
    pub fn pause(&self, time: Duration) {
        let _ = self.wait(time, |state| state.is_leaving.then_some(()));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every change: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let begin = Instant::now();
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = limit.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);
    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn answers_are_waited_for_until_the_last_one() {
        let waiting = Waiting::default();
        assert_eq!(waiting.for_answers(NO_TIME), Ok(()));
        waiting.sent();
        waiting.sent();
        waiting.answered();
        assert_eq!(waiting.for_answers(NO_TIME), Err(InVain::TooLong));
        std::thread::scope(|scope| {
            scope.spawn(|| waiting.answered());
            assert_eq!(waiting.for_answers(LONG), Ok(()));
        });
    }

    #[test]
    fn an_answer_that_cannot_come_any_more_is_not_waited_for() {
        let waiting = Waiting::default();
        waiting.connected();
        waiting.sent();
        std::thread::scope(|scope| {
            scope.spawn(|| waiting.disconnected());
            assert_eq!(waiting.for_answers(LONG), Err(InVain::Lost));
        });
        waiting.connected();
        assert_eq!(waiting.for_answers(LONG), Err(InVain::Lost), "the loss is not forgotten");
    }

    #[test]
    fn a_line_that_came_before_it_was_waited_for_counts_once() {
        let waiting = Waiting::default();
        waiting.connected();
        for line in ["one", "two", "two again"] {
            waiting.shown(line);
        }
        assert_eq!(waiting.for_line("two", LONG), Ok(()));
        assert_eq!(waiting.for_line("one", NO_TIME), Err(InVain::TooLong));
        assert_eq!(waiting.for_line("two", LONG), Ok(()));
        waiting.shown("three");
        waiting.disconnected();
        assert_eq!(waiting.for_line("three", LONG), Ok(()));
        assert_eq!(waiting.for_line("three", LONG), Err(InVain::Lost));
    }

    #[test]
    fn a_pause_ends_when_somebody_leaves() {
        let waiting = Waiting::default();
        let begin = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| waiting.leave());
            waiting.pause(LONG);
        });
        assert!(begin.elapsed() < LONG);
    }
}
