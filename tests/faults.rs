//! Where programs, the machine or whoever watches misbehave: nobody hangs, nothing is invented, and it is said what is wrong.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::socklab;
use nix::sys::signal::Signal;
use testkit::namespace::{available, or_skip};
use testkit::process::{Directory, Process, as_user, run};
use testkit::terminal::{Terminal, TerminalOptions};
use testkit::traffic::runs;

const SOCKLAB: &str = env!("CARGO_BIN_EXE_socklab");

/// Threads that make one call after the other, for ever.
const NEVER_RESTS: &str = r#"
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
static void *work(void *unused) {
    int pair[2];
    char byte = 'x';
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    for (;;) if (write(pair[0], &byte, 1) != 1 || read(pair[1], &byte, 1) != 1) return unused;
}
int main(void) {
    pthread_t thread;
    for (int index = 0; index < 3; index++) pthread_create(&thread, 0, work, 0);
    write(1, "ready\n", 6);
    work(0);
}
"#;

fn compiled(directory: &Directory, source: &str) -> Option<PathBuf> {
    or_skip("a program in C", runs("cc", &["--version"])).then(|| {
        let (file, program) = (directory.path().join("program.c"), directory.path().join("program"));
        fs::write(&file, source).unwrap();
        let made = run(Command::new("cc").args(["-pthread", "-o"]).args([&program, &file]));
        assert!(made.code == Some(0), "{}", made.stderr);
        program
    })
}

#[test]
fn a_file_that_cannot_be_written_ends_the_run_of_a_program_that_never_rests() {
    let directory = Directory::new();
    let Some(program) = compiled(&directory, NEVER_RESTS) else { return };
    for command in ["trace", "watch"] {
        let ended = run(socklab(&[command, "--quiet", "--json", "/dev/full", "--"]).arg(&program));
        assert_eq!(ended.code, Some(1), "{command}: {}", ended.stderr);
        assert!(ended.stderr.contains("write /dev/full: ENOSPC"), "{command}: {}", ended.stderr);
    }
}

#[test]
fn a_signal_ends_the_run_of_a_program_that_never_rests() {
    let directory = Directory::new();
    let Some(program) = compiled(&directory, NEVER_RESTS) else { return };
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let mut trace = Process::start(socklab(&["trace", "--quiet", "--"]).arg(&program));
        trace.wait_for_text("ready");
        trace.signal(signal);
        assert_eq!(trace.wait().code(), Some(128 + signal as i32), "trace, {signal}");
        let mut watch = Process::start(socklab(&["watch", "--"]).arg(&program));
        watch.wait_for_text("ready");
        watch.signal(signal);
        assert_eq!(watch.wait().code(), Some(128 + signal as i32), "watch, {signal}");
    }
}

/// Calls that a signal interrupts, with and without SA_RESTART, or that a stop does; each with what it returned.
const INTERRUPTED: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static volatile int handled;
static int pair[2], parent;
static void handler(int unused) { handled++; }
static void handle(int signal, int flags) {
    struct sigaction action = { .sa_handler = handler, .sa_flags = flags };
    sigaction(signal, &action, 0);
}
/* Again and again, so that one of them comes during the call, however late that begins. */
static void alarm_soon(void) {
    struct itimerval soon = { .it_value.tv_usec = 50000, .it_interval.tv_usec = 50000 };
    handled = 0;
    setitimer(ITIMER_REAL, &soon, 0);
}
static void no_alarm(void) {
    struct itimerval never = { 0 };
    setitimer(ITIMER_REAL, &never, 0);
}
static void stop_soon(void) {
    if (fork()) return;
    usleep(50000); kill(parent, SIGSTOP); usleep(50000); kill(parent, SIGCONT); _exit(0);
}
static void write_later(void) {
    if (fork()) return;
    usleep(400000); write(pair[1], "x", 1); _exit(0);
}
#define TELL(name, call) do { \
    errno = 0; long value = (call); int error = value < 0 ? errno : 0; no_alarm(); \
    printf("%s %ld %d %d\n", name, value, error, handled > 0); handled = 0; \
} while (0)
int main(void) {
    setvbuf(stdout, 0, _IOLBF, 0);
    parent = getpid();
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    char byte;
    struct pollfd ready = { pair[0], POLLIN, 0 };
    struct timespec pause = { 0, 500000000 };
    struct epoll_event event = { .events = EPOLLIN };
    int events = epoll_create1(0);
    epoll_ctl(events, EPOLL_CTL_ADD, pair[0], &event);
    for (int restarts = 0; restarts < 2; restarts++) {
        handle(SIGALRM, restarts ? SA_RESTART : 0);
        alarm_soon(); if (restarts) write_later(); TELL("read", read(pair[0], &byte, 1));
        alarm_soon(); if (restarts) write_later(); TELL("recv", recv(pair[0], &byte, 1, 0));
        alarm_soon(); TELL("poll", poll(&ready, 1, 500));
        alarm_soon(); TELL("nanosleep", nanosleep(&pause, 0));
        alarm_soon(); TELL("epoll_wait", epoll_wait(events, &event, 1, 500));
        while (wait(0) > 0);
    }
    stop_soon(); TELL("stopped poll", poll(&ready, 1, 250)); wait(0);
    stop_soon(); TELL("stopped nanosleep", nanosleep(&pause, 0)); wait(0);
    stop_soon(); write_later(); TELL("stopped read", read(pair[0], &byte, 1)); wait(0); wait(0);
    stop_soon(); TELL("stopped epoll_wait", epoll_wait(events, &event, 1, 5000)); wait(0);
    signal(SIGALRM, SIG_IGN);
    alarm_soon(); TELL("ignored", poll(&ready, 1, 500));
    handle(SIGRTMIN + 3, 0);
    handled = 0;
    for (int index = 0; index < 5; index++) sigqueue(parent, SIGRTMIN + 3, (union sigval){ .sival_int = index });
    printf("real-time signals %d\n", handled);
    return 0;
}
"#;

#[test]
fn what_interrupts_a_call_and_what_restarts_it_is_the_same_watched_and_unwatched() {
    let directory = Directory::new();
    let Some(program) = compiled(&directory, INTERRUPTED) else { return };
    let alone = String::from_utf8(run(&mut Command::new(&program)).stdout).unwrap();
    let traced = run(socklab(&["trace", "--quiet", "--"]).arg(&program));
    assert_eq!(String::from_utf8(traced.stdout).unwrap(), alone);
    assert!(alone.contains("read -1 4 1\n") && alone.contains("read 1 0 1\n"), "{alone}");
}

/// A thread that is not the first one executes another program, while others wait in calls, and the first one is over.
const EXECUTES: &str = r#"
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
static char **words;
static void *block(void *unused) {
    int pair[2];
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    return read(pair[0], &byte, 1) ? unused : 0;
}
static void *execute(void *unused) {
    usleep(20000);
    execl(words[0], words[0], "again", (char *)0);
    return unused;
}
int main(int count, char **values) {
    pthread_t thread;
    int pair[2];
    words = values;
    if (count > 1) {
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        return write(pair[0], "hi", 2) == 2 ? 4 : 5;
    }
    for (int index = 0; index < 5; index++) pthread_create(&thread, 0, block, 0);
    pthread_create(&thread, 0, execute, 0);
    pthread_exit(0);
}
"#;

#[test]
fn a_program_that_a_later_thread_executes_is_followed_on() {
    let directory = Directory::new();
    let Some(program) = compiled(&directory, EXECUTES) else { return };
    let ended = run(socklab(&["trace", "--"]).arg(&program));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(ended.stderr.contains(r#""hi", 2) = 2"#), "{}", ended.stderr);
}

/// `socklab` with something laid over a place in the file system.
fn with_mounted(arguments: &[&str], place: &str) -> Option<Command> {
    let lay = ["-Urm", "mount"].iter().chain(arguments).chain(&[place]).copied().collect::<Vec<_>>();
    or_skip("a file system of its own", runs("unshare", &lay)).then(|| {
        let mut command = Command::new("unshare");
        let script = format!("mount {} {place} && exec \"$@\"", arguments.join(" "));
        command.args(["-Urm", "sh", "-c", &script, "sh", SOCKLAB]);
        command
    })
}

#[test]
fn without_proc_the_signals_of_later_processes_still_reach_them() {
    let Some(mut command) = with_mounted(&["-t", "tmpfs", "none"], "/proc") else { return };
    let script = "sh -c 'kill -TERM $$; echo survived'; echo $?";
    let ended = run(command.args(["trace", "--quiet", "--", "sh", "-c", script]));
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "143\n", "{}", ended.stderr);
}

#[test]
fn a_machine_without_terminals_is_told_from_one_that_forbids_to_follow() {
    let Some(mut command) = with_mounted(&["--bind", "/dev/null"], "/dev/ptmx") else { return };
    let ended = run(command.args(["watch", "--here", "--", "true"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("could not open a terminal for a program (/dev/ptmx)"), "{}", ended.stderr);
}

#[test]
fn where_too_few_files_may_be_opened_it_is_said_at_once() {
    let begun = Instant::now();
    let script = "ulimit -n 10; exec \"$@\"";
    let ended = run(Command::new("sh").args(["-c", script, "sh", SOCKLAB, "watch", "--quiet", "--", "true"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("EMFILE") && ended.stderr.contains("ulimit -n"), "{}", ended.stderr);
    // Nobody runs whose end would have to be waited for.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn root_keeps_the_right_to_change_rights_and_an_ordinary_user_gives_it_up() {
    let directory = Directory::new();
    let ask = ["trace", "--quiet", "--", "grep", "NoNewPrivs", "/proc/self/status"];
    let answer = |command: &mut Command| String::from_utf8(run(command.args(ask)).stdout).unwrap();
    if nix::unistd::geteuid().is_root() {
        assert_eq!(answer(&mut socklab(&[])), "NoNewPrivs:\t0\n");
        let answered = answer(as_user(&mut Command::new(directory.copy_of("socklab")), 65534));
        assert_eq!(answered, "NoNewPrivs:\t1\n");
    } else {
        assert_eq!(answer(&mut socklab(&[])), "NoNewPrivs:\t1\n");
    }
}

#[test]
fn in_the_background_what_is_typed_for_others_stops_nobody() {
    if !or_skip("a watch in the background", available()) {
        return;
    }
    let limit = Duration::from_secs(20);
    let mut terminal = Terminal::new(&TerminalOptions::new(Path::new("/"))).unwrap();
    terminal
        .run(&format!("{SOCKLAB} watch --quiet -- sh -c 'sleep 1; exit 4' & wait $!; echo it was $?"), limit)
        .unwrap();
    terminal.type_line(":").unwrap();
    terminal.expect("it was 4", limit).unwrap();
    terminal.end().unwrap();
}

#[test]
fn all_lenses_say_who_has_the_port_that_a_server_cannot_have() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let ended = run(&mut socklab(&["run", "1", "--lens", "all", "--port", &port]));
    assert_eq!(ended.code, Some(1));
    let me = format!("[{}]", std::process::id());
    for part in ["before it listened", "EADDRINUSE", &format!("port {port} is in use"), "LISTEN", &me, "PORT=0"] {
        assert!(ended.stderr.contains(part), "{part:?}: {}", ended.stderr);
    }
}
