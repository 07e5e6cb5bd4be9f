//! What a scene asks the kernel about, and what may be answered.

use std::fmt;

/// One thing that the kernel, or the wire, or a program's own calls can be asked about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Whose.
    pub role: String,
    /// Whether the other end of its connection is meant.
    pub peer: bool,
    /// What.
    pub quantity: Quantity,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Quantity {
    /// The state of its connection; of its listening socket, if it has no connection; CLOSED if it has neither.
    State,
    /// Connections in the accept queue of its listening socket.
    Queue,
    /// How many the accept queue may hold.
    Backlog,
    /// Bytes that have arrived at its connection and were not read.
    ReceiveQueue,
    /// Bytes that were written to its connection and are not acknowledged.
    SendQueue,
    /// The address of the other end, without the port, as this end has it written down: `127.0.0.1`, `::ffff:127.0.0.1`, `none`.
    Remote,
    /// Processes whose descriptors stand for its connection.
    Holders,
    /// Sockets of TCP that it holds.
    Sockets,
    /// Connections of TCP that it holds, in whatever state.
    Connections,
    /// Open descriptors, its standard input, output and error among them.
    Descriptors,
    /// Processes that it has made and that run, its children's children among them.
    Children,
    /// Children that have ended and that it has not fetched.
    Zombies,
    /// Threads of its process.
    Threads,
    /// How it has ended: its exit code, the name of the signal, or `running`.
    End,
    /// What its last call of this name has returned: a number, or the name of the error.
    Outcome(String),
    /// How many calls of this name have returned.
    Count(String),
    /// The call that it is in: `accept`; or `no-call`.
    Inside,
    /// What its end of the connection has sent.
    Sent(Sent),
    /// How many lines that it has printed have this text in them.
    Lines(String),
}

/// What an end of a connection may have sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Segments with the SYN flag.
    Syn,
    /// Segments with the FIN flag.
    Fin,
    /// Segments with the RST flag.
    Rst,
    /// Segments that carry data.
    Data,
    /// Bytes of data.
    Bytes,
    /// Segments that were sent once more.
    Again,
}

impl Sent {
    /// Each with the word for it.
    pub const ALL: [(&'static str, Self); 6] = [
        ("SYN", Self::Syn),
        ("FIN", Self::Fin),
        ("RST", Self::Rst),
        ("segments", Self::Data),
        ("bytes", Self::Bytes),
        ("retransmissions", Self::Again),
    ];
}

impl Quantity {
    /// Those that one word stands for, and whose value is a number.
    pub const NUMBERS: [(&'static str, Self); 11] = [
        ("queue", Self::Queue),
        ("backlog", Self::Backlog),
        ("recv-q", Self::ReceiveQueue),
        ("send-q", Self::SendQueue),
        ("holders", Self::Holders),
        ("sockets", Self::Sockets),
        ("connections", Self::Connections),
        ("fds", Self::Descriptors),
        ("children", Self::Children),
        ("zombies", Self::Zombies),
        ("threads", Self::Threads),
    ];

    /// Whether its value is a number, and never a word.
    pub fn is_number(&self) -> bool {
        !matches!(self, Self::State | Self::Remote | Self::End | Self::Outcome(_) | Self::Inside)
    }

    /// Whether segments have to be captured for it.
    pub fn needs_segments(&self) -> bool {
        matches!(self, Self::Sent(_))
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = &self.role;
        let whose = if self.peer { format!("{role}'s peer") } else { role.clone() };
        let number = |wanted: &Quantity| {
            Quantity::NUMBERS.iter().find(|(_, quantity)| quantity == wanted).map_or("", |(word, _)| *word)
        };
        match &self.quantity {
            Quantity::State => f.write_str(&whose),
            Quantity::End => write!(f, "{whose} exit"),
            Quantity::Remote => write!(f, "{whose} remote"),
            Quantity::Inside => write!(f, "{whose} in"),
            Quantity::Outcome(call) => write!(f, "{whose} {call} returns"),
            Quantity::Count(call) => write!(f, "{whose} {call} count"),
            Quantity::Lines(text) => write!(f, "{whose} says {text:?}"),
            Quantity::Sent(sent) => {
                let word = Sent::ALL.iter().find(|(_, its)| its == sent).map_or("", |(word, _)| *word);
                write!(f, "{whose} sent {word}")
            }
            other => write!(f, "{whose} {}", number(other)),
        }
    }
}

/// What is expected, or what was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// A name: of a state, an error, a signal, a call.
    Word(String),
    /// A number.
    Number(i64),
    /// A number from the first to the second, both included; without the second, any larger one too.
    Range(i64, Option<i64>),
}

impl Value {
    /// Reads one.
    pub fn read(word: &str) -> Self {
        if let Ok(number) = word.parse() {
            return Self::Number(number);
        }
        let range = word.split_once("..").and_then(|(from, to)| {
            let from = if from.is_empty() { 0 } else { from.parse().ok()? };
            let to = if to.is_empty() { None } else { Some(to.parse().ok()?) };
            Some(Self::Range(from, to))
        });
        range.unwrap_or_else(|| Self::Word(word.into()))
    }

    /// Whether this is what was expected.
    pub fn admits(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Range(from, to), Self::Number(number)) => number >= from && to.is_none_or(|to| *number <= to),
            (Self::Word(wanted), Self::Word(found)) => wanted.eq_ignore_ascii_case(found),
            _ => self == found,
        }
    }

    /// Whether it is a number, or a range of numbers.
    pub fn is_number(&self) -> bool {
        !matches!(self, Self::Word(_))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.pad(word),
            Self::Number(number) => f.pad(&number.to_string()),
            Self::Range(from, None) => f.pad(&format!("{from} or more")),
            Self::Range(from, Some(to)) => f.pad(&format!("{from} to {to}")),
        }
    }
}

/// An answer that may be chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alternative {
    /// What it says.
    pub value: Value,
    /// The same for a reader, where the value alone says too little.
    pub label: Option<String>,
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => f.pad(label),
            None => self.value.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_a_number_a_range_or_a_word_and_admits_what_it_says() {
        assert_eq!(Value::read("128"), Value::Number(128));
        assert_eq!(Value::read("1..9"), Value::Range(1, Some(9)));
        assert_eq!(Value::read("5.."), Value::Range(5, None));
        assert_eq!(Value::read("..5"), Value::Range(0, Some(5)));
        assert_eq!(Value::read("SYN-SENT"), Value::Word("SYN-SENT".into()));
        let admits = |wanted: &str, found: &str| Value::read(wanted).admits(&Value::read(found));
        assert!(admits("1..9", "9") && admits("5..", "7000") && admits("established", "ESTABLISHED"));
        assert!(!admits("1..9", "10") && !admits("0", "ECONNREFUSED") && !admits("LISTEN", "CLOSED"));
    }
}
