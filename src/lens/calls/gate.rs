//! How far a thread may go: a program that is followed can be held where it is, at the entry or at the return of a call, for
//! as long as somebody wants to look.

use crate::event::Call;

/// How far a thread may go.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Gate {
    /// Wherever it likes, and whoever it makes as well.
    #[default]
    Open,
    /// No further: it is held at its next stop, and whoever it makes is held before its first instruction.
    Shut,
    /// To this place, where it is held. Whoever it makes on the way is held before its first instruction.
    Until(Mark),
}

/// A place in the life of a thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The calls that are meant, any of these: `accept` and `accept4` are the same to a reader. `fork` means that it has made
    /// a process or a thread, whichever call did it.
    pub calls: Vec<String>,
    /// Whether it is held before the call does anything, or when it has returned.
    pub edge: Edge,
    /// Only on this descriptor.
    pub fd: Option<i32>,
    /// Only with this outcome.
    pub outcome: Wanted,
    /// How many of them are still to come: 1 for the next one.
    pub left: u32,
}

/// One of the two ends of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// Entered: it has not done anything yet.
    Enters,
    /// Returned.
    Returns,
}

/// Which outcome of a call is meant.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Wanted {
    /// Any, but not that of a call which a signal has interrupted and the kernel begins anew by itself.
    #[default]
    Any,
    /// This value.
    Value(i64),
    /// This error, by its name.
    Error(String),
}

impl Mark {
    /// Notes that a thread is at one of the two ends of a call. Says whether it is at the mark.
    pub fn is_reached_by(&mut self, call: &Call) -> bool {
        let edge = if call.outcome.is_some() { Edge::Returns } else { Edge::Enters };
        let is_meant = edge == self.edge
            && self.calls.contains(&call.name)
            && self.fd.is_none_or(|fd| call.on.as_ref().is_some_and(|on| on.fd == fd))
            && self.outcome.is_met_by(call);
        is_meant && self.count()
    }

    /// Notes that a thread has made a process or a thread. Says whether it is at the mark.
    pub fn is_reached_by_fork(&mut self) -> bool {
        self.calls.iter().any(|name| name == "fork") && self.count()
    }

    fn count(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }
}

impl Wanted {
    fn is_met_by(&self, call: &Call) -> bool {
        let Some(outcome) = &call.outcome else { return true };
        match self {
            // ERESTARTSYS and its like: no program ever sees these.
            Self::Any => !outcome.error.as_deref().is_some_and(|error| error.starts_with("ERESTART")),
            Self::Value(value) => outcome.value == *value,
            Self::Error(name) => outcome.error.as_deref() == Some(name),
        }
    }
}

/// Where a thread is held.
#[derive(Clone, PartialEq, Debug)]
pub enum Held {
    /// At one of the two ends of a call.
    At(Box<Call>),
    /// It has just made a process or a thread.
    AfterFork,
    /// Before its first instruction.
    AtItsBeginning,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Descriptor, Named, Outcome, Protocol};

    fn call(name: &str, fd: i32, returned: Option<(i64, Option<&str>)>) -> Call {
        let outcome = returned.map(|(value, error)| Outcome {
            entered: Duration::ZERO,
            value,
            error: error.map(str::to_owned),
            made: None,
        });
        let on = Some(Descriptor { fd, names: Named::Unbound(Protocol::Tcp) });
        Call { id: 1, name: name.into(), arguments: Vec::new(), on, waits: Vec::new(), outcome }
    }

    fn until(names: &[&str], edge: Edge) -> Mark {
        let calls = names.iter().map(|&name| name.to_owned()).collect();
        Mark { calls, edge, fd: None, outcome: Wanted::Any, left: 1 }
    }

    #[test]
    fn the_entry_of_a_call_is_not_its_return() {
        let mut mark = until(&["accept", "accept4"], Edge::Returns);
        assert!(!mark.is_reached_by(&call("accept4", 3, None)));
        assert!(mark.is_reached_by(&call("accept4", 3, Some((4, None)))));
        assert!(until(&["accept4"], Edge::Enters).is_reached_by(&call("accept4", 3, None)));
    }

    #[test]
    fn the_second_read_on_descriptor_4_is_counted_on_descriptor_4_only() {
        let mut mark = Mark { fd: Some(4), left: 2, ..until(&["read"], Edge::Returns) };
        let read = |fd| call("read", fd, Some((6, None)));
        assert!(!mark.is_reached_by(&read(4)));
        assert!(!mark.is_reached_by(&read(5)));
        assert!(mark.is_reached_by(&read(4)));
    }

    #[test]
    fn an_error_is_meant_by_its_name_and_a_restarted_call_is_nobodys() {
        let again = call("read", 4, Some((-11, Some("EAGAIN"))));
        let restarted = call("read", 4, Some((-512, Some("ERESTARTSYS"))));
        let mut wants_eagain = Mark { outcome: Wanted::Error("EAGAIN".into()), ..until(&["read"], Edge::Returns) };
        assert!(!wants_eagain.is_reached_by(&call("read", 4, Some((0, None)))));
        assert!(wants_eagain.is_reached_by(&again));
        assert!(!until(&["read"], Edge::Returns).is_reached_by(&restarted));
    }
}
