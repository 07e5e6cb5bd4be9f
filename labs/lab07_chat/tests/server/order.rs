//! Each message to each receiver, once, in the order in which it was sent.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use serde_json::{Value, json};

use crate::chat::{Client, request, server};

const SENDERS: usize = 50;
const RECEIVERS: usize = 50;
const MESSAGES: usize = 20;

/// Sends all its messages in a few writes, and counts what it hears of the others meanwhile.
fn converse(client: &mut Client, sender: Option<usize>) -> BTreeMap<String, Vec<String>> {
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut take = |line: Value| match line["type"].as_str() {
        Some("BROADCAST") => {
            let from = line["from"].as_str().expect("a name").to_owned();
            heard.entry(from).or_default().push(line["data"].as_str().expect("a text").to_owned());
        }
        Some("OK") => assert_eq!(line["data"], SENDERS + RECEIVERS - 1),
        _ => assert_eq!(line["type"], "JOINED", "{line}"),
    };
    let own = if sender.is_some() { MESSAGES } else { 0 };
    let mut left = own + SENDERS * MESSAGES - own;
    if let Some(sender) = sender {
        // Pipelined, in writes of one to four messages.
        let lines: Vec<String> = (0..MESSAGES).map(|n| request("MESSAGE", &format!("{sender}/{n}")) + "\n").collect();
        for piece in lines.chunks(1 + sender % 4) {
            client.send_bytes(piece.concat().as_bytes());
        }
    }
    while left > 0 {
        let line = client.next().expect("more lines");
        left -= usize::from(line["type"] != "JOINED");
        take(line);
    }
    heard
}

#[test]
fn what_fifty_say_at_once_reaches_a_hundred_exactly_once_and_in_order() {
    let server = server(&[]);
    let to = server.address();
    let (ready, done) = (Barrier::new(SENDERS + RECEIVERS), Barrier::new(SENDERS + RECEIVERS));
    let run = |number: usize| {
        let mut client = Client::named(to, &format!("N{number}"));
        ready.wait();
        let heard = converse(&mut client, (number < SENDERS).then_some(number));
        done.wait();
        client.send(r#"{"type":"QUIT"}"#);
        let rest = client.rest();
        assert!(rest.iter().all(|line| line["type"] != "BROADCAST"), "{rest:?}");
        heard
    };
    let heard: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..SENDERS + RECEIVERS).map(|number| scope.spawn(move || run(number))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for (number, heard) in heard.into_iter().enumerate() {
        for sender in (0..SENDERS).filter(|sender| *sender != number) {
            let expected: Vec<String> = (0..MESSAGES).map(|n| format!("{sender}/{n}")).collect();
            assert_eq!(heard.get(&format!("N{sender}")), Some(&expected), "from {sender} to {number}");
        }
        assert_eq!(heard.len(), SENDERS - usize::from(number < SENDERS));
    }
}

#[test]
fn everybody_else_is_told_once_who_came_and_once_who_left() {
    const GUESTS: usize = 40;
    let server = server(&[]);
    let to = server.address();
    let mut watchers = ["W1", "W2"].map(|name| Client::named(to, name));
    assert_eq!(watchers[0].event()["data"], "W2");
    thread::scope(|scope| {
        for number in 0..GUESTS {
            scope.spawn(move || come_and_go(to, number));
        }
    });
    for watcher in &mut watchers {
        let mut seen: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for _ in 0..2 * GUESTS {
            let event = watcher.event();
            seen.entry(event["data"].as_str().expect("a name").into()).or_default().push(event["type"].clone());
        }
        assert_eq!(seen.len(), GUESTS);
        assert!(seen.values().all(|events| *events == [json!("JOINED"), json!("LEFT")]), "{seen:?}");
        watcher.expect_nothing_more();
    }
}

/// By QUIT, by FIN, by RST, by QUIT and RST.
fn come_and_go(to: SocketAddr, number: usize) {
    let mut client = Client::named(to, &format!("G{number}"));
    match number % 4 {
        0 => drop(client.ask(r#"{"type":"QUIT"}"#)),
        1 => client.shut_down(),
        2 => client.reset(),
        _ => {
            client.send(r#"{"type":"QUIT"}"#);
            client.reset();
        }
    }
}
