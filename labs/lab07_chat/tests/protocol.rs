//! Frames, the protocol, the hub and the outbox, held against simple models of themselves.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod checks;

use std::collections::BTreeMap;

use jiff::Timestamp;
use lab07_chat::hub::{ConnectionId, HistoryLimits, Hub, Reaction};
use lab07_chat::outbox::{Full, Limits, Outbox};
use lab07_chat::protocol::{Line, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

/// A short text of any characters.
fn any_text() -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..6).prop_map(String::from_iter)
}

/// Pieces that requests are made of, so that what is put together at random is now and then one.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words = select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\n",
        "\r",
        " ",
        "null",
        "1e999",
        "-0",
        "\\ud83d",
        "\\ude00",
        "\\u0000",
        "\"type\":",
        "\"data\":",
        "\"id\":",
        "\"REGISTER\"",
        "\"Message\"",
        "\"echo\"",
        "\"TIME\"",
        "\"LIST_MESSAGES\"",
        "\"Alice\"",
        "\u{e9}",
        "\u{1b}",
        "\0",
        "{\"type\":\"TIME\",",
        "{\"type\":\"ECHO\",\"data\":",
        "{\"type\":\"REGISTER\",\"data\":\"Bob\"}",
    ]);
    let piece = prop_oneof![6 => words.prop_map(|word| word.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..4)];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

/// Any JSON value, not too deep, with spaces in odd places.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        Just("1.50E+3".to_owned()),
        any_text().prop_map(|text| json!(text).to_string()),
        Just(r#""\u0041\ud83d\ude00\/""#.to_owned()),
    ];
    leaf.prop_recursive(8, 40, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| format!("[ {}]", values.join(" ,\t"))),
            (any_text(), inner).prop_map(|(key, value)| format!("{{{} :{value} }}", json!(key))),
        ]
    })
}

#[derive(Clone, Debug)]
enum Step {
    Register(&'static str),
    Say(String),
    ListUsers,
    ListMessages(usize),
    Leave,
}

fn step() -> impl Strategy<Value = Step> {
    let names = vec!["Alice", "Bob", "Zo\u{eb}", "Zoe\u{308}", "not a name", "Мария"];
    prop_oneof![
        3 => select(names).prop_map(Step::Register),
        5 => any_text().prop_map(Step::Say),
        1 => Just(Step::ListUsers),
        1 => (0..12_usize).prop_map(Step::ListMessages),
        1 => Just(Step::Leave),
    ]
}

/// How many messages the history of the hub and of its model keep.
const KEPT: usize = 8;

/// The conversation as one would tell it, with no thought of speed.
#[derive(Default)]
struct Model {
    registered: Vec<(ConnectionId, String)>,
    said: Vec<(String, String)>,
    /// What each connection should have been told.
    told: BTreeMap<ConnectionId, Vec<Value>>,
}

impl Model {
    fn name(&self, of: ConnectionId) -> Option<String> {
        self.registered.iter().find(|(id, _)| *id == of).map(|(_, name)| name.clone())
    }

    fn tell_others(&mut self, from: ConnectionId, event: &Value) {
        for (id, _) in self.registered.iter().filter(|(id, _)| *id != from) {
            self.told.entry(*id).or_default().push(event.clone());
        }
    }

    /// What the answer has to be: its data, or its code.
    fn step(&mut self, from: ConnectionId, step: &Step) -> Result<Value, &'static str> {
        let name = self.name(from);
        match step {
            Step::Register(_) if name.is_some() => Err("ALREADY_REGISTERED"),
            Step::Register("not a name") => Err("BAD_NAME"),
            Step::Register(name) => {
                let name = name.replace("e\u{308}", "\u{eb}");
                if self.registered.iter().any(|(_, taken)| *taken == name) {
                    return Err("NAME_TAKEN");
                }
                let others = match self.registered.len() {
                    0 => "Nobody else is here.".to_owned(),
                    1 => "1 other is here.".to_owned(),
                    count => format!("{count} others are here."),
                };
                self.tell_others(from, &json!({"type": "JOINED", "data": name}));
                self.registered.push((from, name.clone()));
                Ok(json!(format!("Welcome, {name}. {others}")))
            }
            Step::Leave => {
                self.registered.retain(|(id, _)| *id != from);
                let left = name.map(|name| json!({"type": "LEFT", "data": name}));
                left.iter().for_each(|event| self.tell_others(from, event));
                Ok(json!(null))
            }
            Step::Say(_) | Step::ListUsers | Step::ListMessages(_) if name.is_none() => Err("NOT_REGISTERED"),
            Step::Say(text) => {
                let name = name.unwrap();
                self.tell_others(from, &json!({"type": "BROADCAST", "from": name, "data": text, "time": TIME}));
                self.said.push((name, text.clone()));
                Ok(json!(self.registered.len() - 1))
            }
            Step::ListUsers => Ok(self.registered.iter().map(|(_, name)| name.clone()).collect()),
            Step::ListMessages(count) => {
                let kept = &self.said[self.said.len().saturating_sub(*count.min(&KEPT))..];
                Ok(kept.iter().map(|(from, text)| json!({"from": from, "data": text, "time": TIME})).collect())
            }
        }
    }
}

const TIME: &str = "1970-01-01T00:00:00.000Z";

/// The hub, driven as a server drives it.
struct Driven {
    hub: Hub,
    told: BTreeMap<ConnectionId, Vec<Value>>,
}

impl Driven {
    fn step(&mut self, from: ConnectionId, step: &Step) -> Value {
        let request = match step {
            Step::Register(name) => json!({"type": "REGISTER", "data": name}),
            Step::Say(text) => json!({"type": "MESSAGE", "data": text}),
            Step::ListUsers => json!({"type": "LIST_USERS"}),
            Step::ListMessages(count) => json!({"type": "LIST_MESSAGES", "data": count}),
            Step::Leave => {
                let left = self.hub.leave(from);
                self.tell(from, left);
                return json!(null);
            }
        };
        let frame = request.to_string();
        let Reaction { answer, event, ends } = self.hub.handle(from, &parse(frame.as_bytes()), Timestamp::UNIX_EPOCH);
        assert!(!ends);
        self.tell(from, event);
        serde_json::from_slice(&answer).unwrap()
    }

    fn tell(&mut self, from: ConnectionId, event: Option<Line>) {
        let Some(event) = event else { return };
        for other in self.hub.others(from) {
            self.told.entry(other).or_default().push(serde_json::from_slice(&event).unwrap());
        }
    }
}

#[derive(Clone, Debug)]
enum Write {
    Push(usize),
    /// So much of what waits is taken by the kernel.
    Sent(Index),
    Drop,
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        10 => (0..60_usize).prop_map(Write::Push),
        10 => any::<Index>().prop_map(Write::Sent),
        1 => Just(Write::Drop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn frames_stand_between_newlines_however_the_bytes_come_in(
        bytes in vec(prop_oneof![3 => Just(b'x'), 1 => Just(b'\n'), 1 => any::<u8>()], 0..200),
        limit in 0..20_usize,
        sizes in vec(1..30_usize, 0..100),
    ) {
        checks::frames(&bytes, limit, &sizes);
    }

    #[test]
    fn any_bytes_have_exactly_one_answer(bytes in prop_oneof![vec(any::<u8>(), 0..100), pieces()]) {
        checks::frame(&bytes);
    }

    #[test]
    fn a_conversation_of_any_bytes_stays_in_order(frames in vec((any::<u8>(), pieces()), 0..20)) {
        let lines: Vec<_> = frames.into_iter().map(|(from, frame)| [&[from], frame.as_slice()].concat()).collect();
        checks::conversation(&lines.join(&b'\n'));
    }

    #[test]
    fn id_and_echo_come_back_byte_for_byte(id in value(), data in value()) {
        let frame = format!(r#"{{"id":{id},"data": {data} ,"type":"echo"}}"#);
        let reaction = Hub::new(LIMITS).handle(1, &parse(frame.as_bytes()), Timestamp::UNIX_EPOCH);
        let expected = format!("{{\"type\":\"OK\",\"re\":\"ECHO\",\"id\":{id},\"data\":{data}}}\n");
        prop_assert_eq!(String::from_utf8(reaction.answer).unwrap(), expected);
    }

    #[test]
    fn everybody_is_told_everything_once_and_in_order(steps in vec((0..5_u64, step()), 0..120)) {
        let mut model = Model::default();
        let mut driven = Driven { hub: Hub::new(LIMITS), told: BTreeMap::new() };
        for (from, step) in steps {
            let answer = driven.step(from, &step);
            match model.step(from, &step) {
                Ok(expected) if expected.is_null() => {}
                Ok(expected) => prop_assert_eq!((&answer["type"], &answer["data"]), (&json!("OK"), &expected)),
                Err(code) => prop_assert_eq!((&answer["type"], &answer["code"]), (&json!("ERROR"), &json!(code))),
            }
            prop_assert_eq!(driven.hub.count(), model.registered.len());
            for connection in 0..5 {
                prop_assert_eq!(driven.hub.name(connection).map(ToString::to_string), model.name(connection));
            }
        }
        prop_assert_eq!(driven.told, model.told);
    }

    #[test]
    fn an_outbox_sends_what_was_put_in_and_only_whole_lines(writes in vec(write(), 0..200), bytes in 1..300_usize, messages in 1..12_usize) {
        let mut outbox = Outbox::new(Limits { bytes, messages });
        // What waits, line by line; of the first one, so much has been sent.
        let mut waiting: Vec<Vec<u8>> = Vec::new();
        let mut of_first = 0;
        let mut letter = b'a';
        for write in writes {
            match write {
                Write::Push(length) => {
                    letter = if letter == b'z' { b'a' } else { letter + 1 };
                    let line = [vec![letter; length], b"\n".to_vec()].concat();
                    let length: usize = waiting.iter().map(Vec::len).sum::<usize>() - of_first;
                    let is_full = length >= bytes || waiting.len() >= messages;
                    prop_assert_eq!(outbox.push(&line), if is_full { Err(Full) } else { Ok(()) });
                    waiting.extend((!is_full).then_some(line));
                }
                Write::Sent(index) => {
                    let count = index.index(outbox.unsent().len() + 1);
                    outbox.sent(count);
                    of_first += count;
                    while waiting.first().is_some_and(|line| line.len() <= of_first) {
                        of_first -= waiting.remove(0).len();
                    }
                }
                Write::Drop => {
                    let kept = usize::from(of_first > 0);
                    prop_assert_eq!(outbox.end_with(b"bye\n"), waiting.len() - kept);
                    waiting.truncate(kept);
                    waiting.push(b"bye\n".to_vec());
                }
            }
            prop_assert_eq!(outbox.unsent(), &waiting.concat()[of_first..]);
            prop_assert_eq!((outbox.lines(), outbox.is_empty()), (waiting.len(), waiting.is_empty()));
        }
    }
}

const LIMITS: HistoryLimits = HistoryLimits { messages: KEPT, bytes: usize::MAX, max_frame: 64 * 1024 };
