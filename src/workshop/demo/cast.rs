//! Who plays in the demo of a lab, and what is typed for each.

use std::ffi::OsString;
use std::path::Path;

use crate::workshop::labs::Lab;
use crate::workshop::watch::{Cue, Part};

/// What is typed for the client of a server that serves one at a time, and for the first two of one that serves many.
const TYPED: [&str; 2] = ["hello\n", "good morning\nand goodbye\n"];

/// Lab 4: a client that sends a message byte by byte, and one that sends ten at once.
pub const IN_PIECES: &str = "hi";
/// See [`IN_PIECES`].
pub const TEN_TIMES: &str = "hello";

/// A line of a conversation.
struct Line {
    /// Who types it.
    role: &'static str,
    /// What has to be on whose screen before; without it, it is typed at once after the line before.
    after: Option<(&'static str, &'static str)>,
    text: &'static str,
}

const fn line(role: &'static str, text: &'static str) -> Line {
    Line { role, after: None, text }
}

const fn after(whose: &'static str, says: &'static str, line: Line) -> Line {
    Line { after: Some((whose, says)), ..line }
}

/// Lab 7: the conversation, line by line.
const CONVERSATION: &[Line] = &[
    line(ALICE, "/name Alice"),
    line(ALICE, FROM_ALICE),
    // Nobody else: it is said before Bob comes.
    after(ALICE, "nobody else is here", line(BOB, "/name Bob")),
    line(BOB, "/users"),
    line(BOB, "/history"),
    line(BOB, FROM_BOB),
    after(ALICE, FROM_BOB, line(ALICE, "/quit")),
    after(BOB, "Alice has left", line(BOB, "/quit")),
];
/// The roles of the two.
pub const ALICE: &str = "client Alice";
/// See [`ALICE`].
pub const BOB: &str = "client Bob";
/// What Alice says before Bob comes.
pub const FROM_ALICE: &str = "Hello everyone!";
/// What Bob says, and Alice hears.
pub const FROM_BOB: &str = "Hi Alice, good to see you!";

/// The lab's server.
pub fn server(program: &Path) -> Part {
    Part { role: "server".into(), ..part(program, &["--port", "{port}"], "") }
}

/// The lab's clients.
pub fn clients(lab: &Lab, program: &Path) -> Vec<Part> {
    let client = |role: &str, arguments: &[&str], typed: &str| {
        let arguments = [&["127.0.0.1", "{port}"], arguments].concat();
        Part { role: role.into(), ..part(program, &arguments, typed) }
    };
    match lab.number {
        1 | 2 => vec![client("client", &[], TYPED[0])],
        3 => vec![client("client 1", &[], TYPED[0]), client("client 2", &[], TYPED[1])],
        4 => vec![
            client("client 1", &["--byte-by-byte"], &format!("{IN_PIECES}\n")),
            client("client 2", &["--ten-at-once"], &format!("{TEN_TIMES}\n")),
        ],
        7 => conversation(&client),
        // Both are there at once: the second comes when the first is served, and the first stays until the second is.
        _ => vec![
            Part {
                later: vec![(Cue::new("client 2", "good morning"), "until then\n".into())],
                ..client("client 1", &[], TYPED[0])
            },
            Part { after: Some(Cue::new("client 1", "hello")), ..client("client 2", &[], TYPED[1]) },
        ],
    }
}

/// Each line is typed when its cue has been given; a first line with a cue brings its client on.
fn conversation(client: &dyn Fn(&str, &[&str], &str) -> Part) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for Line { role, after, text } in CONVERSATION {
        let cue = after.map(|(whose, says)| Cue::new(whose, says));
        let line = format!("{text}\n");
        match (parts.iter_mut().find(|part| part.role == *role), cue) {
            (None, after) => parts.push(Part { after, ..client(role, &[], &line) }),
            (Some(part), Some(cue)) => part.later.push((cue, line.into())),
            (Some(part), None) => match part.later.last_mut() {
                Some((_, text)) => text.extend(line.bytes()),
                None => part.typed.get_or_insert_default().extend(line.bytes()),
            },
        }
    }
    parts
}

fn part(program: &Path, arguments: &[&str], typed: &str) -> Part {
    let command = [vec![program.into()], arguments.iter().map(OsString::from).collect()].concat();
    Part { command, typed: Some(typed.into()), ..Part::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::labs::LABS;

    #[test]
    fn every_cue_of_a_demo_is_given_by_somebody_who_plays_in_it() {
        for lab in LABS {
            let clients = clients(lab, Path::new("client"));
            let cues = clients.iter().flat_map(|part| part.after.iter().chain(part.later.iter().map(|(cue, _)| cue)));
            for cue in cues {
                assert!(clients.iter().any(|part| part.role == cue.role), "lab {}: {cue:?}", lab.number);
            }
            assert!(clients.iter().any(|part| part.after.is_none()), "lab {}: nobody begins", lab.number);
        }
    }

    #[test]
    fn the_conversation_is_typed_in_its_order_each_line_after_its_cue() {
        let parts = clients(LABS.last().unwrap(), Path::new("client"));
        let [alice, bob] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!(alice.typed.as_deref(), Some("/name Alice\nHello everyone!\n".as_bytes()));
        assert_eq!(alice.later, [(Cue::new(ALICE, FROM_BOB), b"/quit\n".to_vec())]);
        assert_eq!(bob.after, Some(Cue::new(ALICE, "nobody else is here")));
        assert_eq!(bob.typed.as_deref(), Some(format!("/name Bob\n/users\n/history\n{FROM_BOB}\n").as_bytes()));
    }
}
