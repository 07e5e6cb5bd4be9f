//! Who has a name, and for how long.

use std::process::Command;
use std::sync::Barrier;
use std::thread;

use serde_json::json;
use testkit::namespace::or_skip;
use testkit::process::Process;
use testkit::tcp::wait_until;
use testkit::traffic::runs;

use crate::chat::{Client, code, request, server};

#[test]
fn of_many_who_ask_for_one_name_in_the_same_instant_exactly_one_gets_it() {
    const CLIENTS: usize = 8;
    let server = server(&[]);
    for round in 0..50 {
        let barrier = Barrier::new(CLIENTS);
        let ask = || {
            let mut client = Client::connect(server.address());
            barrier.wait();
            let answer = client.register(&format!("Name{round}"));
            // Nobody ends before all are answered, or the name would be free again.
            barrier.wait();
            answer
        };
        let answers: Vec<_> = thread::scope(|scope| {
            let asking: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let (welcome, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer["type"] == "OK");
        assert_eq!(welcome.len(), 1, "{answers:?}");
        assert!(refused.iter().all(|answer| code(answer) == "NAME_TAKEN"), "{answers:?}");
    }
}

/// Asks for the name until it is free, which may take the server a turn.
fn take_over(server: &testkit::process::Server, name: &str) {
    let mut next = Client::connect(server.address());
    wait_until("the name is free", || next.register(name)["type"] == "OK");
}

#[test]
fn a_name_is_free_as_soon_as_its_connection_has_ended_however_it_ends() {
    let server = server(&[]);
    let to = server.address();
    let ends: [fn(Client); 4] = [
        drop,
        |client| client.shut_down(),
        Client::reset,
        |mut client| assert_eq!(client.ask(r#"{"type":"QUIT"}"#)["type"], "OK"),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        let name = format!("N{number}");
        let holder = Client::named(to, &name);
        assert_eq!(code(&Client::connect(to).register(&name)), "NAME_TAKEN");
        end(holder);
        take_over(&server, &name);
    }
    // After a server's FIN that answers ours the name is free already: no second try is needed.
    let mut holder = Client::named(to, "M");
    holder.shut_down();
    assert!(holder.rest().is_empty());
    drop(Client::named(to, "M"));
}

#[test]
fn a_name_is_free_when_the_client_that_had_it_is_killed() {
    if !or_skip("nc as a client to kill", runs("sh", &["-c", "command -v nc"])) {
        return;
    }
    let server = server(&[]);
    let mut netcat = Process::start(Command::new("nc").args(["127.0.0.1", &server.port().to_string()]));
    netcat.type_line(&request("REGISTER", "Netcat"));
    netcat.wait_for_line(|line| line.contains("Welcome"));
    // SIGKILL.
    drop(netcat);
    take_over(&server, "Netcat");
}

#[test]
fn a_name_is_free_when_its_owner_is_let_go_for_not_reading() {
    let server = server(&["--queue-bytes", "1000"]);
    let deaf = Client::named(server.address(), "Deaf");
    let mut alice = Client::named(server.address(), "Alice");
    let text = "x".repeat(50_000);
    wait_until("the one that does not read is let go", || {
        alice.say(&text);
        server.count_lines("SLOW_CONSUMER") > 0
    });
    // Its connection is still there, and it is not any more.
    let mut next = Client::named(server.address(), "Deaf");
    assert_eq!(alice.event(), json!({"type":"LEFT","data":"Deaf"}));
    assert_eq!(alice.event(), json!({"type":"JOINED","data":"Deaf"}));
    assert_eq!(alice.say("to the new one"), 1);
    assert_eq!(next.event()["data"], "to the new one");
    drop(deaf);
    next.expect_nothing_more();
    alice.expect_nothing_more();
}

#[test]
fn who_has_a_name_may_not_take_another_one_and_a_refused_name_stays_free() {
    let server = server(&[]);
    let mut alice = Client::named(server.address(), "Alice");
    assert_eq!(code(&alice.register("Bob")), "ALREADY_REGISTERED");
    drop(Client::named(server.address(), "Bob"));
}

#[test]
fn names_that_could_deceive_are_refused_and_letters_of_every_script_are_not() {
    let server = server(&[]);
    for name in ["", " ", "a b", "a\tb", "a\u{200b}b", "\u{202e}a", "a\u{1b}[2J", "a\n", &"x".repeat(33), "\u{0}"] {
        let answer = Client::connect(server.address()).register(name);
        assert_eq!(code(&answer), "BAD_NAME", "{name:?}");
    }
    for name in ["Zoë", "Иван", "王小明", "محمد", "a.b-c_d", "7", &"x".repeat(32)] {
        drop(Client::named(server.address(), name));
    }
    // The log is one of lines, whatever they call themselves.
    assert!(!server.stdout().contains(&0x1b));
}
