//! How a server with one thread takes its turns: one call that waits for all sockets, and between two of those nothing that
//! could keep it waiting.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Call, Named, Outcome};

/// What a server waits for, and what it does between two waits.
#[derive(Default, Debug)]
pub struct Turns {
    /// The names of the calls in which it has waited.
    pub waits_in: BTreeSet<String>,
    /// The most connections that it has waited for at once, with the listening socket beside them.
    pub most_together: usize,
    /// Reads and accepts of a socket that the last wait has not named as ready.
    pub uncalled_for: usize,
    /// How often a socket was named as ready.
    pub named: usize,
    /// How often accept() has said EAGAIN.
    pub empty_queues: usize,
    /// Sockets on which a call could sleep.
    pub blocking: usize,
    /// How often it asked to be told of room for writing while it had written all that it wanted.
    pub room_for_nothing: usize,
    /// How often each socket was put on a list of epoll, by what it stands for.
    pub added: BTreeMap<String, usize>,
    /// How often what a list asks for was changed.
    pub modified: usize,
    /// How often a socket was taken off a list.
    pub deleted: usize,
    /// The descriptors that the last wait has named.
    ready: BTreeSet<i32>,
    /// Those on which the last write was a short one, or had no room at all.
    unsent: BTreeSet<i32>,
    /// Those on which a call could sleep.
    can_sleep: BTreeSet<i32>,
    /// Connections that are on a list of epoll now.
    on_list: BTreeSet<i32>,
    has_listener: bool,
}

impl Turns {
    /// A call was entered.
    pub fn called(&mut self, call: &Call) {
        if waits(call) {
            self.waits_in.insert(call.name.clone());
            let is_connection = |names: &Named| matches!(names, Named::Connected { .. });
            let connections = call.waits.iter().filter(|waited| is_connection(&waited.on.names)).count();
            let listener = call.waits.iter().any(|waited| matches!(waited.on.names, Named::Listening(_)));
            if listener || self.has_listener {
                self.most_together = self.most_together.max(connections.max(self.on_list.len()));
            }
        }
        let asks = call.waits.iter().filter(|waited| waited.asked.contains("POLLOUT"));
        // Edge-triggered, both directions are asked for once and for all.
        let asks = asks.filter(|waited| !waited.asked.contains("EPOLLET"));
        self.room_for_nothing += asks.filter(|waited| !self.unsent.contains(&waited.on.fd)).count();
    }

    /// A call has returned.
    pub fn returned(&mut self, call: &Call) {
        let Some(outcome) = &call.outcome else { return };
        if waits(call) {
            self.ready =
                call.waits.iter().filter(|waited| !waited.came.is_empty()).map(|waited| waited.on.fd).collect();
            self.named += self.ready.len();
            return;
        }
        match call.name.as_str() {
            "epoll_ctl" if outcome.value == 0 => self.listed(call),
            "fcntl" if call.arguments.iter().any(|argument| argument.contains("O_NONBLOCK")) => {
                self.blocking -= usize::from(call.on.as_ref().is_some_and(|on| self.can_sleep.remove(&on.fd)));
            }
            _ => {}
        }
        self.made(call, outcome);
        let Some(on) = &call.on else { return };
        match call.name.as_str() {
            "accept" | "accept4" => {
                self.uncalled_for += usize::from(!self.ready.contains(&on.fd));
                self.empty_queues += usize::from(outcome.error.as_deref() == Some("EAGAIN"));
            }
            "read" | "readv" | "recvfrom" | "recvmsg" if matches!(on.names, Named::Connected { .. }) => {
                self.uncalled_for += usize::from(!self.ready.contains(&on.fd));
            }
            "write" | "sendto" => self.wrote(on.fd, call, outcome),
            "close" => {
                self.unsent.remove(&on.fd);
                self.on_list.remove(&on.fd);
                self.can_sleep.remove(&on.fd);
            }
            _ => {}
        }
    }

    fn made(&mut self, call: &Call, outcome: &Outcome) {
        if let Some(made) = &outcome.made
            && matches!(call.name.as_str(), "socket" | "accept" | "accept4")
            && !call.arguments.iter().any(|argument| argument.contains("SOCK_NONBLOCK"))
            && self.can_sleep.insert(made.fd)
        {
            self.blocking += 1;
        }
    }

    fn wrote(&mut self, fd: i32, call: &Call, outcome: &Outcome) {
        let length = call.arguments.get(1).and_then(|length| length.parse::<i64>().ok());
        if outcome.value >= 0 && length.is_some_and(|length| outcome.value >= length) {
            self.unsent.remove(&fd);
        } else {
            self.unsent.insert(fd);
        }
    }

    fn listed(&mut self, call: &Call) {
        let Some(waited) = call.waits.first() else { return };
        match call.arguments.first().map(String::as_str) {
            Some("EPOLL_CTL_ADD") => {
                let name = match &waited.on.names {
                    Named::Connected { remote, .. } => {
                        self.on_list.insert(waited.on.fd);
                        remote.to_string()
                    }
                    Named::Listening(_) => {
                        self.has_listener = true;
                        "the listening socket".into()
                    }
                    // No socket of TCP: a signalfd.
                    _ => return,
                };
                *self.added.entry(name).or_default() += 1;
            }
            Some("EPOLL_CTL_MOD") => self.modified += 1,
            Some("EPOLL_CTL_DEL") => {
                self.deleted += 1;
                self.on_list.remove(&waited.on.fd);
            }
            _ => {}
        }
    }
}

/// Whether it is a call that waits for many descriptors.
fn waits(call: &Call) -> bool {
    matches!(call.name.as_str(), "poll" | "ppoll" | "epoll_wait" | "epoll_pwait" | "epoll_pwait2")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::{Descriptor, Endpoint, Protocol, Waited};

    fn end(text: &str) -> Endpoint {
        Endpoint::Inet(text.parse().unwrap())
    }

    fn listener() -> Descriptor {
        Descriptor { fd: 3, names: Named::Listening(end("127.0.0.1:7005")) }
    }

    fn connection(fd: i32) -> Descriptor {
        let remote = Endpoint::Inet(([127, 0, 0, 1], 51230 + fd.cast_unsigned() as u16).into());
        let (protocol, local) = (Protocol::Tcp, end("127.0.0.1:7005"));
        Descriptor { fd, names: Named::Connected { protocol, local, remote, accepted: true } }
    }

    /// A call from its entry to its return.
    fn make(
        turns: &mut Turns,
        name: &str,
        on: Option<Descriptor>,
        arguments: &[&str],
        waits: &[(Descriptor, &str, &str)],
        value: i64,
    ) {
        let wait = |(on, asked, came): &(Descriptor, &str, &str)| Waited {
            on: on.clone(),
            asked: (*asked).into(),
            came: (*came).into(),
        };
        let arguments = arguments.iter().map(|&argument| argument.into()).collect();
        let waits = waits.iter().map(wait).collect();
        let mut call = Call { id: 1, name: name.into(), arguments, on, waits, outcome: None };
        turns.called(&call);
        let made = (value > 0 && name.starts_with("accept")).then(|| connection(value as i32));
        let error = (value == -11).then(|| "EAGAIN".to_string());
        call.outcome = Some(Outcome { entered: Duration::ZERO, value, error, made });
        turns.returned(&call);
    }

    #[test]
    fn what_is_read_or_accepted_without_having_been_named_is_counted() {
        let mut turns = Turns::default();
        make(&mut turns, "poll", None, &[], &[(listener(), "POLLIN", "POLLIN"), (connection(4), "POLLIN", "")], 1);
        make(&mut turns, "accept4", Some(listener()), &["SOCK_NONBLOCK"], &[], 5);
        make(&mut turns, "accept4", Some(listener()), &["SOCK_NONBLOCK"], &[], -11);
        assert_eq!((turns.uncalled_for, turns.empty_queues, turns.blocking, turns.most_together), (0, 1, 0, 1));
        make(&mut turns, "read", Some(connection(4)), &[], &[], -11);
        assert_eq!(turns.uncalled_for, 1);
        make(&mut turns, "accept4", Some(listener()), &["SOCK_CLOEXEC"], &[], 6);
        assert_eq!(turns.blocking, 1);
        make(&mut turns, "fcntl", Some(connection(6)), &["F_SETFL", "O_RDWR|O_NONBLOCK"], &[], 0);
        assert_eq!(turns.blocking, 0);
    }

    #[test]
    fn room_is_asked_for_in_vain_unless_a_write_was_short_before() {
        let mut turns = Turns::default();
        let ask = |turns: &mut Turns| make(turns, "poll", None, &[], &[(connection(4), "POLLOUT", "")], 0);
        make(&mut turns, "write", Some(connection(4)), &["\"hello\"", "5"], &[], 3);
        ask(&mut turns);
        assert_eq!(turns.room_for_nothing, 0);
        make(&mut turns, "write", Some(connection(4)), &["\"lo\"", "2"], &[], 2);
        ask(&mut turns);
        assert_eq!(turns.room_for_nothing, 1);
    }

    #[test]
    fn what_is_put_on_a_list_of_epoll_is_waited_for_until_it_is_closed() {
        let mut turns = Turns::default();
        for on in [listener(), connection(4), connection(5)] {
            make(&mut turns, "epoll_ctl", None, &["EPOLL_CTL_ADD", "…"], &[(on, "EPOLLIN", "")], 0);
        }
        make(&mut turns, "epoll_wait", None, &[], &[(connection(4), "", "EPOLLIN")], 1);
        assert_eq!((turns.most_together, turns.added.len(), turns.named), (2, 3, 1));
        make(&mut turns, "close", Some(connection(4)), &[], &[], 0);
        make(&mut turns, "epoll_ctl", None, &["EPOLL_CTL_ADD", "…"], &[(connection(4), "EPOLLIN", "")], 0);
        make(&mut turns, "epoll_wait", None, &[], &[], 0);
        assert_eq!(turns.most_together, 2);
        assert_eq!(turns.added.values().copied().max(), Some(2), "the same connection twice");
    }
}
