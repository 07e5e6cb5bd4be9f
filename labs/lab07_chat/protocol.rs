//! What a line means, and how one is written: docs/chat-protocol.md, in code.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// How deep arrays and objects may lie in each other in a request, the request itself included.
pub const DEEPEST: usize = 127;

/// How many bytes a line of the server may have more than the longest request: a name, a time, the keys around them.
/// LIST_USERS alone may be answered with more.
pub const LONGER: usize = 512;

/// One line as it goes over the wire, with its newline at the end and no other in it.
pub type Line = Vec<u8>;

/// What a client may ask for: the word in `"type"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// To be known by a name.
    Register,
    /// To say something to everybody else.
    Message,
    /// Who is here.
    ListUsers,
    /// What was said lately.
    ListMessages,
    /// The same data back.
    Echo,
    /// The server's time.
    Time,
    /// The end of the conversation.
    Quit,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 7] =
        [Self::Register, Self::Message, Self::ListUsers, Self::ListMessages, Self::Echo, Self::Time, Self::Quit];

    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Register => "REGISTER",
            Self::Message => "MESSAGE",
            Self::ListUsers => "LIST_USERS",
            Self::ListMessages => "LIST_MESSAGES",
            Self::Echo => "ECHO",
            Self::Time => "TIME",
            Self::Quit => "QUIT",
        }
    }

    /// The kind that a word stands for, in capitals or not.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word().eq_ignore_ascii_case(word))
    }
}

/// A request that can be carried out, as far as its line alone can tell.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// To be known by a name, which has not been looked at yet.
    Register {
        /// The name as it was sent.
        name: Cow<'a, str>,
    },
    /// To say something to everybody else.
    Message {
        /// What is said; it may hold any character, control characters too.
        text: Cow<'a, str>,
    },
    /// Who is here.
    ListUsers,
    /// What was said lately.
    ListMessages {
        /// How many messages at most, if it was said.
        count: Option<usize>,
    },
    /// The same data back.
    Echo {
        /// Any JSON value, byte for byte as it was sent.
        data: &'a RawValue,
    },
    /// The server's time.
    Time,
    /// The end of the conversation.
    Quit,
}

/// Why a request is not carried out, or a connection ended: the word in `"code"`, which does not change any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// The line is not a JSON object, or nests too deep.
    BadJson,
    /// The line is not UTF-8.
    BadUtf8,
    /// There is no request of this type.
    UnknownType,
    /// The request needs data and has none.
    MissingData,
    /// The data is of the wrong kind.
    BadData,
    /// The line is longer than the server takes.
    TooLong,
    /// Only somebody with a name may ask this; or nobody gave one in time.
    NotRegistered,
    /// This connection has a name already.
    AlreadyRegistered,
    /// Somebody else has this name.
    NameTaken,
    /// This is not a name.
    BadName,
    /// More requests in a second than the server was told to carry out.
    RateLimited,
    /// The client did not read what it was sent.
    SlowConsumer,
    /// The server has as many connections as it was told to have.
    ServerFull,
    /// The server is ending.
    ShuttingDown,
}

impl Code {
    /// Every code there is.
    pub const ALL: [Self; 14] = [
        Self::BadJson,
        Self::BadUtf8,
        Self::UnknownType,
        Self::MissingData,
        Self::BadData,
        Self::TooLong,
        Self::NotRegistered,
        Self::AlreadyRegistered,
        Self::NameTaken,
        Self::BadName,
        Self::RateLimited,
        Self::SlowConsumer,
        Self::ServerFull,
        Self::ShuttingDown,
    ];

    /// Its word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::BadJson => "BAD_JSON",
            Self::BadUtf8 => "BAD_UTF8",
            Self::UnknownType => "UNKNOWN_TYPE",
            Self::MissingData => "MISSING_DATA",
            Self::BadData => "BAD_DATA",
            Self::TooLong => "TOO_LONG",
            Self::NotRegistered => "NOT_REGISTERED",
            Self::AlreadyRegistered => "ALREADY_REGISTERED",
            Self::NameTaken => "NAME_TAKEN",
            Self::BadName => "BAD_NAME",
            Self::RateLimited => "RATE_LIMITED",
            Self::SlowConsumer => "SLOW_CONSUMER",
            Self::ServerFull => "SERVER_FULL",
            Self::ShuttingDown => "SHUTTING_DOWN",
        }
    }
}

/// A "no", with its reason twice: the code for a program, the message for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The reason, for a program.
    pub code: Code,
    /// The reason, for a person; its wording may change.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Puts a code and its explanation together.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The ERROR line that answers no request: for what happens to a connection as a whole.
    pub fn line(&self) -> Line {
        error(&Re::Nothing, None, self)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.word(), self.message)
    }
}

/// What an answer says it is an answer to: the value of `"re"`.
#[derive(Clone, Copy, Debug)]
pub enum Re<'a> {
    /// `null`: no request could be made out.
    Nothing,
    /// The word of a request that there is, always in capitals.
    Known(Kind),
    /// The string that was sent and is the word of no request, byte for byte.
    Unknown(&'a RawValue),
}

/// One line of a client, with all that can be said about it.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// What its answer is to repeat as `"re"`.
    pub re: Re<'a>,
    /// The request's `"id"`, any JSON value, which its answer repeats byte for byte.
    pub id: Option<&'a RawValue>,
    /// What is asked for, or why that is no request.
    pub request: Result<Request<'a>, Refusal>,
}

/// The keys of a request that mean something. Others are passed over; the same one twice is an error.
#[derive(Deserialize)]
struct Keys<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "present")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

/// A value that is there, be it `null`: serde's own `Option` would take `null` for nothing.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

/// Reads one frame. Whatever it holds, there is exactly one answer to it: [`Asked::ok`] or [`Asked::error`].
pub fn parse(frame: &[u8]) -> Asked<'_> {
    let unread = |refusal| Asked { re: Re::Nothing, id: None, request: Err(refusal) };
    let text = match str::from_utf8(frame) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("byte {} of the line is not UTF-8", error.valid_up_to() + 1);
            return unread(Refusal::new(Code::BadUtf8, message));
        }
    };
    match keys(text) {
        Ok(keys) => {
            let (re, request) = request(&keys);
            Asked { re, id: keys.id, request }
        }
        Err(message) => unread(Refusal::new(Code::BadJson, message)),
    }
}

fn keys(text: &str) -> Result<Keys<'_>, Cow<'static, str>> {
    // Asked first: serde would take an array for an object whose keys have been left out.
    if !text.trim_start_matches([' ', '\t', '\r']).starts_with('{') {
        return Err(r#"a request is a JSON object, such as {"type":"TIME"}"#.into());
    }
    // What is repeated byte for byte must not bring a newline into the answer.
    if text.contains('\n') {
        return Err("a newline in the middle of a request".into());
    }
    check_structure(text)?;
    serde_json::from_str(text).map_err(|error| error.to_string().into())
}

fn request<'a>(keys: &Keys<'a>) -> (Re<'a>, Result<Request<'a>, Refusal>) {
    let unknown = |what: &str| {
        let known = Kind::ALL.map(Kind::word).join(", ");
        Err(Refusal::new(Code::UnknownType, format!("{what}; known are {known}")))
    };
    let Some(raw) = keys.kind else { return (Re::Nothing, unknown(r#"there is no "type""#)) };
    let Some(word) = string(raw) else { return (Re::Nothing, unknown(r#""type" is not a string"#)) };
    match Kind::of(&word) {
        Some(kind) => (Re::Known(kind), request_of(kind, keys.data)),
        None => (Re::Unknown(raw), unknown("there is no such type")),
    }
}

fn request_of(kind: Kind, data: Option<&RawValue>) -> Result<Request<'_>, Refusal> {
    let needed = |what: &str| {
        data.ok_or_else(|| Refusal::new(Code::MissingData, format!(r#"{} needs "data": {what}"#, kind.word())))
    };
    let text = |what: &str| {
        let wrong = || Refusal::new(Code::BadData, format!(r#"the "data" of {} is {what}"#, kind.word()));
        string(needed(what)?).ok_or_else(wrong)
    };
    Ok(match kind {
        Kind::Register => Request::Register { name: text("the name, a string")? },
        Kind::Message => Request::Message { text: text("the text, a string")? },
        Kind::ListUsers => Request::ListUsers,
        Kind::ListMessages => Request::ListMessages { count: data.map_or(Ok(None), count)? },
        Kind::Echo => Request::Echo { data: needed("any JSON value")? },
        Kind::Time => Request::Time,
        Kind::Quit => Request::Quit,
    })
}

/// The text of a JSON string: a piece of the frame itself where no escape is in it.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str(raw.get()).ok().map(|Text(text)| text)
}

/// `null`, or a whole number that is not negative. More than a computer can count is as good as all.
fn count(raw: &RawValue) -> Result<Option<usize>, Refusal> {
    let count = serde_json::from_str::<Option<u64>>(raw.get());
    let count = count.map_err(|_| Refusal::new(Code::BadData, "how many messages: a whole number, 0 or more"))?;
    Ok(count.map(|count| usize::try_from(count).unwrap_or(usize::MAX)))
}

/// Refuses what `serde_json` lets pass in a value that it only carries, and what others could not read in an answer:
/// any depth, and escapes that are half a character.
fn check_structure(text: &str) -> Result<(), &'static str> {
    let mut depth = 0_usize;
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'"' => behind_string(after)?,
            b'{' | b'[' if depth == DEEPEST => return Err("arrays and objects lie too deep in each other"),
            b'{' | b'[' => {
                depth += 1;
                after
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                after
            }
            _ => after,
        };
    }
    Ok(())
}

/// What follows a string whose opening quotation mark was before `rest`.
fn behind_string(mut rest: &[u8]) -> Result<&[u8], &'static str> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Ok(after),
            [b'\\', b'u', after @ ..] => behind_escape(after)?,
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            // It has no end, which `serde_json` is going to say.
            [] => return Ok(rest),
        };
    }
}

/// What follows `\u`: four digits, or, of a character beyond U+FFFF, four digits and a second escape.
fn behind_escape(rest: &[u8]) -> Result<&[u8], &'static str> {
    let unit = |rest: &[u8]| {
        let digits = str::from_utf8(rest.get(..4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let second = || rest.get(4..)?.strip_prefix(b"\\u").and_then(unit);
    match unit(rest) {
        Some(0xd800..=0xdbff) if matches!(second(), Some(0xdc00..=0xdfff)) => Ok(&rest[10..]),
        Some(0xd800..=0xdfff) => Err("a \\u escape that is half a character"),
        Some(_) => Ok(&rest[4..]),
        // Not digits, which `serde_json` is going to say.
        None => Ok(rest),
    }
}

impl Asked<'_> {
    /// The line that says yes to this request.
    pub fn ok(&self, data: impl Serialize) -> Line {
        line(&Answer::Ok { re: self.re, id: self.id, data })
    }

    /// The line that says no to this request.
    pub fn error(&self, refusal: &Refusal) -> Line {
        error(&self.re, self.id, refusal)
    }
}

fn error(re: &Re, id: Option<&RawValue>, refusal: &Refusal) -> Line {
    let answer: Answer<'_, ()> = Answer::Error { re: *re, id, code: refusal.code.word(), message: &refusal.message };
    line(&answer)
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
enum Answer<'a, T> {
    Ok {
        re: Re<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        data: T,
    },
    Error {
        re: Re<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        code: &'a str,
        message: &'a str,
    },
}

impl Serialize for Re<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => serializer.serialize_unit(),
            Self::Known(kind) => serializer.serialize_str(kind.word()),
            Self::Unknown(raw) => raw.serialize(serializer),
        }
    }
}

/// Something that was said: an entry of the history, and what a broadcast tells.
#[derive(Clone, Copy, Serialize, Debug)]
pub struct Said<'a> {
    /// Who said it.
    pub from: &'a str,
    /// What.
    pub data: &'a str,
    /// When the server heard it.
    #[serde(serialize_with = "serialize_time")]
    pub time: Timestamp,
}

fn serialize_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A time as it goes over the wire: RFC 3339, UTC, always with three digits of a second.
pub fn rfc3339(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// What a client is told without having asked.
#[derive(Clone, Copy, Serialize, Debug)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum Event<'a> {
    /// Somebody else has said something.
    Broadcast(Said<'a>),
    /// Somebody has registered.
    Joined {
        /// Their name.
        data: &'a str,
    },
    /// Somebody is not there any more.
    Left {
        /// Their name, which is free again.
        data: &'a str,
    },
}

impl Event<'_> {
    /// The event as a line.
    pub fn line(&self) -> Line {
        line(self)
    }
}

/// JSON escapes every newline that is in a text, so the one at the end is the only one.
fn line(value: &impl Serialize) -> Line {
    let mut line = Vec::with_capacity(128);
    // Into memory, and of keys that are strings: there is nothing that could fail.
    let _ = serde_json::to_writer(&mut line, value);
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
