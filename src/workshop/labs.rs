//! The list of labs. Help, Makefile and documents are held against it by tests.

use std::fmt;

/// One lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lab {
    /// Its number.
    pub number: u8,
    /// Its package, and its directory under `labs/`.
    pub package: &'static str,
    /// The one idea that it adds to the labs before.
    pub idea: &'static str,
    /// Where its server listens unless told otherwise.
    pub port: u16,
    /// Arguments for its client that show the idea: what to type for `ARGS=`, if there is something.
    pub worth_trying: Option<&'static str>,
    /// What its programs go on from.
    pub goes_on_from: GoesOnFrom,
}

/// The labs that a lab's two programs go on from, by their numbers; nothing for the first lab.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoesOnFrom {
    /// For its server.
    pub server: Option<u8>,
    /// For its client.
    pub client: Option<u8>,
}

const FROM_NOTHING: GoesOnFrom = GoesOnFrom { server: None, client: None };

const fn from(server: u8, client: u8) -> GoesOnFrom {
    GoesOnFrom { server: Some(server), client: Some(client) }
}

/// Every lab that is here, in order.
pub const LABS: &[Lab] = &[
    Lab {
        number: 1,
        package: "lab01_echo",
        idea: "the calls, one client at a time (socket2)",
        port: 7001,
        worth_trying: None,
        goes_on_from: FROM_NOTHING,
    },
    Lab {
        number: 2,
        package: "lab02_raw",
        idea: "one level down: fds, sockaddr, errno; IPv6, Unix (nix, libc)",
        port: 7002,
        worth_trying: None,
        goes_on_from: from(1, 1),
    },
    Lab {
        number: 3,
        package: "lab03_fork",
        idea: "a process per client: fork, SIGCHLD, zombies",
        port: 7003,
        worth_trying: None,
        goes_on_from: from(2, 2),
    },
    Lab {
        number: 4,
        package: "lab04_messages",
        idea: "bytes are not messages: frames, JSON, a thread per client",
        port: 7004,
        worth_trying: Some("--byte-by-byte"),
        goes_on_from: from(3, 3),
    },
    Lab {
        number: 5,
        package: "lab05_poll",
        idea: "one thread, many clients: non-blocking sockets, poll(2)",
        port: 7005,
        worth_trying: None,
        goes_on_from: from(3, 3),
    },
    Lab {
        number: 6,
        package: "lab06_epoll",
        idea: "readiness at scale: epoll(7), slow readers, 10,000 clients",
        port: 7006,
        worth_trying: Some("'--crowd 1000'"),
        goes_on_from: from(5, 5),
    },
    Lab {
        number: 7,
        package: "lab07_chat",
        idea: "the full chat server: users, broadcast, history",
        port: 7007,
        worth_trying: Some("'--name Alice'"),
        goes_on_from: from(6, 4),
    },
];

impl Lab {
    /// The name of its server's binary.
    pub fn server(&self) -> String {
        format!("lab{}-server", self.number)
    }

    /// The name of its client's binary.
    pub fn client(&self) -> String {
        format!("lab{}-client", self.number)
    }

    /// The lab that its server goes on from.
    pub fn before_its_server(&self) -> Option<&'static Self> {
        LABS.iter().find(|lab| Some(lab.number) == self.goes_on_from.server)
    }

    /// The lab that its client goes on from.
    pub fn before_its_client(&self) -> Option<&'static Self> {
        LABS.iter().find(|lab| Some(lab.number) == self.goes_on_from.client)
    }

    /// The lab with this number.
    pub fn find(number: &str) -> Result<&'static Self, NoSuchLab> {
        let wanted = number.trim_start_matches("lab").parse::<u32>();
        let found = wanted.as_ref().ok().and_then(|&wanted| LABS.iter().find(|lab| u32::from(lab.number) == wanted));
        found.ok_or_else(|| {
            let distance = |lab: &&Self| wanted.as_ref().map_or(0, |&wanted| wanted.abs_diff(u32::from(lab.number)));
            NoSuchLab { asked: number.into(), nearest: LABS.iter().min_by_key(distance) }
        })
    }
}

/// A lab was asked for that is not here.
#[derive(Debug)]
pub struct NoSuchLab {
    asked: String,
    nearest: Option<&'static Lab>,
}

impl fmt::Display for NoSuchLab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no lab {:?}", self.asked)?;
        match self.nearest {
            Some(Lab { number, idea, .. }) => write!(f, "; the nearest is lab {number}: {idea}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for NoSuchLab {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_is_found_by_its_number() {
        assert_eq!(Lab::find("3").unwrap().package, "lab03_fork");
        assert_eq!(Lab::find("lab2").unwrap().number, 2);
    }

    #[test]
    fn a_lab_that_does_not_exist_is_answered_with_the_nearest() {
        for (asked, nearest) in [("0", "lab 1"), ("9", "lab 7"), ("4294967295", "lab 7"), ("x", "lab 1")] {
            let message = Lab::find(asked).unwrap_err().to_string();
            assert!(message.contains(nearest), "{message}");
        }
    }

    #[test]
    fn labs_are_numbered_from_one_and_listen_on_7000_and_their_number() {
        for (index, lab) in LABS.iter().enumerate() {
            assert_eq!(usize::from(lab.number), index + 1);
            assert_eq!(lab.port, 7000 + u16::from(lab.number));
        }
    }

    #[test]
    fn every_lab_but_the_first_goes_on_from_labs_before_it() {
        for (index, lab) in LABS.iter().enumerate() {
            let before = [lab.before_its_server(), lab.before_its_client()];
            assert!(
                before.iter().all(|before| before.map_or(index == 0, |before| before.number < lab.number)),
                "{lab:?}"
            );
        }
    }
}
