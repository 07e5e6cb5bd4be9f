//! What the kernel is asked to do about peers that say nothing.

use std::process::Command;

use nix::sys::socket::{getsockopt, sockopt};
use serde_json::json;
use testkit::facts;
use testkit::namespace::{inside, or_skip};
use testkit::process::run;
use testkit::tcp::{socket_between, wait_until};
use testkit::traffic::runs;

use crate::chat::{Client, server};

#[test]
fn every_accepted_socket_has_a_keepalive_timer() {
    if !or_skip("ss, which shows timers", runs("ss", &["-V"])) {
        return;
    }
    let server = server(&["--keepalive", "1000"]);
    let mut client = Client::connect(server.address());
    client.expect_nothing_more();
    let ours = client.address().port();
    let port = server.port();
    let of = |filter: String| {
        let ended = run(Command::new("ss").args(["-tnoH", &filter]));
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    // keepalive,16min in place of a retransmission timer, which is gone as soon as our kernel has acknowledged.
    wait_until("its timer is that of keepalive", || {
        let shown = of(format!("sport = :{port} and dport = :{ours}"));
        shown.contains("timer:(keepalive,16min")
    });
    // And the client, which has not asked for it, has none.
    assert!(!of(format!("sport = :{ours} and dport = :{port}")).contains("keepalive"));
}

#[test]
fn an_accepted_socket_has_the_options_that_were_set_on_the_listening_one() {
    let server = server(&[]);
    let mut client = Client::connect(server.address());
    client.expect_nothing_more();
    let ours = socket_between(server.address(), client.address()).expect("it was accepted");
    let name = format!("socket:[{}]", ours.inode);
    let fd = facts::open_files(server.pid()).into_iter().find_map(|(fd, file)| (file == name).then_some(fd));
    let copy = facts::copy_of_descriptor(server.pid(), fd.expect("the server holds it"));
    let Ok(socket) = &copy else {
        or_skip("the options of another process' socket", copy.map(drop).map_err(|error| error.to_string()));
        return;
    };
    assert!(getsockopt(socket, sockopt::TcpNoDelay).expect("a TCP socket"));
    assert!(getsockopt(socket, sockopt::KeepAlive).expect("a TCP socket"));
    assert_eq!(getsockopt(socket, sockopt::TcpKeepIdle).expect("a TCP socket"), 60);
    assert_eq!(getsockopt(socket, sockopt::TcpKeepInterval).expect("a TCP socket"), 5);
    assert_eq!(getsockopt(socket, sockopt::TcpKeepCount).expect("a TCP socket"), 3);
    assert_eq!(getsockopt(socket, sockopt::TcpUserTimeout).expect("a TCP socket"), 75_000);
}

#[test]
fn a_peer_that_has_vanished_is_found_and_its_name_is_free() {
    inside("peers::a_peer_that_has_vanished_is_found_and_its_name_is_free", &[], || {
        if !or_skip("ip, which takes the loopback down", runs("ip", &["-V"])) {
            return;
        }
        let server = server(&["--keepalive", "1"]);
        let _silent = Client::named(server.address(), "Silent");
        let mut spoken_to = Client::named(server.address(), "Spoken");
        spoken_to.expect_nothing_more();
        let link = |to: &str| {
            let ended = run(Command::new("ip").args(["link", "set", "lo", to]));
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        };
        // No segment arrives any more, and nobody says so: no FIN, no RST.
        link("down");
        for name in ["Silent", "Spoken"] {
            let line = server.wait_for_line(|line| line.contains(&format!("({name}) lost: read ")));
            assert!(["ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH"].iter().any(|errno| line.contains(errno)), "{line}");
        }
        link("up");
        let mut next = Client::named(server.address(), "Silent");
        assert_eq!(next.ask(r#"{"type":"LIST_USERS"}"#)["data"], json!(["Silent"]));
    });
}
