//! Checks of lab 4, a server of messages with a thread for each client. Some hold for the chat, too.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::case::{Case, SOON, Step};
use super::lines::line;
use super::pour::{Pour, Poured};
use super::report::Kind;
use super::{Client, evidence, life, ready};
use crate::sys::process;

const MIB: usize = 1024 * 1024;
/// How long a message without an end is: far more than a server has to keep.
const ENDLESS: usize = MIB;
/// How much is sent before it is judged whether a server's memory grows with it; and how much at most, where it does: a runtime
/// that collects its garbage has begun to do so by then.
const ENOUGH: usize = 16 * MIB;
const MOST_SENT: usize = 128 * MIB;
/// For how long more than that is sent.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many requests are sent at once.
const AT_ONCE: usize = 50;
/// The most that is sent to a server that reads on and on.
const MOST: usize = 32 * MIB;

fn echo_of(data: &Value) -> Value {
    json!({"type": "OK", "re": "ECHO", "data": data})
}

pub fn answers(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello", "ECHO of a text")?;
    let data = json!({"a": [1, true, null], "ö": "\n\"\\"});
    case.ask(&mut client, &json!({"type": "ECHO", "data": data}), &echo_of(&data), "ECHO of an object")?;
    let request = json!({"type": "echo", "data": null, "id": [7]});
    let answer = json!({"type": "OK", "re": "ECHO", "data": null, "id": [7]});
    case.ask(&mut client, &request, &answer, "ECHO of null, with an id")?;
    case.say(&mut client, &line(&json!({"type": "TIME", "id": 8})), "TIME")?;
    let expected = r#"TIME: {"type":"OK","re":"TIME","id":8,"data":"the time, as in RFC 3339"}"#;
    let heard = case.hear_a_line(&mut client, expected)?;
    let is_time = heard["data"].as_str().is_some_and(|time| time.contains('T') && time.ends_with('Z'));
    if heard["type"] != "OK" || heard["re"] != "TIME" || heard["id"] != 8 || !is_time {
        return Err(case.heard_wrongly(expected, &heard));
    }
    case.done("TIME");
    case.hears_nothing(&mut client, "one answer to each request")
}

pub fn cut_anywhere(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello", "ECHO")?;
    // Not through a JSON writer, which might write the letters as escapes: the cuts have to fall into them.
    let data = "grüße ☺";
    let request = format!("{{\"type\":\"ECHO\",\"data\":\"{data}\"}}\n").into_bytes();
    for (index, byte) in request.iter().enumerate() {
        let is_whole = index + 1 == request.len();
        case.say(&mut client, &[*byte], "a request, byte by byte")?;
        if !is_whole {
            case.is_read(&client)?;
            not_yet(case, &mut client, index + 1)?;
        }
    }
    case.hear(&mut client, &echo_of(&data.into()), "a request, byte by byte")?;

    // The end of one message and the beginning of the next in one piece.
    let (first, second) = (json!({"type": "ECHO", "data": 1}), line(&json!({"type": "ECHO", "data": "second"})));
    let (begin, end) = second.split_at(second.len() / 2);
    let step = "a request and the first half of another";
    case.say(&mut client, &[&line(&first), begin].concat(), step)?;
    case.hear(&mut client, &echo_of(&1.into()), step)?;
    case.is_read(&client)?;
    case.say(&mut client, end, "the second half")?;
    case.hear(&mut client, &echo_of(&"second".into()), "the second half")
}

/// A message has no answer before it has an end.
fn not_yet(case: &mut Case, client: &mut Client, sent: usize) -> Step {
    client.listen();
    if client.received.is_empty() && client.ended.is_none() {
        return Ok(());
    }
    let expected = format!("no answer before the newline: {sent} bytes of a request were sent");
    if client.ended.is_some() {
        return Err(case.fail(Kind::WrongBytes, expected, "the server has ended the connection").into());
    }
    let seen = format!("it got {}", evidence::bytes(&client.take(usize::MAX)));
    let failure = case.fail(Kind::WrongBytes, expected, seen);
    Err(failure.because("it takes what one read() brings for a whole message"))
}

pub fn many_in_one(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello", "ECHO")?;
    let requests: Vec<u8> = (0..AT_ONCE).flat_map(|id| line(&json!({"type": "ECHO", "data": "x", "id": id}))).collect();
    case.say(&mut client, &requests, "50 requests in one write")?;
    for id in 0..AT_ONCE {
        let wanted = json!({"type": "OK", "re": "ECHO", "data": "x", "id": id});
        let step = format!("50 requests in one write, the answer to number {}", id + 1);
        case.quietly(|case| case.hear(&mut client, &wanted, &step))?;
    }
    case.done("50 requests in one write, 50 answers in their order");
    case.hears_nothing(&mut client, "no more than that")
}

/// What is no request, and the code of its answer.
const NO_REQUESTS: &[(&[u8], &str)] = &[
    (b"hello", "BAD_JSON"),
    (b"", "BAD_JSON"),
    (b"[1,2]", "BAD_JSON"),
    (br#"{"type":"TIME""#, "BAD_JSON"),
    (b"\"\xff\xfe\"", "BAD_UTF8"),
    (b"{}", "UNKNOWN_TYPE"),
    (br#"{"type":7}"#, "UNKNOWN_TYPE"),
    (br#"{"type":"SHOUT"}"#, "UNKNOWN_TYPE"),
    (br#"{"type":"ECHO"}"#, "MISSING_DATA"),
];
/// The same, for the chat alone.
const NO_REQUESTS_THERE: &[(&[u8], &str)] = &[
    (br#"{"type":"REGISTER","data":7}"#, "BAD_DATA"),
    (br#"{"type":"REGISTER","data":"two words"}"#, "BAD_NAME"),
    (br#"{"type":"MESSAGE","data":"I am nobody"}"#, "NOT_REGISTERED"),
    (br#"{"type":"LIST_USERS"}"#, "NOT_REGISTERED"),
];

pub fn bad_request(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    let there = if case.lab() == 7 { NO_REQUESTS_THERE } else { &[] };
    for (text, code) in NO_REQUESTS.iter().chain(there) {
        let step = format!("{} is answered with {code}", evidence::bytes(text));
        case.say(&mut client, &[*text, b"\n"].concat(), &step)?;
        case.quietly(|case| case.hear(&mut client, &json!({"type": "ERROR", "code": code}), &step))?;
    }
    case.done("what is no request is answered with an ERROR and its code");
    case.echo(&mut client, b"still here", "the connection goes on")
}

pub fn too_long(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello", "ECHO")?;
    let why = "what was handed out has to go before more is put behind it";
    keeps_none(case, &mut client, "requests, each of them answered,", ask_at_length, why)?;
    let step = "1 MiB without a newline";
    case.say(&mut client, &vec![b'x'; ENDLESS], step)?;
    case.hear(&mut client, &json!({"type": "ERROR", "code": "TOO_LONG"}), step)?;
    let why = "that it is too long was reported, and yet what comes of it is kept";
    keeps_none(case, &mut client, "the rest of what is too long", go_on, why)?;
    case.say(&mut client, b"xyz\n", "its end")?;
    case.hears_nothing(&mut client, "it is answered once, and the next request is served")
}

/// The memory that is the server's own, in bytes.
fn memory(case: &Case) -> usize {
    let kib: u64 = case.family().iter().filter_map(|member| process::memory(member.pid)).sum();
    usize::try_from(kib * 1024).unwrap_or(usize::MAX)
}

/// A request, and its answer before the next one is sent. As many bytes as that was.
fn ask_at_length(case: &mut Case, client: &mut Client) -> Step<usize> {
    let (request, step) = (case.something_long(), "many requests, one after the other");
    case.say(client, &request, step)?;
    let expected = format!("{step}: an answer to each");
    let heard = case.hear_a_line(client, &expected)?;
    if heard["type"] == "OK" { Ok(request.len()) } else { Err(case.heard_wrongly(&expected, &heard)) }
}

/// More of a request of which the server has said already that it is too long.
fn go_on(case: &mut Case, client: &mut Client) -> Step<usize> {
    case.say(client, &vec![b'x'; ENDLESS], "more of it, without a newline")?;
    Ok(ENDLESS)
}

/// Sends more and more, and the server's memory does not grow with it; a step. What a runtime leaves lying about until it
/// collects its garbage grows at first, and then no more.
fn keeps_none(
    case: &mut Case,
    client: &mut Client,
    what: &str,
    send: fn(&mut Case, &mut Client) -> Step<usize>,
    why: &str,
) -> Step {
    let (begun, before) = (Instant::now(), memory(case));
    let (mut last, mut sent, mut enough) = ((0, before), 0, ENOUGH);
    loop {
        while sent < enough {
            sent += case.quietly(|case| send(case, client))?;
        }
        case.until(SOON, |case| {
            let socket = case.servers_end(client)?;
            Ok(socket.is_none_or(|socket| socket.receive_queue == 0).then_some(()))
        })?;
        let now = memory(case);
        let has_grown_since = |(until_then, then): (usize, usize)| now.saturating_sub(then) >= (sent - until_then) / 2;
        if !has_grown_since((0, before)) || !has_grown_since(last) {
            case.done(format!("{} MiB of {what} are not kept", sent / MIB));
            return Ok(());
        }
        // Who looks at all that is kept each time becomes slower and slower.
        if sent >= MOST_SENT || begun.elapsed() >= PATIENCE {
            let expected = format!("{} MiB of {what} not to be kept", sent / MIB);
            let seen = format!("the server's memory has grown by {} MiB", (now - before) / MIB);
            return Err(case.fail(Kind::WrongState, expected, seen).because(why));
        }
        (last, enough) = ((sent, now), enough * 2);
    }
}

pub fn half_frame(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello", "ECHO")?;
    case.say(&mut client, br#"{"type":"TIME"}"#, "a request without its newline")?;
    client.shutdown_write();
    case.done("client shutdown(WR), where the newline should be");
    case.expect_fin(&mut client, SOON, "FIN")?;
    if !client.received.is_empty() {
        let seen = format!("it got {}", evidence::bytes(&client.received));
        let failure = case.fail(Kind::WrongBytes, "no answer to half a message", seen);
        return Err(failure.because("without the newline nobody can know whether it is whole"));
    }
    let mut next = case.connect("the next one connects")?;
    case.echo(&mut next, b"hello", "ECHO")
}

pub fn thread_each(case: &mut Case) -> Step {
    case.start()?;
    // A runtime makes some threads only when there is something to do, and keeps them.
    life::come_and_go(case, 2, "2 clients come and go")?;
    let before = life::at_rest(case)?.threads;
    let count =
        |case: &Case| -> u32 { case.family().iter().filter(|member| !member.is_zombie()).map(|one| one.threads).sum() };
    let mut first = case.connect("the first connects")?;
    case.echo(&mut first, b"hello", "ECHO")?;
    let mut second = case.connect("the second connects")?;
    case.echo(&mut second, b"hello", "ECHO")?;
    let expected = format!("{} threads: {before} without a client, and one for each of two", before + 2);
    if case.until(SOON, |case| Ok((count(case) >= before + 2).then_some(())))?.is_none() {
        let seen = format!("there are {}", count(case));
        return Err(case.fail(Kind::WrongState, expected, seen).into());
    }
    case.done("two threads more than before");
    first.close();
    second.close();
    if case.until(SOON, |case| Ok((count(case) <= before).then_some(())))?.is_none() {
        let seen = format!("there are {}", count(case));
        let failure = case.fail(Kind::WrongState, format!("{before} threads when both have gone"), seen);
        return Err(failure.because("a thread has not ended with its client"));
    }
    Ok(())
}

/// One that does not read harms nobody else. Labs 4 to 6; the chat has a function of its own, as there others write to it.
pub fn slow_reader(case: &mut Case) -> Step {
    case.start()?;
    let mut friend = case.connect("a client connects")?;
    case.echo(&mut friend, b"hello\n", "echo")?;
    let mut deaf = case.connect("one connects that writes and does not read")?;
    let mut pour = Pour::of(case.something_long());
    match case.pour(&mut deaf, &mut pour, MOST)? {
        Poured::Stuck => case.done(format!("after {} bytes it has to wait", pour.written)),
        Poured::Through => case.done(format!("it writes {MOST} bytes")),
        Poured::Broken(errno) => case.done(format!("after {} bytes it is let go ({errno:?})", pour.written)),
    }
    let why = "it sleeps in a call for the one that does not read: everybody else has to wait as long";
    ready::is_served_at_once(case, &mut friend, "echo for the first", why)?;
    let step = "more of them come, and the first is served all the same";
    ready::is_served_beside_new_ones(case, &mut friend, step, why)?;
    let mut third = case.connect("a third connects")?;
    case.echo(&mut third, b"hello\n", "echo")?;
    // It is there until here.
    case.wait(Duration::ZERO)?;
    drop(deaf);
    Ok(())
}
