//! Checks that only an exercise of lab 7 asks for: a message for one, and rooms.

use serde_json::{Value, json};

use super::Client;
use super::case::{Case, Step};
use super::chat::{broadcast_of, error, member, message, ok};
use super::lines::{has, line};

fn private(to: &str, text: &str) -> Value {
    json!({"type": "PRIVATE", "data": {"to": to, "text": text}})
}

pub fn whisper(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    let mut zoe = member(case, "Zo\u{eb}", &mut [&mut alice, &mut bob])?;
    case.ask(&mut alice, &private("Bob", "psst"), &ok("PRIVATE", &"Bob".into()), "Alice says something to Bob")?;
    hears_private(case, &mut bob, "psst", "Bob hears it")?;
    case.hears_nothing(&mut zoe, "nobody else does")?;
    case.hears_nothing(&mut alice, "nor does she")?;
    let answer = ok("PRIVATE", &"Zo\u{eb}".into());
    case.ask(&mut alice, &private("Zoe\u{308}", "and you"), &answer, "to Zoë, typed in another way")?;
    hears_private(case, &mut zoe, "and you", "Zoë hears it")?;
    let nobody = error("PRIVATE", "NO_SUCH_USER");
    case.ask(&mut alice, &private("Carol", "hello?"), &nobody, "to somebody who is not there")?;
    case.ask(&mut alice, &private("no name", "hello?"), &nobody, "to what is no name")?;
    case.ask(&mut alice, &private("Alice", "hello?"), &nobody, "to herself")?;
    let no_text = json!({"type": "PRIVATE", "data": {"to": "Bob"}});
    case.ask(&mut alice, &no_text, &error("PRIVATE", "BAD_DATA"), "without a text")?;
    let no_data = json!({"type": "PRIVATE"});
    case.ask(&mut alice, &no_data, &error("PRIVATE", "MISSING_DATA"), "without data")?;
    let mut stranger = case.connect("one connects that has no name")?;
    let answer = error("PRIVATE", "NOT_REGISTERED");
    case.ask(&mut stranger, &private("Bob", "who am I?"), &answer, "it says something to Bob")?;
    let kept = ok("LIST_MESSAGES", &json!([]));
    case.ask(&mut bob, &json!({"type": "LIST_MESSAGES"}), &kept, "Bob asks what was said: nothing to all")
}

fn hears_private(case: &mut Case, client: &mut Client, text: &str, step: &str) -> Step {
    let wanted = json!({"type": "PRIVATE", "from": "Alice", "data": text});
    let heard = case.hear_a_line(client, &format!("{step}: {wanted}"))?;
    if !has(&heard, &wanted) || !heard["time"].is_string() {
        return Err(case.heard_wrongly(&format!("{step}: {wanted}, with a time"), &heard));
    }
    case.done(step);
    Ok(())
}

fn enter(room: &str) -> Value {
    json!({"type": "ENTER", "data": room})
}

pub fn rooms(case: &mut Case) -> Step {
    case.start()?;
    let mut alice = member(case, "Alice", &mut [])?;
    let mut bob = member(case, "Bob", &mut [&mut alice])?;
    let mut carol = member(case, "Carol", &mut [&mut alice, &mut bob])?;
    case.ask(&mut alice, &enter("kitchen"), &ok("ENTER", &0.into()), "Alice enters the kitchen; nobody else is there")?;
    case.ask(&mut carol, &enter("kitchen"), &ok("ENTER", &1.into()), "Carol enters it; one is there")?;
    case.ask(&mut alice, &message("tea?"), &ok("MESSAGE", &1.into()), "Alice says something; it goes to 1")?;
    case.hear(&mut carol, &broadcast_of("Alice", "tea?"), "Carol hears it")?;
    case.hears_nothing(&mut bob, "Bob, in the lobby, does not")?;
    case.ask(&mut bob, &message("hello?"), &ok("MESSAGE", &0.into()), "Bob says something; nobody is there")?;
    case.hears_nothing(&mut carol, "Carol does not hear it")?;

    let everybody = ok("LIST_USERS", &json!(["Alice", "Bob", "Carol"]));
    case.ask(&mut bob, &json!({"type": "LIST_USERS"}), &everybody, "LIST_USERS is about everybody")?;
    was_said(case, &mut bob, None, &["hello?"], "what was said in the lobby")?;
    was_said(case, &mut carol, None, &["tea?"], "what was said in the kitchen")?;
    was_said(case, &mut carol, Some(1), &["tea?"], "the last 1 that was said in the kitchen")?;
    case.ask(&mut carol, &enter("two words"), &error("ENTER", "BAD_NAME"), "what is no name is no room")?;
    case.ask(&mut carol, &enter("lobby"), &ok("ENTER", &1.into()), "Carol goes back to the lobby; one is there")?;
    was_said(case, &mut carol, None, &["hello?"], "what was said there")?;
    case.ask(&mut bob, &message("there you are"), &ok("MESSAGE", &1.into()), "Bob says something; it goes to 1")?;
    case.hear(&mut carol, &broadcast_of("Bob", "there you are"), "Carol hears it")?;
    case.hears_nothing(&mut alice, "Alice, in the kitchen, does not")?;
    let mut stranger = case.connect("one connects that has no name")?;
    let answer = error("ENTER", "NOT_REGISTERED");
    case.ask(&mut stranger, &enter("kitchen"), &answer, "it wants to enter the kitchen")?;
    // JOINED and LEFT are about everybody, in whichever room.
    let dave = member(case, "Dave", &mut [&mut alice, &mut bob, &mut carol])?;
    dave.close();
    for (name, client) in [("Alice", &mut alice), ("Bob", &mut bob), ("Carol", &mut carol)] {
        let step = format!("LEFT is heard in every room, by {name}");
        case.quietly(|case| case.hear(client, &json!({"type": "LEFT", "data": "Dave"}), &step))?;
    }
    case.done("LEFT is heard in every room");

    // Whoever comes next may well get the descriptor that she leaves, and her room with it.
    alice.close();
    case.hear(&mut bob, &json!({"type": "LEFT", "data": "Alice"}), "Alice, in the kitchen, leaves")?;
    let left = json!({"type": "LEFT", "data": "Alice"});
    case.quietly(|case| case.hear(&mut carol, &left, "Carol is told that Alice has left"))?;
    let mut eve = member(case, "Eve", &mut [&mut bob, &mut carol])?;
    was_said(case, &mut eve, None, &["hello?", "there you are"], "Eve is in the lobby at first: what was said there")
}

fn was_said(case: &mut Case, client: &mut Client, most: Option<u32>, wanted: &[&str], step: &str) -> Step {
    let expected = format!("{step}: {wanted:?}");
    case.say(client, &line(&json!({"type": "LIST_MESSAGES", "data": most})), step)?;
    let heard = case.hear_a_line(client, &expected)?;
    let texts = |list: &Vec<Value>| list.iter().map(|said| said["data"].as_str().unwrap_or("").to_owned()).collect();
    let said: Vec<String> = heard["data"].as_array().map(texts).unwrap_or_default();
    if heard["re"] != "LIST_MESSAGES" || said != wanted {
        return Err(case.heard_wrongly(&expected, &heard));
    }
    case.done(step);
    Ok(())
}
