//! The conversation itself: who is there, who is called what, and what was said.

use std::collections::{HashMap, HashSet, VecDeque};

use jiff::Timestamp;
use serde_json::value::{RawValue, to_raw_value};

use crate::names::Name;
use crate::protocol::{Asked, Code, Event, LONGER, Line, Refusal, Request, Said, rfc3339};

/// What a server calls one of its connections. No two that are there at the same time may share it.
pub type ConnectionId = u64;

/// How many messages LIST_MESSAGES gives when it is not told how many.
pub const USUAL_COUNT: usize = 50;

/// How much of what was said is kept, and how much of it goes into one answer.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimits {
    /// The most messages that are kept.
    pub messages: usize,
    /// The most bytes that they may take, as they are written in an answer.
    pub bytes: usize,
    /// The most bytes that a request may have: LIST_MESSAGES' answer has no more than that and [`LONGER`].
    pub max_frame: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self { messages: 1000, bytes: 1024 * 1024, max_frame: 64 * 1024 }
    }
}

/// Everybody who is registered, and what they said.
pub struct Hub {
    /// In the order in which they registered: whoever is told something is found by walking along here.
    members: Vec<ConnectionId>,
    names: HashMap<ConnectionId, Name>,
    taken: HashSet<Name>,
    history: History,
}

/// What a request leads to.
#[derive(Debug)]
pub struct Reaction {
    /// The answer to whoever asked.
    pub answer: Line,
    /// What everybody else who is registered is told: the same bytes for each, see [`Hub::others`].
    pub event: Option<Line>,
    /// Whether the connection ends with this answer.
    pub ends: bool,
}

impl Hub {
    /// Nobody is here, nothing was said.
    pub fn new(limits: HistoryLimits) -> Self {
        let history = History { said: VecDeque::new(), bytes: 0, limits };
        Self { members: Vec::new(), names: HashMap::new(), taken: HashSet::new(), history }
    }

    /// Carries out what a connection asked for.
    pub fn handle(&mut self, from: ConnectionId, asked: &Asked<'_>, now: Timestamp) -> Reaction {
        let reaction = match &asked.request {
            Ok(request) => self.carry_out(from, asked, request, now),
            Err(refusal) => Err(refusal.clone()),
        };
        reaction.unwrap_or_else(|refusal| only(asked.error(&refusal)))
    }

    fn carry_out(
        &mut self,
        from: ConnectionId,
        asked: &Asked<'_>,
        request: &Request<'_>,
        now: Timestamp,
    ) -> Result<Reaction, Refusal> {
        match request {
            Request::Register { name } => self.register(from, asked, name),
            Request::Message { text } => self.say(from, asked, text, now),
            Request::ListUsers => {
                self.name_of(from)?;
                let names = self.members.iter().filter_map(|member| self.names.get(member));
                Ok(only(asked.ok(names.map(Name::as_str).collect::<Vec<_>>())))
            }
            Request::ListMessages { count } => {
                self.name_of(from)?;
                // Its newline is not counted; nor is a comma, as there is one less than there are messages.
                let around = asked.ok([(); 0]).len() - 2;
                let room = (self.history.limits.max_frame + LONGER).saturating_sub(around);
                Ok(only(asked.ok(self.history.latest(count.unwrap_or(USUAL_COUNT), room))))
            }
            Request::Echo { data } => Ok(only(asked.ok(data))),
            Request::Time => Ok(only(asked.ok(rfc3339(now)))),
            Request::Quit => Ok(Reaction { ends: true, ..only(asked.ok("Goodbye.")) }),
        }
    }

    fn register(&mut self, from: ConnectionId, asked: &Asked<'_>, name: &str) -> Result<Reaction, Refusal> {
        if let Some(name) = self.names.get(&from) {
            return Err(Refusal::new(Code::AlreadyRegistered, format!("you are {name} already")));
        }
        let name = Name::new(name).map_err(|error| Refusal::new(Code::BadName, error.to_string()))?;
        if !self.taken.insert(name.clone()) {
            return Err(Refusal::new(Code::NameTaken, format!("somebody else is {name} already")));
        }
        let others = match self.count() {
            0 => "Nobody else is here.".to_owned(),
            1 => "1 other is here.".to_owned(),
            count => format!("{count} others are here."),
        };
        let answer = asked.ok(format!("Welcome, {name}. {others}"));
        let event = Event::Joined { data: name.as_str() }.line();
        self.members.push(from);
        self.names.insert(from, name);
        Ok(Reaction { answer, event: Some(event), ends: false })
    }

    fn say(&mut self, from: ConnectionId, asked: &Asked<'_>, text: &str, now: Timestamp) -> Result<Reaction, Refusal> {
        let said = Said { from: self.name_of(from)?.as_str(), data: text, time: now };
        let event = Event::Broadcast(said).line();
        if let Ok(said) = to_raw_value(&said) {
            self.history.keep(said);
        }
        Ok(Reaction { answer: asked.ok(self.count() - 1), event: Some(event), ends: false })
    }

    fn name_of(&self, connection: ConnectionId) -> Result<&Name, Refusal> {
        const FIRST: &str = r#"register first: {"type":"REGISTER","data":"your name"}"#;
        self.names.get(&connection).ok_or_else(|| Refusal::new(Code::NotRegistered, FIRST))
    }

    /// Forgets a connection that has ended. If it was registered its name is free, and the others are to be told.
    pub fn leave(&mut self, connection: ConnectionId) -> Option<Line> {
        let name = self.names.remove(&connection)?;
        self.members.retain(|&member| member != connection);
        self.taken.remove(&name);
        Some(Event::Left { data: name.as_str() }.line())
    }

    /// Everybody who is registered but one, in the order in which they registered.
    pub fn others(&self, than: ConnectionId) -> impl Iterator<Item = ConnectionId> {
        self.members.iter().copied().filter(move |&member| member != than)
    }

    /// The name of a connection, if it is registered.
    pub fn name(&self, connection: ConnectionId) -> Option<&Name> {
        self.names.get(&connection)
    }

    /// Whether a connection has a name.
    pub fn is_registered(&self, connection: ConnectionId) -> bool {
        self.names.contains_key(&connection)
    }

    /// How many are registered.
    pub fn count(&self) -> usize {
        self.members.len()
    }
}

/// An answer that nobody else hears of.
fn only(answer: Line) -> Reaction {
    Reaction { answer, event: None, ends: false }
}

/// What was said lately, each message as it is written in an answer.
struct History {
    said: VecDeque<Box<RawValue>>,
    bytes: usize,
    limits: HistoryLimits,
}

impl History {
    /// Keeps one more, and forgets the oldest ones that are too much now.
    fn keep(&mut self, said: Box<RawValue>) {
        self.bytes += said.get().len();
        self.said.push_back(said);
        while self.said.len() > self.limits.messages || self.bytes > self.limits.bytes {
            let Some(oldest) = self.said.pop_front() else { break };
            self.bytes -= oldest.get().len();
        }
    }

    /// The last `count` messages, or as many of them as take no more than `room` bytes; the most recent last.
    fn latest(&self, count: usize, room: usize) -> Vec<&RawValue> {
        let mut left = room;
        let fits = |said: &&RawValue| {
            // One byte for the comma.
            let rest = left.checked_sub(said.get().len() + 1);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let mut latest: Vec<_> = self.said.iter().rev().map(|said| &**said).take(count).take_while(fits).collect();
        latest.reverse();
        latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::parse;

    const LIMITS: HistoryLimits = HistoryLimits { messages: 1000, bytes: 1024 * 1024, max_frame: 64 * 1024 };

    fn ask(hub: &mut Hub, from: ConnectionId, request: &str) -> (String, Option<String>) {
        let now = "2026-03-21T14:05:09.1Z".parse().unwrap();
        let reaction = hub.handle(from, &parse(request.as_bytes()), now);
        let text = |line: Line| String::from_utf8(line).unwrap().strip_suffix('\n').unwrap().to_owned();
        (text(reaction.answer), reaction.event.map(text))
    }

    fn register(hub: &mut Hub, from: ConnectionId, name: &str) -> String {
        ask(hub, from, &format!(r#"{{"type":"REGISTER","data":"{name}"}}"#)).0
    }

    fn code(answer: &str) -> &str {
        let (_, rest) = answer.split_once(r#""code":""#).unwrap_or_else(|| panic!("{answer}"));
        rest.split_once('"').unwrap().0
    }

    #[test]
    fn the_classic_conversation_of_alice_and_bob() {
        let mut hub = Hub::new(LIMITS);
        let alice = |hub: &mut Hub, request: &str| ask(hub, 1, request);
        let (answer, event) = alice(&mut hub, r#"{"type":"REGISTER","data":"Alice"}"#);
        assert_eq!(answer, r#"{"type":"OK","re":"REGISTER","data":"Welcome, Alice. Nobody else is here."}"#);
        assert_eq!(event.unwrap(), r#"{"type":"JOINED","data":"Alice"}"#);
        let (answer, _) = alice(&mut hub, r#"{"type":"MESSAGE","data":"Hello everyone!"}"#);
        assert_eq!(answer, r#"{"type":"OK","re":"MESSAGE","data":0}"#);
        assert_eq!(
            register(&mut hub, 2, "Bob"),
            r#"{"type":"OK","re":"REGISTER","data":"Welcome, Bob. 1 other is here."}"#
        );
        let (answer, event) = ask(&mut hub, 2, r#"{"type":"LIST_USERS"}"#);
        assert_eq!((answer.as_str(), event), (r#"{"type":"OK","re":"LIST_USERS","data":["Alice","Bob"]}"#, None));
        let (answer, _) = ask(&mut hub, 2, r#"{"type":"LIST_MESSAGES"}"#);
        let said = r#"{"from":"Alice","data":"Hello everyone!","time":"2026-03-21T14:05:09.100Z"}"#;
        assert_eq!(answer, format!(r#"{{"type":"OK","re":"LIST_MESSAGES","data":[{said}]}}"#));
        let (answer, event) = ask(&mut hub, 2, r#"{"type":"MESSAGE","data":"Hi"}"#);
        assert_eq!(answer, r#"{"type":"OK","re":"MESSAGE","data":1}"#);
        assert_eq!(
            event.unwrap(),
            r#"{"type":"BROADCAST","from":"Bob","data":"Hi","time":"2026-03-21T14:05:09.100Z"}"#
        );
        assert_eq!(hub.others(2).collect::<Vec<_>>(), [1]);
        assert_eq!(hub.leave(2).unwrap(), b"{\"type\":\"LEFT\",\"data\":\"Bob\"}\n");
    }

    #[test]
    fn a_name_belongs_to_one_until_its_connection_ends() {
        let mut hub = Hub::new(LIMITS);
        register(&mut hub, 1, "Zo\u{eb}");
        assert_eq!(code(&register(&mut hub, 2, "Zoe\u{308}")), "NAME_TAKEN");
        assert!(!hub.is_registered(2));
        assert_eq!(code(&register(&mut hub, 1, "Alice")), "ALREADY_REGISTERED");
        assert_eq!(code(&register(&mut hub, 2, "Zoë ")), "BAD_NAME");
        assert!(hub.leave(1).is_some());
        assert_eq!(hub.leave(1), None);
        assert!(register(&mut hub, 2, "Zoe\u{308}").contains("Welcome, Zo\u{eb}."));
        assert_eq!(hub.count(), 1);
    }

    #[test]
    fn without_a_name_one_may_ask_the_time_and_for_an_echo_and_go() {
        let mut hub = Hub::new(LIMITS);
        for request in [r#"{"type":"MESSAGE","data":"x"}"#, r#"{"type":"LIST_USERS"}"#, r#"{"type":"LIST_MESSAGES"}"#] {
            let (answer, event) = ask(&mut hub, 1, request);
            assert_eq!((code(&answer), event), ("NOT_REGISTERED", None));
        }
        assert_eq!(
            ask(&mut hub, 1, r#"{"type":"TIME"}"#).0,
            r#"{"type":"OK","re":"TIME","data":"2026-03-21T14:05:09.100Z"}"#
        );
        let echo = r#"{"type":"ECHO","data":{"b": 1e999 ,"a":"\u0041"}}"#;
        assert_eq!(ask(&mut hub, 1, echo).0, r#"{"type":"OK","re":"ECHO","data":{"b": 1e999 ,"a":"\u0041"}}"#);
        let quit = hub.handle(1, &parse(br#"{"type":"QUIT"}"#), Timestamp::UNIX_EPOCH);
        assert!(quit.ends && quit.event.is_none());
    }

    fn texts(answer: &str) -> Vec<String> {
        let answer: serde_json::Value = serde_json::from_str(answer).unwrap();
        answer["data"].as_array().unwrap().iter().map(|said| said["data"].as_str().unwrap().to_owned()).collect()
    }

    fn history(hub: &mut Hub, data: &str) -> String {
        ask(hub, 1, &format!(r#"{{"type":"LIST_MESSAGES","data":{data}}}"#)).0
    }

    #[test]
    fn the_history_keeps_the_most_recent_messages_by_number_and_by_bytes() {
        let one = r#"{"from":"A","data":"0","time":"2026-03-21T14:05:09.100Z"}"#.len();
        for limits in [HistoryLimits { messages: 3, ..LIMITS }, HistoryLimits { bytes: 4 * one - 1, ..LIMITS }] {
            let mut hub = Hub::new(limits);
            register(&mut hub, 1, "A");
            for number in 0..6 {
                ask(&mut hub, 1, &format!(r#"{{"type":"MESSAGE","data":"{number}"}}"#));
            }
            assert_eq!(texts(&history(&mut hub, "null")), ["3", "4", "5"]);
            assert_eq!(texts(&history(&mut hub, "2")), ["4", "5"]);
            assert!(texts(&history(&mut hub, "0")).is_empty());
            let kept: usize = hub.history.said.iter().map(|said| said.get().len()).sum();
            assert_eq!(hub.history.bytes, kept);
        }
    }

    #[test]
    fn fifty_messages_are_given_to_who_does_not_say_how_many() {
        let mut hub = Hub::new(LIMITS);
        register(&mut hub, 1, "A");
        for number in 0..60 {
            ask(&mut hub, 1, &format!(r#"{{"type":"MESSAGE","data":"{number}"}}"#));
        }
        assert_eq!(texts(&history(&mut hub, "null")).len(), 50);
        assert_eq!(texts(&history(&mut hub, "60")).len(), 60);
    }

    #[test]
    fn a_history_fills_its_line_to_the_last_byte_and_no_further() {
        let message = format!(r#"{{"type":"MESSAGE","data":"{}"}}"#, "x".repeat(LONGER));
        let whole = {
            let mut hub = Hub::new(LIMITS);
            register(&mut hub, 1, "A");
            (0..3).for_each(|_| drop(ask(&mut hub, 1, &message)));
            history(&mut hub, r#"3,"id":"abc""#)
        };
        for (line, expected) in [(whole.len(), 3), (whole.len() - 1, 2), (LONGER, 0)] {
            let mut hub = Hub::new(HistoryLimits { max_frame: line - LONGER, ..LIMITS });
            register(&mut hub, 1, "A");
            (0..3).for_each(|_| drop(ask(&mut hub, 1, &message)));
            assert_eq!(texts(&history(&mut hub, r#"3,"id":"abc""#)).len(), expected, "{line}");
        }
    }

    #[test]
    fn the_longest_message_that_can_be_sent_is_in_the_history_too() {
        let max_frame = 1000;
        let mut hub = Hub::new(HistoryLimits { max_frame, ..LIMITS });
        // The longest in bytes: a letter and 31 accents, each of four bytes, that are not composed.
        let name = format!("\u{10400}{}", "\u{1d242}".repeat(31));
        assert_eq!(name.len(), 128);
        assert!(register(&mut hub, 1, &name).contains("Welcome"));
        let around = r#"{"type":"MESSAGE","data":""}"#.len();
        let (_, event) =
            ask(&mut hub, 1, &format!(r#"{{"type":"MESSAGE","data":"{}"}}"#, "x".repeat(max_frame - around)));
        assert!(event.unwrap().len() <= max_frame + LONGER);
        let answer = history(&mut hub, "null");
        assert_eq!(texts(&answer).len(), 1);
        assert!(answer.len() <= max_frame + LONGER);
    }
}
