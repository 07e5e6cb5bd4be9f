//! What a typed line means: a request, something that the client does by itself, or a mistake, which is explained.

use serde::Serialize;
use serde_json::Value;

/// What `/help` shows.
pub const HELP: &str = "\
a line             goes to everybody as a message
/name Alice        register under a name               REGISTER Alice
/users             who is here                         LIST_USERS
/history [n]       what was said lately                LIST_MESSAGES [n]
/echo x            the server sends x back             ECHO x
/time              the server's time                   TIME
/quit              the end; Ctrl-D and Done as well    QUIT
/help              this
//text             a message that begins with a slash
MESSAGE text       a message that is one of these words";

/// The commands, each with the word that the protocol has for it.
const COMMANDS: [(&str, &str); 7] = [
    ("/name", REGISTER),
    ("/users", LIST_USERS),
    ("/history", LIST_MESSAGES),
    ("/echo", ECHO),
    ("/time", TIME),
    ("/quit", QUIT),
    ("/help", "/help"),
];
const REGISTER: &str = "REGISTER";
const MESSAGE: &str = "MESSAGE";
const LIST_USERS: &str = "LIST_USERS";
const LIST_MESSAGES: &str = "LIST_MESSAGES";
const ECHO: &str = "ECHO";
const TIME: &str = "TIME";
const QUIT: &str = "QUIT";

/// What a typed line means.
#[derive(Clone, PartialEq, Debug)]
pub enum Typed {
    /// An empty line: nothing is to be done.
    Nothing,
    /// Something to be sent, and answered.
    Request(Request),
    /// [`HELP`] is asked for.
    Help,
    /// Nothing more will be typed.
    End,
    /// A mistake: what is wrong, and how it would be right.
    Wrong(String),
}

/// A request, ready to be sent.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Request {
    #[serde(rename = "type")]
    word: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Request {
    fn new(word: &'static str, data: Option<Value>) -> Self {
        Self { word, data }
    }

    /// The request to be known as `name`.
    pub fn register(name: &str) -> Self {
        Self::new(REGISTER, Some(name.into()))
    }

    /// The request to end the conversation.
    pub fn quit() -> Self {
        Self::new(QUIT, None)
    }

    /// The name that it asks for, where it asks for one.
    pub fn name(&self) -> Option<&str> {
        self.data.as_ref().filter(|_| self.word == REGISTER)?.as_str()
    }

    /// The line that is sent, with its newline. JSON escapes every other newline, so that one line stays one line.
    pub fn line(&self) -> Vec<u8> {
        // Into memory, and of keys that are strings: there is nothing that could fail.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// Says what a line means that was typed, without its newline.
///
/// A word of the protocol is one only in capitals, and `LIST_USERS`, `TIME` and `QUIT` only alone: "time flies" and
/// "TIME flies" are messages.
pub fn read(line: &str) -> Typed {
    let line = line.trim_end();
    let (first, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(first, rest)| (first, rest.trim()));
    if let Some(text) = line.strip_prefix("//") {
        return Typed::Request(Request::new(MESSAGE, Some(format!("/{text}").into())));
    }
    if first.starts_with('/') {
        return match COMMANDS.iter().find(|(command, _)| *command == first) {
            Some((_, word)) => of_word(first, word, rest),
            None => Typed::Wrong(unknown(first)),
        };
    }
    match first {
        "" if line.is_empty() => Typed::Nothing,
        "Done" if rest.is_empty() => Typed::End,
        REGISTER | MESSAGE | LIST_MESSAGES | ECHO => of_word(first, first, rest),
        LIST_USERS | TIME | QUIT if rest.is_empty() => of_word(first, first, rest),
        _ => Typed::Request(Request::new(MESSAGE, Some(line.into()))),
    }
}

/// `typed` is the command or word as it stands in the line, `word` what the protocol calls it.
fn of_word(typed: &str, word: &str, rest: &str) -> Typed {
    let with_text = |word, what| match rest {
        "" => {
            Typed::Wrong(format!("{typed} needs {what}: {typed} {}", if word == REGISTER { "Alice" } else { "hello" }))
        }
        text => Typed::Request(Request::new(word, Some(text.into()))),
    };
    let alone = |meaning| match rest {
        "" => meaning,
        _ => Typed::Wrong(format!("nothing can follow {typed}")),
    };
    match word {
        REGISTER => with_text(REGISTER, "a name"),
        MESSAGE => with_text(MESSAGE, "a text"),
        ECHO => with_text(ECHO, "something to send back"),
        LIST_MESSAGES => match (rest, rest.parse::<u32>()) {
            ("", _) => Typed::Request(Request::new(LIST_MESSAGES, None)),
            (_, Ok(count)) => Typed::Request(Request::new(LIST_MESSAGES, Some(count.into()))),
            (_, Err(_)) => Typed::Wrong(format!("{typed} takes a number, how many messages: {typed} 10")),
        },
        LIST_USERS => alone(Typed::Request(Request::new(LIST_USERS, None))),
        TIME => alone(Typed::Request(Request::new(TIME, None))),
        QUIT => alone(Typed::End),
        _ => alone(Typed::Help),
    }
}

fn unknown(command: &str) -> String {
    let nearest = match nearest(command, COMMANDS.iter().map(|(command, _)| *command)) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "/help shows them all.".into(),
    };
    format!("there is no {command}; {nearest} A message that begins with a slash begins with two: /{command}")
}

/// Which of `words` was probably meant, if `word` is close enough to one of them.
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = words.map(|known| (distance(word, known), known));
    let (distance, known) = distances.min_by_key(|&(distance, _)| distance)?;
    (distance <= 2.max(known.len() / 3)).then_some(known)
}

/// How many letters have to be put in, taken out, exchanged or swapped to make one word the other.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().take(64).collect(), right.chars().collect());
    let mut rows = vec![vec![0; right.len() + 1]; left.len() + 1];
    for i in 0..=left.len() {
        for j in 0..=right.len() {
            rows[i][j] = match (i, j) {
                (0, other) | (other, 0) => other,
                _ => {
                    let exchanged = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
                    let least = exchanged.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let is_swap = i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
                    if is_swap { least.min(rows[i - 2][j - 2] + 1) } else { least }
                }
            };
        }
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(line: &str) -> String {
        match read(line) {
            Typed::Request(request) => String::from_utf8(request.line()).unwrap().trim_end().into(),
            other => format!("{other:?}"),
        }
    }

    fn wrong(line: &str) -> String {
        match read(line) {
            Typed::Wrong(text) => text,
            other => panic!("{line:?} is {other:?}"),
        }
    }

    #[test]
    fn a_line_is_a_message_as_it_was_typed() {
        assert_eq!(sent("Hello everyone!"), r#"{"type":"MESSAGE","data":"Hello everyone!"}"#);
        assert_eq!(sent("  an indented \"line\"  "), r#"{"type":"MESSAGE","data":"  an indented \"line\""}"#);
    }

    #[test]
    fn each_command_has_its_word() {
        for (line, word, request) in [
            ("/name Alice", "REGISTER Alice", r#"{"type":"REGISTER","data":"Alice"}"#),
            ("/users", "LIST_USERS", r#"{"type":"LIST_USERS"}"#),
            ("/history", "LIST_MESSAGES", r#"{"type":"LIST_MESSAGES"}"#),
            ("/history 5", "LIST_MESSAGES 5", r#"{"type":"LIST_MESSAGES","data":5}"#),
            ("/echo a b", "ECHO a b", r#"{"type":"ECHO","data":"a b"}"#),
            ("/time", "TIME", r#"{"type":"TIME"}"#),
        ] {
            assert_eq!((sent(line).as_str(), sent(word).as_str()), (request, request));
        }
        assert_eq!(sent("MESSAGE QUIT"), r#"{"type":"MESSAGE","data":"QUIT"}"#);
        assert_eq!([read("/quit"), read("QUIT"), read("Done ")], [Typed::End, Typed::End, Typed::End]);
        assert_eq!(read("/help"), Typed::Help);
    }

    #[test]
    fn a_word_of_the_protocol_in_a_sentence_is_a_message() {
        for line in ["time flies", "Time flies", "TIME flies", "QUIT it", "register me", "Done it", "done"] {
            assert_eq!(sent(line), format!(r#"{{"type":"MESSAGE","data":"{line}"}}"#));
        }
    }

    #[test]
    fn two_slashes_begin_a_message_that_begins_with_one() {
        assert_eq!(sent("//etc/hosts is a file"), r#"{"type":"MESSAGE","data":"/etc/hosts is a file"}"#);
    }

    #[test]
    fn an_empty_line_is_nothing() {
        assert_eq!([read(""), read("  \t ")], [Typed::Nothing, Typed::Nothing]);
    }

    #[test]
    fn an_unknown_command_is_told_with_the_nearest() {
        assert!(wrong("/hsitory 3").starts_with("there is no /hsitory; did you mean /history?"));
        assert!(wrong("/user").contains("did you mean /users?"));
        assert!(wrong("/frobnicate").contains("/help shows them all"));
        assert!(wrong("/etc/hosts is").ends_with("begins with two: //etc/hosts"));
    }

    #[test]
    fn a_command_that_lacks_something_or_has_too_much_is_explained() {
        assert_eq!(wrong("/name"), "/name needs a name: /name Alice");
        assert_eq!(wrong("ECHO "), "ECHO needs something to send back: ECHO hello");
        assert!(wrong("/history -1").contains("takes a number"));
        assert!(wrong("/history 99999999999").contains("takes a number"));
        assert_eq!(wrong("/users all"), "nothing can follow /users");
    }

    #[test]
    fn no_character_breaks_the_line_that_is_sent() {
        let line = sent("a\u{0}\u{85}\u{2028}\rb");
        assert!(!line.contains(['\n', '\r', '\0']), "{line}");
    }
}
