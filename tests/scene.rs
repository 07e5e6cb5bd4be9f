//! `socklab scene`: programs that are led from call to call, what is asked of the kernel in between, and predictions laid beside
//! its answers.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use common::socklab;
use nix::sys::signal::Signal;
use testkit::facts;
use testkit::namespace::{available, or_skip, python_or_skip};
use testkit::process::{Directory, Ended, Process, as_user, binary, run};
use testkit::tcp::wait_until;
use testkit::terminal::{Terminal, TerminalOptions};
use testkit::traffic::runs;

/// How long anything in a terminal may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Whether programs can be led in a network of their own.
fn can_play(what: &str) -> bool {
    or_skip(what, available())
}

/// A scene in a file of its own, with the programs of lab N by their paths: cargo has nothing to do then.
struct Scene {
    directory: Directory,
}

impl Scene {
    fn new(text: &str) -> Self {
        let scene = Self { directory: Directory::new() };
        let mut text = text.to_owned();
        for number in 1..=7 {
            for side in ["server", "client"] {
                let name = format!("lab{number}-{side}");
                text = text.replace(&format!(" {name} "), &format!(" {} ", binary(&name).display()));
            }
        }
        fs::write(scene.file(), text).unwrap();
        scene
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("the.scene")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = socklab(&["scene"]);
        command.arg(self.file()).args(arguments).stdin(Stdio::null());
        command
    }

    fn play(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }
}

fn stdout(ended: &Ended) -> String {
    String::from_utf8(ended.stdout.clone()).unwrap()
}

/// Plays a scene that has to come out well, and returns what it printed.
fn played(text: &str) -> String {
    let ended = Scene::new(text).play(&[]);
    let printed = stdout(&ended);
    assert_eq!(ended.code, Some(0), "{printed}\n{}", ended.stderr);
    printed
}

/// Plays a scene that has to fail, and returns what it printed.
fn failed(text: &str) -> String {
    let ended = Scene::new(text).play(&[]);
    let printed = stdout(&ended);
    assert_eq!(ended.code, Some(1), "{printed}\n{}", ended.stderr);
    printed
}

const BEFORE_ACCEPT: &str = "\
title   A connection is established before anybody accepts it
program server  lab1-server --port {port}
program client  lab1-client 127.0.0.1 {port}

server  until listen returns
ask     In which state is the client's socket when connect() has returned?
predict client ESTABLISHED | SYN-SENT | CLOSED
wrong   SYN-SENT  The handshake does not wait for accept().
wrong   CLOSED    connect() has returned 0.
client  until connect returns
reveal
expect  server queue 1
expect  server backlog 128
print   states
note    The handshake is the kernel's work. accept() hands over what is already there.
server  until accept returns
expect  server queue 0
type    client hello
client  until write
expect  client's peer recv-q 6
print   states
server  until read returns 6
expect  client's peer recv-q 0
client  freely
server  freely
wait    client says hello
close   stdin client
expect  client exit 0
expect  client TIME-WAIT
expect  client sent FIN 1
print   states
";

#[test]
fn a_connection_is_held_in_the_accept_queue_before_it_is_accepted() {
    if !can_play("a scene with the accept queue") {
        return;
    }
    let printed = played(BEFORE_ACCEPT);
    let lines: Vec<&str> = printed.lines().map(str::trim).collect();
    for line in [
        "client: ESTABLISHED",
        "server           LISTEN       accept queue 1/128  server fd 3",
        "server ← client  ESTABLISHED  no process: not accepted yet",
        "server ← client  ESTABLISHED  recv-q 6  server fd 4",
        "client → server  TIME-WAIT  no process",
    ] {
        assert!(lines.contains(&line), "{line}\n{printed}");
    }
}

/// The printed states, and the lines that they belong to.
fn states(printed: &str) -> Vec<String> {
    let mut states = Vec::new();
    let mut is_table = false;
    for line in printed.lines() {
        if line.starts_with('▸') {
            is_table = line == "▸ print states";
        }
        if is_table {
            states.push(line.to_owned());
        }
    }
    states
}

#[test]
fn a_scene_that_is_played_a_hundred_times_prints_a_hundred_times_the_same_states() {
    const TIMES: usize = 100;
    const AT_ONCE: usize = 10;
    if !can_play("a scene a hundred times") {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let left = AtomicUsize::new(TIMES);
    let tables = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let ended = scene.play(&[]);
                    let printed = stdout(&ended);
                    assert_eq!(ended.code, Some(0), "{printed}\n{}", ended.stderr);
                    tables.lock().unwrap_or_else(PoisonError::into_inner).push(states(&printed));
                }
            });
        }
    });
    let tables = tables.into_inner().unwrap();
    assert_eq!(tables.len(), TIMES);
    assert!(tables[0].len() > 8, "{:#?}", tables[0]);
    for table in &tables {
        assert_eq!(table, &tables[0]);
    }
}

#[test]
fn a_child_is_held_before_its_first_instruction_and_two_processes_hold_one_connection() {
    if !can_play("a scene with a fork") {
        return;
    }
    let printed = played(
        "program server  lab3-server --port {port}
program client  lab3-client 127.0.0.1 {port}
server  until listen
client  until connect
server  until accept
expect  client's peer holders 1
server  until fork
expect  client's peer holders 2
expect  server children 1
print   states
server  until close
expect  client's peer holders 1
server/child-1 until read enters
expect  server/child-1 in read
type    client hello
client  freely
server/child-1 until read returns 6
server/child-1 freely
close   stdin client
expect  client exit 0
expect  server/child-1 exit 0
expect  server zombies 1
print   processes
server  until accept enters
expect  server zombies 0
print   calls
",
    );
    assert!(printed.contains("server fd 4, server/child 1 fd 4"), "{printed}");
    assert!(printed.contains("server/child 1  exited with code 0"), "{printed}");
    assert!(printed.contains("server  gets SIGCHLD"), "{printed}");
    assert!(
        printed.contains("server/child 1  read(4<127.0.0.1:7000 ← :client>, \"hello\\n\", 65536) = 6"),
        "{printed}"
    );
}

#[test]
fn a_thread_is_led_by_itself_and_its_calls_are_its_own() {
    if !can_play("a scene with threads") {
        return;
    }
    played(
        "program server  lab4-server --port {port}
program client  lab4-client 127.0.0.1 {port}
server  until listen
client  until connect
server  until fork
expect  server threads 2
expect  server/thread-1 in no-call
client  freely
server/thread-1 freely
server  freely
expect  server/thread-1 in read
expect  server/thread-1 read count 0..
expect  server in accept
expect  server connections 1
",
    );
}

#[test]
fn a_refused_connection_a_signal_and_a_kill_are_seen_for_what_they_are() {
    if !can_play("a scene with signals") {
        return;
    }
    let printed = played(
        "program client  lab1-client 127.0.0.1 {port}
program server  lab1-server --port {port}
program other   lab1-client 127.0.0.1 {port}
client  until connect fails ECONNREFUSED
expect  client connect returns ECONNREFUSED
expect  client CLOSED
client  until ends
server  until listen
other   until connect
server  until accept
kill    server
expect  server exit SIGKILL
expect  other CLOSE-WAIT
print   segments
signal  other SIGTERM
expect  other exit running
other   freely
expect  other exit SIGTERM
",
    );
    assert!(printed.contains("server → (a socket that is gone)  R. seq 0 ack 1 win 0"), "{printed}");
    assert!(printed.contains("server → other  F. seq 1"), "{printed}");
}

#[test]
fn a_signal_to_a_thread_ends_its_process_and_who_has_ended_can_be_led_to_the_end() {
    if !can_play("a scene with a signal to a thread") {
        return;
    }
    played(
        "program server  lab4-server --port {port}
program client  lab4-client 127.0.0.1 {port}
server  until listen
server  freely
client  freely
wait    server/thread-1 in read
kill    server/thread-1
expect  server exit SIGKILL
server  until ends
close   stdin client
client  until ends
",
    );
}

#[test]
fn unix_sockets_are_shown_by_their_address_and_the_same_each_time() {
    if !can_play("a scene with Unix sockets") {
        return;
    }
    let printed = played(
        "program server  lab2-server --family unix --path {tmp}/echo
program client  lab2-client --family unix {tmp}/echo
server  until listen
client  until connect
print   states
server  until accept
print   states
",
    );
    for line in [
        "    server at {tmp}/echo  LISTEN       accept queue 1/128  server fd 3\n",
        "    server at {tmp}/echo ← (unnamed)  ESTABLISHED  server fd 4\n",
        "    client → {tmp}/echo               ESTABLISHED  client fd 3\n",
    ] {
        assert!(printed.contains(line), "{line}{printed}");
    }
}

#[test]
fn who_does_not_get_there_in_time_is_told_with_where_it_is_instead() {
    if !can_play("a scene that stands still") {
        return;
    }
    // The limit is for what comes behind it: how long a program takes to begin is up to the machine.
    let printed =
        failed("program server  lab1-server --port {port}\nserver until listen\nlimit 1\nserver until accept\n");
    assert!(printed.contains("the.scene:4: server until accept"), "{printed}");
    assert!(printed.contains("server did not get there within 1 s: it is in accept4(3<listen :7000>"), "{printed}");
    assert!(printed.contains("server  LISTEN  accept queue 0/128  server fd 3"), "{printed}");
}

#[test]
fn who_is_still_at_work_when_the_limit_is_over_gets_more_time() {
    if !can_play("a program that takes its time") {
        return;
    }
    let Some(python) = python_or_skip("a program that takes its time") else { return };
    let scene = Scene::new(&format!(
        "program server {python} {{here}}/slow.py {{port}}\nserver until bind\nlimit 1\nserver until listen\n\
         server freely\nwait server in accept\n"
    ));
    // Twice as long as the limit, whatever the machine, and it is on its way all the while.
    let slow = "import socket, sys, time
def work():
    end = time.monotonic() + 2
    while time.monotonic() < end: pass
s = socket.socket()
s.bind(('127.0.0.1', int(sys.argv[1])))
work()
s.listen()
work()
s.accept()
";
    fs::write(scene.directory.path().join("slow.py"), slow).unwrap();
    let ended = scene.play(&[]);
    assert_eq!(ended.code, Some(0), "{}\n{}", stdout(&ended), ended.stderr);
}

#[test]
fn who_ends_on_the_way_is_told_with_its_end_and_its_last_words() {
    if !can_play("a scene with a program that ends") {
        return;
    }
    let printed = failed("program server  sh -c 'echo no wind >&2; exit 7'\nserver until listen\n");
    let told = "server exited with code 7 before it got there; its last words:\n    no wind\n";
    assert!(printed.contains(told), "{printed}");
    let printed = failed("program server  sh -c 'exit 0'\nserver until ends\nserver freely\n");
    assert!(
        printed.contains("the.scene:3: server freely") && printed.contains("server exited with code 0"),
        "{printed}"
    );
}

#[test]
fn what_is_not_as_expected_is_told_with_what_was_seen_instead() {
    if !can_play("an expectation that is not met") {
        return;
    }
    let printed =
        failed("program server  lab1-server --port {port}\nserver until listen\nlimit 1\nexpect server queue 3\n");
    assert!(printed.contains("expected server queue 3 within 1 s; seen instead: 0"), "{printed}");
    let printed =
        failed("program server  lab1-server --port {port}\nserver until listen\nlimit 1\nexpect server exit 0\n");
    assert!(printed.contains("seen instead: running (it is held, and does nothing until"), "{printed}");
    let printed = failed("program server  lab1-server --port {port}\nlimit 1\nserver/child-1 freely\n");
    assert!(printed.contains("there is no server/child 1"), "{printed}");
}

#[test]
fn whom_its_maker_has_taken_along_is_not_said_to_be_held() {
    if !can_play("a child that goes with its maker") {
        return;
    }
    let printed = failed(
        "program server  lab3-server --port {port}
program client  lab3-client 127.0.0.1 {port}
server  until listen
client  until connect
server  until fork
server  freely
expect  server/child-1 in read
limit   1
expect  server/child-1 exit 0
",
    );
    assert!(printed.contains("expected server/child 1 exit 0 within 1 s; seen instead: running"), "{printed}");
    assert!(!printed.contains("it is held"), "{printed}");
}

#[test]
fn a_program_that_is_not_there_is_told_by_its_name() {
    if !can_play("a program that is not there") {
        return;
    }
    let ended = Scene::new("program server  no-such-program {port}\nserver until listen\n").play(&[]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no-such-program") && ended.stderr.contains("ENOENT"), "{}", ended.stderr);
}

#[test]
fn a_mistake_in_a_scene_is_shown_with_its_line_and_the_word_that_was_meant() {
    let ended = Scene::new("title x\nprogram server  true\nserver untill listen\n").play(&[]);
    assert_eq!(ended.code, Some(2));
    assert!(
        ended.stderr.contains("the.scene:3:8: \"untill\" is no thing that a program can do; do you mean \"until\"?"),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("3 | server untill listen") && ended.stderr.contains("^^^^^^"), "{}", ended.stderr);
    let ended = run(&mut socklab(&["scene", "/nowhere.scene"]));
    assert!(ended.stderr.contains("read /nowhere.scene: ENOENT"), "{}", ended.stderr);
}

#[test]
fn a_wrong_prediction_gets_the_explanation_of_that_misconception_and_exit_code_3() {
    if !can_play("predictions") {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let ended = scene.play(&["--answer", "b"]);
    let printed = stdout(&ended);
    assert_eq!(ended.code, Some(3), "{printed}");
    assert!(printed.contains("you said     SYN-SENT"), "{printed}");
    assert!(printed.contains("the kernel   ESTABLISHED"), "{printed}");
    assert!(printed.contains("The handshake does not wait for accept()."), "{printed}");
    assert!(!printed.contains("connect() has returned 0."), "only that one is explained: {printed}");
    for right in ["a", "A", "ESTABLISHED", "established"] {
        let ended = scene.play(&["--answer", right]);
        assert_eq!(ended.code, Some(0), "{right}: {}", stdout(&ended));
    }
    let ended = scene.play(&["--answer", "z"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("\"z\" is none of the answers: a letter, a to c"), "{}", ended.stderr);
}

#[test]
fn whoever_is_asked_may_think_may_mistype_and_may_leave() {
    if !can_play("predictions that are asked for") {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let mut asked = Process::start(scene.command(&["--ask"]).stdin(Stdio::piped()));
    asked.wait_for_text("your answer, a letter, a to c");
    asked.type_line("maybe");
    asked.wait_for_text("\"maybe\" is none of the answers");
    asked.type_line("c");
    asked.wait_for_text("connect() has returned 0.");
    assert_eq!(asked.wait().code(), Some(3));
    // The end of the input is an answer too: nobody is there.
    assert_eq!(scene.play(&["--ask"]).code, Some(2));
}

#[test]
fn a_scene_whose_menu_lacks_the_true_answer_fails_and_says_what_was_seen() {
    if !can_play("a menu without the truth") {
        return;
    }
    let printed = failed(
        "program server  lab1-server --port {port}\npredict server queue 4 | 5..\nserver until listen\nreveal\n",
    );
    assert!(printed.contains("what was seen of server queue is 0, and not on the menu"), "{printed}");
}

#[test]
fn a_recording_shows_the_same_lines_as_the_scene_itself() {
    if !can_play("a scene and its recording") {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let recording = scene.file().with_extension("recording");
    let live = scene.play(&["--answer", "b", "--record", recording.to_str().unwrap()]);
    assert_eq!(live.code, Some(3));
    let recorded = scene.play(&["--answer", "b", "--recorded"]);
    assert_eq!(recorded.code, Some(3), "{}", recorded.stderr);
    let (live, recorded) = (stdout(&live), stdout(&recorded));
    assert!(recorded.contains("a recording of Linux"), "{recorded}");
    assert_eq!(states(&live)[..7], states(&recorded)[..7]);
    assert!(recorded.contains("the kernel   ESTABLISHED"), "{recorded}");
}

#[test]
fn where_nothing_can_be_followed_the_recording_is_shown_and_without_one_it_cannot_be_judged() {
    // Whom strace follows, nobody else can, nor whoever that one makes.
    if !can_play("a scene from its recording") || !or_skip("a command under strace", runs("strace", &["true"])) {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let under_strace = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", env!("CARGO_BIN_EXE_socklab"), "scene"]).arg(scene.file());
        run(&mut command)
    };
    let ended = under_strace();
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(stdout(&ended).contains("programs cannot be followed here"), "{}", stdout(&ended));
    assert_eq!(scene.play(&["--record", scene.file().with_extension("recording").to_str().unwrap()]).code, Some(0));
    let ended = under_strace();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(stdout(&ended).contains("client: ESTABLISHED"), "{}", stdout(&ended));
}

#[test]
fn an_ordinary_user_plays_it_too_and_the_files_are_written() {
    if !can_play("a scene as an ordinary user") {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let directory = Directory::new();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let (html, pcapng, json) = (file("page.html"), file("segments.pcapng"), file("events"));
    let ended = scene.play(&["--html", &html, "--pcapng", &pcapng, "--json", &json]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(fs::read_to_string(html).unwrap().contains("A connection is established before anybody accepts it"));
    assert_eq!(fs::read(pcapng).unwrap()[..4], 0x0a0d_0d0au32.to_ne_bytes());
    assert!(fs::read_to_string(json).unwrap().contains("reveals: ESTABLISHED"));
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let home = Directory::new();
    let here = home.path();
    let text = format!(
        "program server {} --port {{port}}\nserver until listen\nexpect server LISTEN\nprint segments\n",
        home.copy_of("lab1-server").display()
    );
    fs::write(here.join("a.scene"), text).unwrap();
    let mut command = Command::new(home.copy_of("socklab"));
    command.arg("scene").arg(here.join("a.scene")).current_dir(here);
    let ended = run(as_user(&mut command, 65534));
    assert_eq!(ended.code, Some(0), "{}\n{}", stdout(&ended), ended.stderr);
}

/// What a terminal would get of a scene, but for our own colours. Into a pipe without colours no escape would find its way.
fn at_a_terminal(scene: &Scene, arguments: &[&str]) -> String {
    let ended = run(scene.command(arguments).env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR"));
    let printed = stdout(&ended) + &ended.stderr;
    let mut parts = printed.split("\u{1b}[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        match part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';').strip_prefix('m') {
            Some(rest) => plain.push_str(rest),
            None => plain.extend(["\u{1b}[", part]),
        }
    }
    assert_ne!(plain, printed, "it is printed in colour");
    plain
}

#[test]
fn what_programs_print_and_scenes_say_reaches_nobody_raw() {
    if !can_play("hostile text") {
        return;
    }
    let is_harmless = |character: char| character == '\n' || !(character.is_control() || character == '\u{202e}');
    let server = "program server  lab1-server --port {port}\nserver until listen\nlimit 1\n";
    for (text, seen) in [
        (
            "title \u{1b}[2J\nprogram server  sh -c 'printf \"\\033]0;x\\007\\n\" >&2; exit 1'\nnote a\u{1b}b\u{202e}c\n\
             server until listen\n"
                .to_owned(),
            "its last words:\n    \\u{1b}]0;x",
        ),
        (format!("{server}expect server accept returns \u{1b}[2J\n"), "seen instead: no-call"),
        (format!("{server}expect server says \"\u{1b}[2J\" 1\n"), "seen instead: 0"),
        (format!("{server}predict server accept returns \u{1b}[2J = \u{202e}y | 1\nreveal\n"), "not on the menu"),
        (
            format!(
                "program client  lab1-client 127.0.0.1 {{port}}\n{server}client until connect\ntype client \u{1b}[2J\n\
                 client until write\nprint calls\n"
            ),
            "client  sendto(",
        ),
    ] {
        let printed = at_a_terminal(&Scene::new(&text), &[]);
        assert!(printed.contains(seen), "{printed:?}");
        assert!(printed.chars().all(is_harmless), "{printed:?}");
    }
    // From a recording nothing is measured again, and so any word is met.
    let scene = Scene::new(&format!("{server}expect server LISTEN\n"));
    let recording = scene.file().with_extension("recording");
    assert_eq!(scene.play(&["--record", recording.to_str().unwrap()]).code, Some(0));
    let text = fs::read_to_string(scene.file()).unwrap();
    fs::write(scene.file(), text.replace("LISTEN", "accept returns \u{1b}[2J")).unwrap();
    let printed = at_a_terminal(&scene, &["--recorded"]);
    assert!(printed.contains("✓ server accept returns \\u{1b}[2J"), "{printed:?}");
    assert!(printed.chars().all(is_harmless), "{printed:?}");
}

#[test]
fn however_a_scene_is_ended_nobody_is_left_of_its_programs_held_or_not() {
    if !can_play("the end of a scene") {
        return;
    }
    let Some(python) = python_or_skip("a program that ignores SIGTERM") else { return };
    let stubborn = "import os,signal,socket,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); \
        s=socket.socket(); s.listen(); print(os.getpid(), flush=True); time.sleep(999)";
    let scene = Scene::new(&format!(
        "program server  lab1-server --port {{port}}\nprogram other {python} -c '{stubborn}'\nserver until listen\n\
         other freely\nwait other says \"\"\nwait other children 1\nprint states\nlimit 600\nwait server exit 0\n"
    ));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut playing = Process::start(&mut scene.command(&[]));
        playing.wait_for_text("LISTEN");
        let family = family_of(playing.pid());
        assert!(family.len() >= 3, "{family:?}");
        playing.signal(signal);
        playing.wait();
        wait_until("the family is gone", || family.iter().all(|&pid| !facts::exists(pid)));
    }
}

fn family_of(pid: i32) -> Vec<i32> {
    let children: Vec<i32> = facts::children_of(pid).into_iter().map(|child| child.pid).collect();
    children.iter().flat_map(|&child| [vec![child], family_of(child)].concat()).collect()
}

#[test]
fn a_program_is_not_deaf_to_signals_though_a_shell_has_started_us_in_the_background() {
    if !can_play("a scene in the background") {
        return;
    }
    let scene = Scene::new(
        "program server  lab1-server --port {port}\nserver until listen\nsignal server SIGINT\nserver until ends\n\
         expect server exit SIGINT\n",
    );
    // What a shell without job control does for a command with & behind it.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' INT QUIT; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_socklab"), "scene"])
        .arg(scene.file());
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(0), "{}\n{}", stdout(&ended), ended.stderr);
}

#[test]
fn step_by_step_the_states_are_shown_before_each_line_and_space_goes_on() {
    if !can_play("a scene step by step") {
        return;
    }
    let scene = Scene::new(BEFORE_ACCEPT);
    let mut terminal = Terminal::new(&TerminalOptions::new(Path::new("/"))).unwrap();
    let command = format!("{} scene --step {}", env!("CARGO_BIN_EXE_socklab"), scene.file().display());
    terminal.run(&command, LIMIT).unwrap();
    terminal.expect("next, line 5: server  until listen returns", LIMIT).unwrap();
    // The return key is a key, too.
    terminal.type_line("").unwrap();
    terminal.expect("server  LISTEN  accept queue 0/128", LIMIT).unwrap();
    terminal.expect("next, line 10: client  until connect returns", LIMIT).unwrap();
    terminal.type_line(" ").unwrap();
    terminal.expect("no process: not accepted yet", LIMIT).unwrap();
    terminal.expect("next, line 12: expect  server queue 1", LIMIT).unwrap();
    terminal.type_line("q").unwrap();
    assert_eq!(terminal.await_end(LIMIT), Ok(2));
}
