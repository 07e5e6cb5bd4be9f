//! Checks of lab 7, the chat: who is called what, who hears what, in which order, and how all of it ends.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::Client;
use super::calls::how_it_ended;
use super::case::{Case, SOON, Step};
use super::lines::{has, line, shown};
use super::report::Kind;
use crate::event::End;

/// How many messages each of two says at once.
const SAID: usize = 20;
/// How many long messages are said beside somebody who does not read, and how long each is: 32 MiB.
const LONG_MESSAGES: usize = 560;
const LONG: usize = 60_000;
/// How many lines nobody waits for may come before one that is waited for: far more than there is to say meanwhile.
const OTHERS: usize = 64;
/// How long a server may take to end when it was asked to.
const END: Duration = Duration::from_secs(2);

pub fn ok(re: &str, data: &Value) -> Value {
    json!({"type": "OK", "re": re, "data": data})
}

pub fn error(re: &str, code: &str) -> Value {
    json!({"type": "ERROR", "re": re, "code": code})
}

pub fn broadcast_of(from: &str, data: &str) -> Value {
    json!({"type": "BROADCAST", "from": from, "data": data})
}

pub fn message(data: &str) -> Value {
    json!({"type": "MESSAGE", "data": data})
}

fn register(name: &str) -> Value {
    json!({"type": "REGISTER", "data": name})
}

/// A client that has a name, of which the others are told.
pub fn member(case: &mut Case, name: &str, others: &mut [&mut Client]) -> Step<Client> {
    let mut client = case.quietly(|case| case.connect(&format!("{name} connects")))?;
    let step = format!("{name} registers");
    case.ask(&mut client, &register(name), &json!({"type": "OK", "re": "REGISTER"}), &step)?;
    for other in others {
        let step = format!("the others are told that {name} has joined");
        case.quietly(|case| case.hear(other, &json!({"type": "JOINED", "data": name}), &step))?;
    }
    Ok(client)
}

pub fn join(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    let everybody = ok("LIST_USERS", &json!(["Alice", "Bob"]));
    case.ask(&mut bob, &json!({"type": "LIST_USERS"}), &everybody, "Bob asks who is here")?;
    bob.shutdown_write();
    case.expect_fin(&mut bob, SOON, "Bob shutdown(WR), FIN")?;
    case.hear(&mut alice, &json!({"type": "LEFT", "data": "Bob"}), "Alice is told that he has left")?;
    let alone = ok("LIST_USERS", &json!(["Alice"]));
    case.ask(&mut alice, &json!({"type": "LIST_USERS"}), &alone, "she asks who is here")
}

pub fn name_taken(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut other = case.connect("another one connects")?;
    case.ask(&mut other, &register("Alice"), &error("REGISTER", "NAME_TAKEN"), "and wants to be Alice, too")?;
    let welcome = json!({"type": "OK", "re": "REGISTER"});
    case.ask(&mut other, &register("alice"), &welcome, "alice is another name")?;
    case.hear(&mut alice, &json!({"type": "JOINED", "data": "alice"}), "of which Alice is told")?;
    let answer = error("REGISTER", "ALREADY_REGISTERED");
    case.ask(&mut other, &register("Bob"), &answer, "a connection has one name")?;
    case.hears_nothing(&mut alice, "Alice is told nothing more")
}

pub fn broadcast(case: &mut Case) -> Step {
    case.start()?;
    let mut nobody = case.connect("one connects that has no name")?;
    case.echo(&mut nobody, b"hello", "ECHO")?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    let mut carol = member(case, "Carol", &mut [&mut alice, &mut bob])?;
    // As a text may be: more than ASCII, a newline, control characters.
    let text = "Grüße ☺\n\u{1b}[2J";
    case.ask(&mut alice, &message(text), &ok("MESSAGE", &2.into()), "Alice says something; it goes to 2")?;
    for (name, other) in [("Bob", &mut bob), ("Carol", &mut carol)] {
        let step = format!("{name} hears it");
        let heard = case.hear_a_line(other, &step)?;
        if !has(&heard, &broadcast_of("Alice", text)) || !heard["time"].is_string() {
            return Err(case.heard_wrongly(&format!("{step}: {} with a time", broadcast_of("Alice", text)), &heard));
        }
        case.done(step);
    }
    case.hears_nothing(&mut alice, "Alice does not hear herself")?;
    case.hears_nothing(&mut nobody, "nor does anybody without a name")?;
    case.hears_nothing(&mut bob, "and nobody hears it twice")
}

/// Everybody hears the same in the same order, and who says something has its OK where the others have the message.
pub fn order(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    let mut carol = member(case, "Carol", &mut [&mut alice, &mut bob])?;
    let all_of =
        |name: &str| -> Vec<u8> { (0..SAID).flat_map(|number| line(&message(&format!("{name} {number}")))).collect() };
    case.say(&mut alice, &all_of("Alice"), "20 messages in one write")?;
    case.say(&mut bob, &all_of("Bob"), "20 messages in one write")?;
    case.done("Alice and Bob say 20 messages each, in one write each");
    let heard = in_order(case, &mut carol, "Carol")?;
    case.done("Carol hears 40 messages, those of each in order");
    for (name, client) in [("Alice", &mut alice), ("Bob", &mut bob)] {
        if in_order(case, client, name)? != heard {
            let seen = format!("{name} heard them in another one than Carol");
            return Err(case.fail(Kind::WrongBytes, "one order for all", seen).into());
        }
    }
    case.done("Alice and Bob hear them in the same order");
    Ok(())
}

/// What a client hears of 40 messages, by who said it: an OK stands for one of its own.
fn in_order(case: &mut Case, client: &mut Client, listener: &str) -> Step<Vec<String>> {
    let (mut heard, mut next) = (Vec::new(), std::collections::BTreeMap::<String, usize>::new());
    while heard.len() < 2 * SAID {
        let expected = format!("{listener}: message {} of {}", heard.len() + 1, 2 * SAID);
        let line = case.hear_a_line(client, &expected)?;
        let from = match line["from"].as_str() {
            Some(from) if line["type"] == "BROADCAST" => from.to_owned(),
            _ if has(&line, &ok("MESSAGE", &2.into())) => listener.to_owned(),
            _ => return Err(case.heard_wrongly(&expected, &line)),
        };
        let number = next.entry(from.clone()).or_default();
        let wanted = format!("{from} {number}");
        if line["type"] == "BROADCAST" && line["data"] != wanted.as_str() {
            return Err(case.heard_wrongly(&format!("{listener} hears {wanted:?} next of {from}"), &line));
        }
        *number += 1;
        heard.push(from);
    }
    Ok(heard)
}

pub fn history(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    for number in 1..=5 {
        let said = message(&format!("number {number}"));
        case.quietly(|case| case.ask(&mut alice, &said, &ok("MESSAGE", &0.into()), "Alice says something"))?;
    }
    case.done("Alice says 5 messages, and nobody is there");
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    for (data, from, step) in [
        (json!(3), 3, "Bob asks for the last 3"),
        (json!(100), 1, "for the last 100"),
        (json!(0), 6, "for the last 0"),
        (Value::Null, 1, "for as many as there usually are"),
    ] {
        let wanted: Vec<String> = (from..=5).map(|number| format!("number {number}")).collect();
        let expected = format!("{step}: {wanted:?}, each with its time, from Alice");
        case.say(&mut bob, &line(&json!({"type": "LIST_MESSAGES", "data": data})), step)?;
        let heard = case.hear_a_line(&mut bob, &expected)?;
        let is_said = |said: &Value, text: &String| {
            said["from"] == "Alice" && said["data"] == text.as_str() && said["time"].is_string()
        };
        let list = heard["data"].as_array().filter(|list| list.len() == wanted.len());
        if !list.is_some_and(|list| list.iter().zip(&wanted).all(|(said, text)| is_said(said, text))) {
            return Err(case.heard_wrongly(&expected, &heard));
        }
        case.done(step);
    }
    Ok(())
}

pub fn name_free(case: &mut Case) -> Step {
    case.start()?;
    let mut bob = member(case, "Bob", &mut [])?;
    for how in ["QUIT", "a FIN", "a RST"] {
        let mut alice = member(case, "Alice", &mut [&mut bob])?;
        match how {
            "QUIT" => case.ask(&mut alice, &json!({"type": "QUIT"}), &json!({"type": "OK"}), "Alice: QUIT")?,
            "a FIN" => alice.close(),
            _ => alice.reset(),
        }
        let step = format!("she ends with {how}, and Bob is told");
        case.hear(&mut bob, &json!({"type": "LEFT", "data": "Alice"}), &step)?;
    }
    // And nobody else's: it is hers as long as she is here, whoever leaves.
    let mut alice = member(case, "Alice", &mut [&mut bob])?;
    bob.close();
    case.hear(&mut alice, &json!({"type": "LEFT", "data": "Bob"}), "she stays, and Bob leaves")?;
    let mut other = case.connect("another one connects")?;
    case.ask(&mut other, &register("Alice"), &error("REGISTER", "NAME_TAKEN"), "and wants to be Alice, too")
}

/// One does not read. All others hear everything, and it is let go before what waits for it is without bounds.
pub fn slow_reader(case: &mut Case) -> Step {
    case.start()?;
    let deaf = member(case, "Deaf", &mut [])?;
    let mut friend = member(case, "Friend", &mut [])?;
    let mut loud = member(case, "Loud", &mut [&mut friend])?;
    let (text, gone) = ("x".repeat(LONG), json!({"type": "LEFT", "data": "Deaf"}));
    let (mut said, mut is_told) = (0, false);
    while said < LONG_MESSAGES && !is_told {
        said += 1;
        case.say(&mut loud, &line(&message(&text)), "Loud says 60,000 bytes")?;
        let expected = format!("Loud gets an OK for message {said}, while Deaf does not read");
        let is_ok = |heard: &Value| has(heard, &json!({"type": "OK", "re": "MESSAGE"}));
        next_but(case, &mut loud, |heard| !is_ok(heard), &expected)?;
        let expected = format!("Friend hears message {said}, while Deaf does not read");
        let (heard, told) = next_but(case, &mut friend, |heard| has(heard, &gone), &expected)?;
        if !has(&heard, &broadcast_of("Loud", &text)) {
            return Err(case.heard_wrongly(&expected, &heard));
        }
        // It may be behind it, too.
        friend.listen();
        is_told = told || friend.received.windows(6).any(|bytes| bytes == b"\"LEFT\"");
    }
    case.done(format!("Loud says {said} messages of {LONG} bytes, and Friend hears them"));
    if is_told {
        case.done("Deaf, who does not read, is let go");
        return Ok(());
    }
    let (main, socket) = (case.main(), case.servers_end(&deaf)?);
    let memory = crate::sys::process::memory(main).unwrap_or(0);
    let queue = socket.map_or(0, |socket| socket.send_queue);
    let expected = "LEFT Deaf, by the time that 32 MiB wait for it";
    let failure = case.fail(Kind::WrongState, expected, "none was heard");
    Err(failure.because(format!(
        "the server keeps what Deaf does not take: {queue} bytes in its Send-Q, and pid {main} has {memory} KiB of its own"
    )))
}

/// The next line that is no such one; and whether one of these was before it. A server that sends them without end does not
/// keep the check for ever.
fn next_but(
    case: &mut Case,
    client: &mut Client,
    is_other: impl Fn(&Value) -> bool,
    expected: &str,
) -> Step<(Value, bool)> {
    let mut others = 0;
    loop {
        let heard = case.hear_a_line(client, expected)?;
        if !is_other(&heard) {
            return Ok((heard, others > 0));
        }
        others += 1;
        if others > OTHERS {
            let seen = format!("it got {others} other lines, and at last {}", shown(heard.to_string().as_bytes()));
            return Err(case
                .fail(Kind::WrongBytes, expected, seen)
                .because("it says what there is nothing to say about"));
        }
    }
}

pub fn ends_well(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    let main = case.main();
    case.signal(main, Signal::SIGTERM)?;
    case.done("SIGTERM to the server");
    let goodbye = json!({"type": "ERROR", "re": null, "code": "SHUTTING_DOWN"});
    for (name, client) in [("Alice", &mut alice), ("Bob", &mut bob)] {
        case.hear(client, &goodbye, &format!("{name} is told"))?;
        case.expect_fin(client, SOON, &format!("FIN for {name}"))?;
    }
    alice.close();
    bob.close();
    case.done("both close");
    if case.until(END, |case| Ok(case.is_gone().then_some(())))?.is_none() {
        let failure = case.fail(Kind::WrongState, "the server to have ended within 2 s", "it still runs");
        return Err(failure.because("nobody is connected any more, and nobody can come"));
    }
    match case.exit() {
        Some(End::Exited(0)) => Ok(()),
        Some(end) => Err(case.fail(Kind::WrongState, "exit code 0", format!("it {}", how_it_ended(end))).into()),
        None => Ok(()),
    }
}
