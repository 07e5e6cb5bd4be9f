//! The words of the language: verbs, calls, signals.

use nix::sys::signal::Signal;

use crate::decode::syscall;
use crate::event::State;

/// What a line may begin with, beside the name of a role.
pub const VERBS: [&str; 17] = [
    "title", "program", "limit", "type", "close", "signal", "kill", "print", "expect", "wait", "ask", "predict",
    "wrong", "reveal", "note", "then", "#",
];

/// What a role may do.
pub const MOVES: [&str; 2] = ["until", "freely"];

/// What may be printed.
pub const SHOWN: [(&str, super::Shown); 5] = [
    ("states", super::Shown::States),
    ("calls", super::Shown::Calls),
    ("segments", super::Shown::Segments),
    ("ladder", super::Shown::Ladder),
    ("processes", super::Shown::Processes),
];

/// Calls that are the same to a reader: which one a program makes is up to its language.
const SAME: [(&str, &[&str]); 7] = [
    ("accept", &["accept", "accept4"]),
    ("read", &["read", "recvfrom", "recvmsg", "readv"]),
    ("write", &["write", "sendto", "sendmsg", "writev", "sendfile"]),
    ("poll", &["poll", "ppoll"]),
    ("select", &["select", "pselect6"]),
    ("epoll_wait", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
    ("fork", &["fork"]),
];
/// Other words for the same.
const ALIASES: [(&str, &str); 5] =
    [("recv", "read"), ("send", "write"), ("accept4", "accept"), ("recvfrom", "read"), ("sendto", "write")];

/// The name under which a scene knows a call.
pub fn common_name(call: &str) -> &str {
    let same = SAME.iter().find(|(_, calls)| calls.contains(&call)).map(|(name, _)| *name);
    same.unwrap_or(call)
}

/// The calls that a word stands for; nothing if it is no call that is followed.
pub fn calls(word: &str) -> Option<(String, Vec<String>)> {
    let word = ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, name)| name);
    if let Some((name, calls)) = SAME.iter().find(|(name, _)| *name == word) {
        return Some(((*name).into(), calls.iter().map(|&call| call.into()).collect()));
    }
    syscall::names().any(|name| name == word).then(|| (word.into(), vec![word.into()]))
}

/// The words that stand for calls.
pub fn names_of_calls() -> impl Iterator<Item = &'static str> + Clone {
    SAME.iter().map(|(name, _)| *name).chain(syscall::names())
}

/// A state by its name.
pub fn state(word: &str) -> Option<State> {
    State::ALL.into_iter().find(|state| state.name() == word)
}

/// The names of the states.
pub fn names_of_states() -> impl Iterator<Item = &'static str> + Clone {
    State::ALL.into_iter().map(State::name)
}

/// A signal by its name, with or without SIG.
pub fn signal(word: &str) -> Option<i32> {
    let name = if word.starts_with("SIG") { word.to_owned() } else { format!("SIG{word}") };
    name.parse::<Signal>().ok().map(|signal| signal as i32)
}

/// The names of the signals.
pub fn names_of_signals() -> impl Iterator<Item = &'static str> + Clone {
    Signal::iterator().map(Signal::as_str)
}

/// Text with `\n`, `\r`, `\t`, `\\` and `\xHH` in place of what cannot be written in a line. `\c` stays as it is.
pub fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let (text, end) = text.strip_suffix("\\c").map_or((text, ""), |text| (text, "\\c"));
    let mut bytes = crate::decode::escape::unescaped(text)?;
    bytes.extend(end.bytes());
    Ok(bytes)
}
