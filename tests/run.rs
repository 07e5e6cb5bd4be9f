//! `socklab run`: what a learner sees in terminal 1, and that nothing of it stays behind.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{run_until_it_listens, socklab};
use nix::sys::signal::Signal;
use testkit::facts;
use testkit::namespace::or_skip;
use testkit::process::{Directory, Process, binary, run};
use testkit::tcp::{State, listener, sockets_of, wait_until};
use testkit::terminal::{Ctrl, Terminal, TerminalOptions};
use testkit::traffic::{connect, echo_line, runs};

fn local(port: u16) -> std::net::SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The pid in a line such as `0.004 [server 812] listening on …`.
fn server_pid(run: &Process) -> i32 {
    let line = run.wait_for_line(|line| line.contains("[server "));
    line.split_once("[server ").unwrap().1.split_once(']').unwrap().0.parse().unwrap()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_run_shows_the_listening_socket_then_each_connection_from_both_sides_until_time_wait() {
    let (run, port) = run_until_it_listens(&["1", "--port", "0"]);
    run.wait_for_line(|line| line.contains("accept queue 0/128  lab1-server["));
    let mut client = connect(local(port));
    let own = client.local_addr().unwrap();
    run.wait_for_line(|line| line.contains(&format!("127.0.0.1:{port} ← {own}  new → ESTABLISHED")));
    run.wait_for_line(|line| line.contains(&format!("{own} → 127.0.0.1:{port}  new → ESTABLISHED")));
    echo_line(&mut client, "hello");
    drop(client);
    run.wait_for_line(|line| line.contains(&format!("{own} → 127.0.0.1:{port}  ")) && line.contains("→ TIME-WAIT"));
    run.wait_for_text(&format!("{own} finished: 6 bytes echoed"));
}

#[test]
fn each_state_is_explained_once_and_the_limits_of_the_view_are_said_once() {
    let (run, port) = run_until_it_listens(&["1", "--port", "0"]);
    for _ in 0..3 {
        let mut client = connect(local(port));
        echo_line(&mut client, "hello");
        run.wait_for_text(&format!("{} → 127.0.0.1:{port}  new", client.local_addr().unwrap()));
    }
    let count = |text: &str| run.count_lines(text);
    assert_eq!(count("LISTEN: a listening socket"), 1, "{}", run.output());
    assert_eq!(count("ESTABLISHED: the handshake is done"), 1, "{}", run.output());
    assert_eq!(count("is not seen"), 1, "{}", run.output());
}

#[test]
fn the_second_client_of_lab_1_is_seen_in_the_accept_queue_with_its_bytes_and_then_accepted() {
    let (run, port) = run_until_it_listens(&["1", "--port", "0"]);
    let mut first = connect(local(port));
    echo_line(&mut first, "first");
    let mut second = connect(local(port));
    second.write_all(b"second\n").unwrap();
    let own = second.local_addr().unwrap();
    run.wait_for_text(&format!("127.0.0.1:{port}  accept queue 0/128 → 1/128"));
    run.wait_for_line(|line| {
        line.contains(&format!("← {own}  new → ESTABLISHED")) && line.contains("no process: not accepted yet")
    });
    run.wait_for_text(&format!("← {own}  recv-q 7: bytes that wait for accept() and read()"));
    drop(first);
    run.wait_for_line(|line| line.contains(&format!("← {own}  accepted")) && line.contains("lab1-server["));
    run.wait_for_text(&format!("127.0.0.1:{port}  accept queue 1/128 → 0/128"));
}

#[test]
fn what_to_type_in_the_other_terminals_names_the_very_port() {
    let (run, port) = run_until_it_listens(&["2", "--port", "0"]);
    for command in [
        format!("terminal 2  make client2 PORT={port}"),
        format!("or: nc 127.0.0.1 {port}"),
        format!("terminal 3  make states PORT={port}"),
        format!("or: ss -tanp 'sport = :{port} or dport = :{port}'"),
        format!("or: sudo tcpdump -i lo -nn 'tcp port {port}'"),
    ] {
        run.wait_for_text(&command);
    }
}

#[test]
fn ctrl_c_ends_the_server_with_its_children_and_is_a_success() {
    let (mut run, port) = run_until_it_listens(&["3", "--port", "0"]);
    let server = server_pid(&run);
    let mut client = connect(local(port));
    echo_line(&mut client, "hello");
    let child = facts::children_of(server).first().unwrap().pid;
    run.signal(Signal::SIGINT);
    assert_eq!(run.wait().code(), Some(0), "{}", run.output());
    assert!(!facts::exists(server) && !facts::exists(child));
    assert_eq!(listener(port), None);
    run.wait_for_text("the server is gone");
}

#[test]
fn sigterm_ends_it_too_and_the_exit_code_says_so() {
    let (mut run, _) = run_until_it_listens(&["1", "--port", "0"]);
    let server = server_pid(&run);
    run.signal(Signal::SIGTERM);
    assert_eq!(run.wait().code(), Some(128 + libc::SIGTERM));
    assert!(!facts::exists(server));
}

/// A server that does all it can to stay: it ignores SIGTERM, in a session of its own, as somebody else's child.
const STUBBORN: &str = "trap '' TERM HUP INT; setsid \"$0\" --port {port} & wait";

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_stubborn_server() {
    let server = binary("lab3-server");
    let (mut run, port) =
        run_until_it_listens(&["3", "--port", "0", "--", "sh", "-c", STUBBORN, server.to_str().unwrap()]);
    let mut client = connect(local(port));
    echo_line(&mut client, "hello");
    run.signal(Signal::SIGINT);
    run.signal(Signal::SIGINT);
    assert_eq!(run.wait().code(), Some(0), "{}", run.output());
    assert_eq!(listener(port), None);
}

#[test]
fn nothing_stays_behind_even_when_the_command_itself_is_killed() {
    let server = binary("lab3-server");
    let (mut run, port) =
        run_until_it_listens(&["3", "--port", "0", "--", "sh", "-c", STUBBORN, server.to_str().unwrap()]);
    let mut client = connect(local(port));
    echo_line(&mut client, "hello");
    let shell = server_pid(&run);
    let guard = parent_of(shell).unwrap();
    run.signal(Signal::SIGKILL);
    assert_eq!(run.wait().signal(), Some(libc::SIGKILL));
    wait_until("the whole tree is gone", || listener(port).is_none() && !facts::exists(shell) && !facts::exists(guard));
    // The child that served us is gone as well: its end of the connection is closed.
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_guard_that_somebody_ends_takes_the_server_with_it() {
    let (mut run, port) = run_until_it_listens(&["1", "--port", "0"]);
    let server = server_pid(&run);
    let guard = parent_of(server).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(guard), Signal::SIGKILL).unwrap();
    assert_eq!(run.wait().code(), Some(1), "{}", run.output());
    assert!(!facts::exists(server) && listener(port).is_none());
}

#[test]
fn a_flood_of_output_is_shown_to_its_last_line() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo the last one >&2; exit 1";
    let ended = run(&mut socklab(&["run", "1", "--port", "0", "--", "sh", "-c", script]));
    let stdout = String::from_utf8_lossy(&ended.stdout);
    assert!(stdout.contains("line 19999") && ended.stderr.contains("the last one"), "{}", ended.stderr);
}

#[test]
fn a_command_of_the_learners_own_gets_the_port_in_braces_and_in_its_environment() {
    let server = binary("lab2-server");
    let script = "test \"$PORT\" = {port} && exec \"$0\" --port {port}";
    let (run, port) = run_until_it_listens(&["2", "--port", "0", "--", "sh", "-c", script, server.to_str().unwrap()]);
    echo_line(&mut connect(local(port)), "hello");
    run.wait_for_text("listening on");
}

#[test]
fn a_command_that_is_not_there_is_told_from_one_that_may_not_be_executed() {
    let mut command = socklab(&["run", "1", "--port", "0", "--", "no-such-program"]);
    let missing = run(command.env("PATH", "/usr/bin:/bin"));
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("exec no-such-program: ENOENT"), "{}", missing.stderr);
    let no_program = run(&mut socklab(&["run", "1", "--port", "0", "--", "/etc/passwd"]));
    assert_eq!(no_program.code, Some(1));
    assert!(no_program.stderr.contains("exec /etc/passwd: EACCES"), "{}", no_program.stderr);
}

#[test]
fn a_command_that_exits_at_once_is_told_with_its_exit_code_and_its_last_words() {
    let ended = run(&mut socklab(&["run", "1", "--port", "0", "--", "sh", "-c", "echo ready; echo oops >&2; exit 3"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("the server exited with code 3"), "{}", ended.stderr);
    assert!(ended.stderr.contains("before it listened") && ended.stderr.contains("\n    oops"), "{}", ended.stderr);
}

#[test]
fn a_command_that_crashes_is_told_with_the_signal() {
    let ended = run(&mut socklab(&["run", "1", "--port", "0", "--", "sh", "-c", "kill -SEGV $$"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("was ended by SIGSEGV"), "{}", ended.stderr);
}

#[test]
fn a_command_that_never_listens_is_given_up_and_ended() {
    let command = "echo $$; echo waiting >&2; exec sleep 1000";
    let ended = run(&mut socklab(&["run", "1", "--port", "0", "--patience", "1", "--", "sh", "-c", command]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("listens nowhere") && ended.stderr.contains("    waiting"), "{}", ended.stderr);
    let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
    let pid: i32 = stdout.lines().find_map(|line| line.rsplit(' ').next()?.parse().ok()).unwrap();
    assert!(!facts::exists(pid));
}

#[test]
fn a_server_that_ends_later_is_told_with_its_exit_code() {
    let server = binary("lab1-server");
    let script = "\"$0\" --port {port} & read line <&0; kill $!; exit 7";
    // Its standard input is empty, so `read` fails at once: wait for a client instead.
    let script = script.replace("read line <&0", "while ! \"$1\" 127.0.0.1 {port} </dev/null; do :; done");
    let client = binary("lab1-client");
    let arguments =
        ["run", "1", "--port", "0", "--", "sh", "-c", &script, server.to_str().unwrap(), client.to_str().unwrap()];
    let ended = run(&mut socklab(&arguments));
    assert_eq!(ended.code, Some(1));
    let told = format!("{}{}", String::from_utf8_lossy(&ended.stdout), ended.stderr);
    assert!(told.contains("exited with code 7"), "{told}");
}

#[test]
fn without_processes_or_descriptors_it_says_which_limit_it_met() {
    // Not built anew by cargo, which would meet the limit first: a command of one's own is not built at all.
    let limited = |limit: &str| {
        let script = format!("ulimit -S {limit} && exec \"$0\" run 1 --port 0 -- true");
        run(Command::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_socklab")]))
    };
    let ended = limited("-n 6");
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("EMFILE") && ended.stderr.contains("ulimit -n"), "{}", ended.stderr);
}

#[test]
fn a_port_in_use_is_answered_with_who_uses_it() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let ended = run(&mut socklab(&["run", "1", "--port", &port.to_string()]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("EADDRINUSE"), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("port {port} is in use:")), "{}", ended.stderr);
    assert!(ended.stderr.contains(&format!("[{}] fd", std::process::id())), "{}", ended.stderr);
}

#[test]
fn a_restart_that_meets_time_wait_is_answered_with_the_socket_and_the_time_it_has_left() {
    // On Linux the option counts only where the socket that is left over had it too.
    let (mut first, port) = run_until_it_listens(&["1", "--port", "0", "--server-arg=--reuse"]);
    let mut client = connect(local(port));
    echo_line(&mut client, "hello");
    first.signal(Signal::SIGINT);
    first.wait();
    drop(client);
    wait_until("the server's side is in TIME-WAIT", || {
        sockets_of(port).iter().any(|socket| socket.state == State::TimeWait)
    });
    let port = port.to_string();
    let second = run(&mut socklab(&["run", "1", "--port", &port]));
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("TIME-WAIT 127.0.0.1") && second.stderr.contains("gone in"), "{}", second.stderr);
    let third = Process::start(&mut socklab(&["run", "1", "--port", &port, "--server-arg=--reuse"]));
    third.wait_for_text("new → LISTEN");
}

#[test]
fn a_server_on_another_port_than_the_asked_one_is_followed_there() {
    let server = binary("lab1-server");
    let run = Process::start(&mut socklab(&["run", "1", "--port", "1", "--", server.to_str().unwrap(), "--port", "0"]));
    run.wait_for_text("not on 1: this follows");
    run.wait_for_text("new → LISTEN");
}

#[test]
fn a_server_that_puts_itself_into_the_background_is_followed_and_ended() {
    let server = binary("lab1-server");
    let script = "setsid \"$0\" --port {port} & exit 0";
    let (mut run, port) =
        run_until_it_listens(&["1", "--port", "0", "--", "sh", "-c", script, server.to_str().unwrap()]);
    run.wait_for_text("what it started goes on");
    echo_line(&mut connect(local(port)), "hello");
    run.signal(Signal::SIGINT);
    run.wait();
    assert_eq!(listener(port), None);
}

#[test]
fn a_server_over_ipv6_or_a_unix_socket_is_followed_as_well() {
    let has_v6 = TcpListener::bind("[::1]:0").map(drop).map_err(|error| error.to_string());
    if or_skip("IPv6 on loopback", has_v6) {
        let arguments = ["run", "2", "--port", "0", "--server-arg=--family", "--server-arg=v6"];
        let run = Process::start(&mut socklab(&arguments));
        let line = run.wait_for_line(|line| line.contains("[::1]:") && line.contains("new → LISTEN"));
        let port: u16 = line.split_once("[::1]:").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
        let _client = TcpStream::connect(("::1", port)).unwrap();
        run.wait_for_line(|line| line.contains(&format!("[::1]:{port} ← [::1]:")) && line.contains("ESTABLISHED"));
    }
    let directory = Directory::new();
    let path = directory.path().join("lab2.sock");
    let path_argument = format!("--server-arg=--path={}", path.display());
    let run = Process::start(&mut socklab(&["run", "2", "--server-arg=--family=unix", &path_argument]));
    run.wait_for_line(|line| line.contains("lab2.sock  new → LISTEN"));
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    run.wait_for_line(|line| line.contains("lab2.sock") && line.contains("new → ESTABLISHED"));
}

#[test]
fn a_udp_server_is_followed_without_a_state_that_it_does_not_have() {
    if !or_skip("a UDP server", runs("python3", &["--version"])) {
        return;
    }
    let program = "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('127.0.0.1', {port})); s.recv(1)";
    let mut run = Process::start(&mut socklab(&["run", "1", "--port", "0", "--", "python3", "-c", program]));
    let line = run.wait_for_line(|line| line.contains("new → BOUND"));
    let port: u16 = line.split_once("127.0.0.1:").unwrap().1.split_once(' ').unwrap().0.parse().unwrap();
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", local(port)).unwrap();
    assert_eq!(run.wait().code(), Some(0), "{}", run.output());
}

#[test]
fn a_closed_output_ends_the_server_and_is_no_panic() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = socklab(&["run", "1", "--port", "0"]);
    let run = command.stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    let ended = run.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr.contains("write to standard output: EPIPE") && !stderr.contains("panicked"), "{stderr}");
}

#[test]
fn what_a_program_prints_cannot_reach_the_terminal_as_an_escape_sequence() {
    let script = r"printf '\033[2Jgotcha\033]0;title\007\n'; printf '\033[31mred\n' >&2; exit 1";
    let ended = run(&mut socklab(&["run", "1", "--port", "0", "--", "sh", "-c", script]));
    assert!(!ended.stdout.contains(&0x1b) && !ended.stderr.contains('\x1b'));
    assert!(String::from_utf8_lossy(&ended.stdout).contains("\\u{1b}[2Jgotcha"));
}

#[test]
fn a_program_prints_line_by_line_as_if_a_person_were_watching() {
    if !or_skip("a program with a buffer", runs("python3", &["--version"])) {
        return;
    }
    let program = "import time; print('before'); time.sleep(1000)";
    let run =
        Process::start(&mut socklab(&["run", "1", "--port", "0", "--patience", "60", "--", "python3", "-c", program]));
    run.wait_for_line(|line| line.contains("[server ") && line.ends_with(" before"));
}

#[test]
fn the_server_has_no_descriptor_that_it_would_not_have_without_us() {
    let (run, _) = run_until_it_listens(&["1", "--port", "0"]);
    let bare = testkit::process::Server::start("lab1-server", &[]);
    let fds = |pid| facts::open_files(pid).into_iter().map(|(fd, _)| fd).collect::<Vec<i32>>();
    assert_eq!(fds(server_pid(&run)), fds(bare.pid()));
}

#[test]
fn more_changes_than_anybody_can_read_are_counted() {
    let (run, port) = run_until_it_listens(&["1", "--port", "0"]);
    // It sleeps while they come, so they all fall into its next sample: a hundred connections, each with two ends.
    run.signal(Signal::SIGSTOP);
    let _clients: Vec<TcpStream> = (0..100).map(|_| connect(local(port))).collect();
    run.signal(Signal::SIGCONT);
    let line = run.wait_for_line(|line| line.contains("… and in the same sample:"));
    assert!(line.contains("× new → ESTABLISHED"), "{line}");
    assert!(run.count_lines("new → ESTABLISHED") < 20, "{}", run.output());
}

#[test]
fn forty_columns_without_colour_are_enough() {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut options = TerminalOptions::new(root);
    options.columns = 40;
    options.environment.push(("NO_COLOR".into(), "1".into()));
    let mut terminal = Terminal::new(&options).unwrap();
    let limit = testkit::process::PATIENCE;
    terminal.run(&format!("{} run 1 --port 0", env!("CARGO_BIN_EXE_socklab")), limit).unwrap();
    terminal.expect("LISTEN: a listening socket", limit).unwrap();
    terminal.key(Ctrl::C).unwrap();
    terminal.expect("nothing of it is", limit).unwrap();
    let seen = terminal.seen();
    // The shell's own lines are longer: only ours count, and they begin after the first empty one.
    let ours = seen.split_once("terminal 2").unwrap().1.lines().skip(1).map(|line| line.chars().count()).max();
    assert!(ours <= Some(40), "{ours:?}:\n{seen}");
    assert!(!seen.contains('\x1b'), "{seen:?}");
    terminal.end().unwrap();
}

#[test]
fn a_lab_that_does_not_exist_is_answered_with_the_nearest() {
    let ended = run(&mut socklab(&["run", "9"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("there is no lab \"9\"; the nearest is lab 7"), "{}", ended.stderr);
    for port in ["70000", "abc"] {
        let ended = run(&mut socklab(&["run", "1", "--port", port]));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("--port"), "{}", ended.stderr);
    }
}

#[test]
fn make_hands_everything_on() {
    let root = env!("CARGO_MANIFEST_DIR");
    let dry = |words: &[&str]| {
        let output =
            Command::new("make").args(["--no-print-directory", "-n"]).args(words).current_dir(root).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(
        dry(&["lab3", "PORT=0", "ADDR=::1", "ARGS=--max-clients 2"])
            .contains("run 3 --port 0 --addr ::1 --server-arg=--max-clients --server-arg=2")
    );
    assert!(dry(&["lab3", "LENS=all"]).trim_end().ends_with("run 3   --lens all"));
    assert!(dry(&["demo2", "ARGS=--quiet"]).trim_end().ends_with("demo 2 --quiet"));
    assert!(dry(&["lab1", "CMD=python3 mine.py {port}"]).trim_end().ends_with("-- python3 mine.py {port}"));
    assert!(dry(&["client2", "PORT=7055", "ADDR=::1"]).contains("client 2 --port 7055 --host ::1"));
    assert!(dry(&["states", "PORT=7001", "ARGS=--watch"]).contains("states --port 7001 --watch"));
}
