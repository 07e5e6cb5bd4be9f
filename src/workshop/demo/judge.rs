//! What each lab says, held against what the kernel showed.
//!
//! Each claim is true by the way in which the lab is made, whoever is faster; and each is untrue of a lab that is broken.

use std::collections::BTreeSet;

use super::cast::{ALICE, BOB, FROM_ALICE, FROM_BOB, IN_PIECES, TEN_TIMES};
use crate::event::{End, State};
use crate::workshop::account::{Account, Connection, Side};
use crate::workshop::labs::Lab;
use crate::workshop::watch::{Outcome, Part};

/// What there is to judge by.
pub struct Seen<'a> {
    pub clients: &'a [Part],
    pub has_segments: bool,
    pub outcome: &'a Outcome,
    pub account: &'a Account,
}

/// Something that the lab says, and whether it was so; `None` where this machine cannot show it.
pub struct Check {
    pub what: String,
    pub is_so: Option<bool>,
}

/// What some labs say, with `{n}` for the number of clients.
struct Claim {
    labs: &'static [u8],
    says: &'static str,
    holds: fn(&Seen) -> bool,
    /// Whether only the segments show it.
    needs_segments: bool,
}

const fn claim(labs: &'static [u8], says: &'static str, holds: fn(&Seen) -> bool) -> Claim {
    Claim { labs, says, holds, needs_segments: false }
}

const fn on_the_wire(labs: &'static [u8], says: &'static str, holds: fn(&Seen) -> bool) -> Claim {
    Claim { labs, says, holds, needs_segments: true }
}

const ALL: &[u8] = &[1, 2, 3, 4, 5, 6, 7];
const ECHOES: &[u8] = &[1, 2, 3, 5, 6];
const ONE_THREAD: &[u8] = &[5, 6, 7];

const CLAIMS: &[Claim] = &[
    on_the_wire(ALL, "three segments open each connection ({n} of them)", |seen| {
        seen.every(|connection| connection.handshake.len() == 3)
    }),
    claim(ALL, "accept() hands each to the server", |seen| seen.every(|connection| connection.accepted.is_some())),
    claim(ECHOES, "every byte that a client writes comes back to it", |seen| seen.every(is_echoed)),
    claim(&[3], "a child for each client: {n}", |seen| seen.account.children.len() == seen.clients.len()),
    claim(&[3], "the parent closes its copy of each connection, and the child that of the listening socket", |seen| {
        seen.account.children.iter().all(|child| child.maker_closed && child.closed_listening)
    }),
    claim(&[3], "every child has ended, and none is left as a zombie", |seen| {
        seen.account.children.iter().all(|child| child.has_ended) && seen.outcome.zombies.is_empty()
    }),
    claim(&[4], "a thread for each client: {n}, all in one process", |seen| {
        seen.account.threads == seen.clients.len() && seen.account.children.is_empty()
    }),
    claim(&[4], "each connection is read and written by one thread, and each by another one", |seen| {
        seen.every(|connection| connection.roles[Side::Server as usize].len() == 1)
            && seen.servers_roles().len() == seen.clients.len()
            && seen.servers_roles().iter().all(|role| role.contains("thread"))
    }),
    claim(&[4], "one message in as many writes as it has bytes: the server needs more than one read for it", |seen| {
        seen.of("client 1").is_some_and(|connection| {
            u64::from(connection.writes[0]) == connection.written[0]
                && connection.writes[0] > 1
                && connection.reads[1] > 1
        })
    }),
    claim(&[4], "ten messages in one write: the server needs fewer reads than there are messages", |seen| {
        seen.of("client 2")
            .is_some_and(|connection| connection.writes[0] == 1 && (1..10).contains(&connection.reads[1]))
    }),
    claim(&[4], "each message is answered once, however it was cut: one answer, and ten", |seen| {
        seen.said_by("client 1") == [IN_PIECES] && seen.said_by("client 2") == [TEN_TIMES; 10]
    }),
    claim(ONE_THREAD, "the server is one process with one thread", |seen| {
        seen.account.threads == 0
            && seen.account.children.is_empty()
            && seen.every(|connection| connection.roles[Side::Server as usize].iter().eq(["server"]))
    }),
    claim(
        ONE_THREAD,
        "no call on a socket of the server can sleep: each has O_NONBLOCK from its first moment on",
        |seen| seen.account.turns.blocking == 0 && seen.every(|connection| connection.accepted.is_some()),
    ),
    claim(ONE_THREAD, "accept4() does not wait for the next client: it says EAGAIN", |seen| {
        seen.account.turns.empty_queues > 0
    }),
    claim(&[5], "poll waits for all of them at once: the listening socket and {n} connections", |seen| {
        seen.waits_in("poll") && seen.account.turns.most_together == seen.clients.len()
    }),
    claim(&[6, 7], "epoll_wait waits for all of them at once: the listening socket and {n} connections", |seen| {
        seen.waits_in("epoll") && seen.account.turns.most_together == seen.clients.len()
    }),
    claim(ONE_THREAD, "the server reads and accepts only where it was told that there is something", |seen| {
        seen.account.turns.uncalled_for == 0 && seen.account.turns.named > 0
    }),
    claim(&[5], "it asks for room to write (POLLOUT) only while something is unsent: here never", |seen| {
        seen.account.turns.room_for_nothing == 0
    }),
    claim(
        &[6, 7],
        "epoll_ctl puts each socket on the kernel's list once: the listening socket and {n} connections",
        |seen| {
            let added = &seen.account.turns.added;
            added.len() == seen.clients.len() + 1 && added.values().all(|&times| times == 1)
        },
    ),
    claim(
        &[6],
        "close() takes it off again, and nothing is changed in between, as long as all that is read is written",
        |seen| {
            let turns = &seen.account.turns;
            turns.deleted == 0 && turns.modified == 0 && turns.room_for_nothing == 0
        },
    ),
    claim(&[7], "it asks for room to write (EPOLLOUT) only while something is unsent: here never", |seen| {
        seen.account.turns.room_for_nothing == 0
    }),
    claim(&[5, 6], "each client waits for its keyboard and its connection in one call", |seen| {
        seen.clients.iter().all(|client| seen.account.multiplexing.contains(&client.role))
    }),
    claim(&[7], "Bob hears what Alice said before he came: LIST_MESSAGES has it", |seen| {
        seen.lines_with(BOB, &format!("Alice: {FROM_ALICE}")) == 1
    }),
    claim(&[7], "LIST_USERS has both", |seen| seen.lines_with(BOB, "Alice, Bob") == 1),
    claim(&[7], "what Bob says is on Alice's screen once, and not on his own", |seen| {
        let text = format!("Bob: {FROM_BOB}");
        seen.lines_with(ALICE, &text) == 1 && seen.lines_with(BOB, &text) == 0
    }),
    on_the_wire(
        &[7],
        "on the wire, too: each text goes once to each other client that is registered, and not back",
        |seen| {
            let told = |role: &str| seen.of(role).map(|connection| broadcasts(&connection.streams[1]));
            told(ALICE) == Some(vec![FROM_BOB.into()]) && told(BOB) == Some(Vec::new())
        },
    ),
    on_the_wire(&[1, 2, 3, 4, 5, 6], "the client closes first, then the server; nobody resets", |seen| {
        seen.every(|connection| connection.fins == [Side::Client, Side::Server] && connection.resets.is_empty())
    }),
    claim(&[1, 2, 3, 4, 5, 6], "the client's end is left in TIME-WAIT, and the server's end is gone", |seen| {
        seen.every(|connection| {
            // The sample that showed the one did not show the other, which may have been too short for any sample.
            connection.last_seen[0] == Some(State::TimeWait)
                && matches!(connection.last_seen[1], None | Some(State::Closed))
        })
    }),
    on_the_wire(&[7], "who says QUIT is answered, and hears no more; both sides send a FIN, nobody resets", |seen| {
        seen.every(|connection| {
            connection.fins.len() == 2
                && connection.resets.is_empty()
                && lines(&connection.streams[1]).last().is_some_and(|last| last["re"] == "QUIT" && last["type"] == "OK")
        })
    }),
    on_the_wire(&[7], "the end that closed first is left in TIME-WAIT", |seen| {
        seen.every(|connection| {
            let first = connection.closed_first().map(|side| connection.last_seen[side as usize]);
            first == Some(Some(State::TimeWait))
        })
    }),
    claim(ALL, "every client exits with code 0, in time", |seen| {
        let is_well = |client: &Part| seen.outcome.end_of(&client.role) == Some(End::Exited(0));
        seen.clients.iter().all(is_well) && !seen.outcome.is_late
    }),
];

/// Each claim of this lab, and whether it was so.
pub fn judge(lab: &Lab, seen: &Seen) -> Vec<Check> {
    let claims = CLAIMS.iter().filter(|claim| claim.labs.contains(&lab.number));
    let check = |claim: &Claim| Check {
        what: claim.says.replace("{n}", &seen.clients.len().to_string()),
        is_so: (!claim.needs_segments || seen.has_segments).then(|| (claim.holds)(seen)),
    };
    claims.map(check).collect()
}

impl Seen<'_> {
    /// Whether there is one connection for each client, and all of them are like that.
    fn every(&self, is_so: impl Fn(&Connection) -> bool) -> bool {
        self.account.connections.len() == self.clients.len() && self.account.connections.iter().all(is_so)
    }

    /// The connection of the client in this role.
    fn of(&self, role: &str) -> Option<&Connection> {
        let is_its = |connection: &&Connection| {
            connection.roles[Side::Client as usize].iter().any(|its| its.split('/').next() == Some(role))
        };
        self.account.connections.iter().find(is_its)
    }

    /// Who in the server has read or written any connection.
    fn servers_roles(&self) -> BTreeSet<&String> {
        self.account.connections.iter().flat_map(|connection| &connection.roles[Side::Server as usize]).collect()
    }

    /// Whether the server has waited in calls of this name, and in no others.
    fn waits_in(&self, name: &str) -> bool {
        let names = &self.account.turns.waits_in;
        // ppoll, epoll_pwait: what a C library makes of poll and epoll_wait on newer architectures.
        let is_it = |its: &String| its == name || its == &format!("p{name}") || its.starts_with(&format!("{name}_"));
        !names.is_empty() && names.iter().all(is_it)
    }

    fn said_by(&self, role: &str) -> Vec<&str> {
        self.account.said.iter().filter(|(its, _)| its == role).map(|(_, line)| line.as_str()).collect()
    }

    fn lines_with(&self, role: &str, text: &str) -> usize {
        self.said_by(role).iter().filter(|line| line.contains(text)).count()
    }
}

/// The lines of JSON in a stream of data.
fn lines(stream: &[u8]) -> Vec<serde_json::Value> {
    stream.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn is_echoed(connection: &Connection) -> bool {
    let [[sent, answered], [got, received]] = [connection.written, connection.read];
    sent > 0 && sent == received && answered == got && sent == got
}

/// The texts of the broadcasts in a stream of lines of JSON.
fn broadcasts(stream: &[u8]) -> Vec<String> {
    let broadcasts = lines(stream).into_iter().filter(|line| line["type"] == "BROADCAST");
    broadcasts.filter_map(|line| Some(line["data"].as_str()?.to_owned())).collect()
}
