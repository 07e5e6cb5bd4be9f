//! The tests that every echo lab has to pass, written once; [`echo_tests!`](crate::echo_tests) gives them to a lab.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::facts;
use crate::namespace::{available, inside, isolated, isolated_with, or_skip};
use crate::process::{Directory, Ended, Process, Server, as_user, binary, run, with_closed};
use crate::tcp::{socket_between, wait_until};
use crate::traffic::{
    MUCH, connect, echo_line, echo_random, expect_end, full_port, read_random, reset, runs, taken_port, write_random,
};

/// A lab's two programs.
pub struct Lab {
    /// The server's name in the workspace.
    pub server: &'static str,
    /// What the server is told besides its address and port.
    pub arguments: &'static [&'static str],
    /// The client's.
    pub client: &'static str,
}

/// Makes a test of each of this module's functions, for one lab.
#[macro_export]
macro_rules! echo_tests {
    ($lab:expr) => {
        $crate::echo_tests! { $lab =>
            lines_come_back_and_done_ends_the_client
            the_end_of_input_ends_the_client_and_a_last_line_needs_no_newline
            sixty_four_mebibytes_come_back_as_they_were_sent
            a_client_may_half_close_before_it_reads_what_fits_the_buffers
            sixty_four_mebibytes_may_be_written_before_the_first_is_read
            a_reset_harms_only_the_client_that_it_came_from
            a_client_that_vanishes_while_it_is_written_to_harms_nobody
            a_port_in_use_is_named_with_its_errno
            a_port_that_is_no_port_is_refused
            a_name_without_an_address_is_an_error_of_getaddrinfo
            a_port_where_nobody_listens_is_econnrefused
            a_port_below_1024_needs_a_right_and_the_message_says_so
            the_time_limit_ends_an_unanswered_connect
            an_empty_or_closed_input_is_the_end_of_input
            an_input_that_is_a_directory_is_an_error_of_read
            a_client_whose_output_is_closed_fails_without_a_panic
            a_server_whose_output_is_closed_goes_on_serving
            a_storm_of_signals_loses_no_byte
            without_a_free_descriptor_a_client_waits_and_the_server_rests
            only_an_address_that_others_can_reach_is_warned_of
            the_client_works_with_a_server_in_python
            clients_in_python_and_netcat_work_with_the_server
        }
    };
    ($lab:expr => $($name:ident)*) => { $(
        #[test]
        fn $name() {
            $crate::echo::$name(&$lab);
        }
    )* };
}

impl Lab {
    /// Its server, on a port that the kernel has chosen.
    pub(crate) fn server(&self) -> Server {
        self.server_with(&[])
    }

    fn server_with(&self, arguments: &[&str]) -> Server {
        Server::start(self.server, &[arguments, self.arguments].concat())
    }

    /// Its client, connected to `server` or about to be.
    pub(crate) fn client(&self, server: &Server) -> Process {
        let (host, port) = (server.address().ip().to_string(), server.port().to_string());
        Process::start(Command::new(binary(self.client)).args([host, port]))
    }

    fn run_client(&self, arguments: &[&str]) -> Ended {
        run(Command::new(binary(self.client)).args(arguments))
    }

    fn run_server(&self, arguments: &[&str]) -> Ended {
        run(Command::new(binary(self.server)).args(arguments).args(self.arguments))
    }
}

impl Ended {
    /// It failed, in an orderly way, and said each of `words`.
    #[track_caller]
    fn failed_with(&self, words: &[&str]) {
        assert!(self.code.is_some_and(|code| code != 0), "exit code {:?}:\n{}", self.code, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "no {word:?} in:\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// The server still echoes.
#[track_caller]
pub(crate) fn still_serves(server: &Server) {
    let mut stream = connect(server.address());
    echo_line(&mut stream, "still there?");
    stream.shutdown(Shutdown::Write).expect("connected");
    expect_end(&mut stream);
}

/// Lines come back through the lab's own client, and the word that ends it is not sent.
pub fn lines_come_back_and_done_ends_the_client(lab: &Lab) {
    let server = lab.server();
    let mut client = lab.client(&server);
    for line in ["hello", "", "grüße, мир", "Done is a word", " Done"] {
        client.type_line(line);
        client.wait_for_line(|seen| seen == line);
    }
    client.type_line("Done");
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    assert_eq!(String::from_utf8_lossy(&client.stdout()), "hello\n\ngrüße, мир\nDone is a word\n Done\n");
    server.wait_for_line(|line| line.contains("finished: ") && line.contains(" bytes echoed"));
}

/// Ctrl-D at a terminal, the end of a file or pipe.
pub fn the_end_of_input_ends_the_client_and_a_last_line_needs_no_newline(lab: &Lab) {
    let server = lab.server();
    let mut client = lab.client(&server);
    client.type_line("one");
    let mut input = client.take_stdin().expect("a pipe");
    input.write_all(b"two").expect("the client reads");
    drop(input);
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    assert_eq!(String::from_utf8_lossy(&client.stdout()), "one\ntwo");
}

/// One thread writes and another reads, as a client has to that sends much.
pub fn sixty_four_mebibytes_come_back_as_they_were_sent(lab: &Lab) {
    let server = lab.server();
    echo_random(connect(server.address()), 1, MUCH);
    server.wait_for_text("finished: 67108864 bytes echoed");
}

/// With the buffers that the machine has by default.
pub fn a_client_may_half_close_before_it_reads_what_fits_the_buffers(lab: &Lab) {
    let server = lab.server();
    let mut stream = connect(server.address());
    write_random(&stream, 2, 40_000);
    stream.shutdown(Shutdown::Write).expect("connected");
    // It has been sent, echoed and closed on the other side, all before the first read.
    server.wait_for_text("finished: 40000 bytes echoed");
    read_random(&stream, 2, 40_000);
    expect_end(&mut stream);
}

/// In a network where the kernel may hold it all: between two blocking programs it would be a deadlock otherwise.
pub fn sixty_four_mebibytes_may_be_written_before_the_first_is_read(lab: &Lab) {
    // Not only the most, the initial size too: a receive buffer grows as its reader reads, and here nobody does.
    let buffers = "4096 268435456 268435456";
    let settings = [("net/ipv4/tcp_rmem", buffers), ("net/ipv4/tcp_wmem", buffers)];
    inside("sixty_four_mebibytes_may_be_written_before_the_first_is_read", &settings, || {
        let server = lab.server();
        let mut stream = connect(server.address());
        write_random(&stream, 3, MUCH);
        stream.shutdown(Shutdown::Write).expect("connected");
        read_random(&stream, 3, MUCH);
        expect_end(&mut stream);
        server.wait_for_text("finished: 67108864 bytes echoed");
    });
}

/// SO_LINGER 0 and close, in the middle of an echo.
pub fn a_reset_harms_only_the_client_that_it_came_from(lab: &Lab) {
    let server = lab.server();
    let mut stream = connect(server.address());
    echo_line(&mut stream, "one");
    reset(stream);
    server.wait_for_line(|line| line.contains(" lost after 4 bytes") && line.contains("read "));
    server.wait_for_text("ECONNRESET");
    still_serves(&server);
}

/// It sends and never reads until the server is stuck in write, and then closes.
pub fn a_client_that_vanishes_while_it_is_written_to_harms_nobody(lab: &Lab) {
    let server = lab.server();
    let mut stream = connect(server.address());
    let own = stream.local_addr().expect("connected");
    stream.set_nonblocking(true).expect("a socket");
    let piece = vec![b'x'; 1 << 20];
    let mut last = None;
    wait_until("the server is stuck", || {
        let full = loop {
            match stream.write(&piece) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => panic!("write: {error}"),
            }
        };
        let seen = socket_between(server.address(), own).map(|socket| (socket.tx_queue, socket.rx_queue));
        let stuck = full && seen.is_some_and(|(sent, received)| sent > 0 && received > 0) && seen == last;
        last = seen;
        stuck
    });
    drop(stream);
    let line = server.wait_for_line(|line| line.contains(" lost after "));
    assert!(line.contains("EPIPE") || line.contains("ECONNRESET"), "{line}");
    still_serves(&server);
}

/// The first server is not disturbed.
pub fn a_port_in_use_is_named_with_its_errno(lab: &Lab) {
    let server = lab.server();
    let address = server.address().to_string();
    lab.run_server(&["--port", &server.port().to_string()]).failed_with(&["bind", &address, "EADDRINUSE"]);
    still_serves(&server);
}

/// Numbers and words that are no port.
pub fn a_port_that_is_no_port_is_refused(lab: &Lab) {
    for port in ["70000", "abc", "-1", ""] {
        lab.run_server(&[&format!("--port={port}")]).failed_with(&["--port"]);
        lab.run_client(&["127.0.0.1", "--", port]).failed_with(&["PORT"]);
    }
    lab.run_client(&["127.0.0.1", "0"]).failed_with(&["PORT"]);
}

/// Asked where no name server can be reached, if that is possible, or it might take a while.
pub fn a_name_without_an_address_is_an_error_of_getaddrinfo(lab: &Lab) {
    let mut command = Command::new(binary(lab.client));
    command.args(["no-such-host.invalid", "7"]);
    if available().is_ok() {
        isolated(&mut command);
    }
    run(&mut command).failed_with(&["getaddrinfo", "no-such-host.invalid:7"]);
}

/// The port is bound, so that nobody can begin to listen there meanwhile.
pub fn a_port_where_nobody_listens_is_econnrefused(lab: &Lab) {
    let (_taken, address) = taken_port();
    let ended = lab.run_client(&["127.0.0.1", &address.port().to_string()]);
    ended.failed_with(&["connect", &address.to_string(), "ECONNREFUSED"]);
}

/// As somebody who is not root.
pub fn a_port_below_1024_needs_a_right_and_the_message_says_so(lab: &Lab) {
    if !or_skip("a port below 1024", available()) {
        return;
    }
    let directory = Directory::new();
    let mut command = Command::new(directory.copy_of(lab.server));
    command.args(["--port", "1023"]).args(lab.arguments);
    isolated_with(&mut command, &[("net/ipv4/ip_unprivileged_port_start", "1024")]);
    if nix::unistd::geteuid().is_root() {
        as_user(&mut command, 65534);
    }
    run(&mut command).failed_with(&["bind", "127.0.0.1:1023", "EACCES", "CAP_NET_BIND_SERVICE"]);
}

/// A listening socket with a full accept queue does not answer.
pub fn the_time_limit_ends_an_unanswered_connect(lab: &Lab) {
    let (_listener, _first, address) = full_port();
    let begin = Instant::now();
    let ended = lab.run_client(&["127.0.0.1", &address.port().to_string(), "--timeout", "1"]);
    let lasted = begin.elapsed();
    ended.failed_with(&["connect", &address.to_string(), "accept queue is full"]);
    assert!(ended.stderr.contains("ETIMEDOUT") || ended.stderr.contains("EINPROGRESS"), "{}", ended.stderr);
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&lasted), "it took {lasted:?}");
}

/// `< /dev/null`, and `<&-`, which Rust's runtime makes the same.
pub fn an_empty_or_closed_input_is_the_end_of_input(lab: &Lab) {
    let server = lab.server();
    let port = server.port().to_string();
    for is_closed in [false, true] {
        let mut command = Command::new(binary(lab.client));
        command.args(["127.0.0.1", &port]);
        if is_closed {
            with_closed(&mut command, 0);
        }
        let ended = run(&mut command);
        assert_eq!((ended.code, ended.stdout), (Some(0), vec![]), "{}", ended.stderr);
    }
}

/// read(2) of a directory is EISDIR; the client says so and ends.
pub fn an_input_that_is_a_directory_is_an_error_of_read(lab: &Lab) {
    let server = lab.server();
    let mut command = Command::new(binary(lab.client));
    command.args(["127.0.0.1", &server.port().to_string()]).stdin(File::open("/").expect("/ is there"));
    let mut client = Process::start_as_is(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let code = client.finish().code();
    Ended { code, stdout: client.stdout(), stderr: client.stderr() }.failed_with(&["read standard input", "EISDIR"]);
    still_serves(&server);
}

/// As in `client | head -1`, once head has its line.
pub fn a_client_whose_output_is_closed_fails_without_a_panic(lab: &Lab) {
    let server = lab.server();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(binary(lab.client));
    command.args(["127.0.0.1", &server.port().to_string()]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Process::start_as_is(command.stdout(writer));
    drop(command);
    client.type_line("one");
    let mut reader = BufReader::new(reader);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a pipe");
    assert_eq!(line, "one\n");
    drop(reader);
    // More than once: another test's process may hold a copy of the reading end, between its fork and its exec.
    let mut input = client.take_stdin().expect("its input is open");
    wait_until("the client has ended", || input.write_all(b"two\n").is_err());
    let code = client.finish().code();
    let ended = Ended { code, stdout: client.stdout(), stderr: client.stderr() };
    ended.failed_with(&["write standard output", "EPIPE"]);
    still_serves(&server);
}

/// The log is lost, the clients are not.
pub fn a_server_whose_output_is_closed_goes_on_serving(lab: &Lab) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(binary(lab.server));
    command.args(["--port", "0"]).args(lab.arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    let server = Process::start_as_is(&mut command);
    drop(command);
    let listening = BufReader::new(reader).lines().map(|line| line.expect("a pipe"));
    let address = listening.filter_map(|line| line.strip_prefix("listening on ")?.parse().ok()).next();
    let address = address.expect("it listens");
    // The reader is gone with the iterator, and each write to the log is EPIPE; but for the moment in which another test's
    // program, between fork and exec, has a copy of it. So clients come until the loss was noticed, and one after that.
    let serve_one = || {
        let mut stream = connect(address);
        echo_line(&mut stream, "is anybody there?");
        stream.shutdown(Shutdown::Write).expect("connected");
        expect_end(&mut stream);
    };
    wait_until("the loss of the log is reported", || {
        serve_one();
        server.stderr().contains("the server goes on without its log")
    });
    serve_one();
    assert!(!server.stderr().contains("panicked"));
}

/// SIGWINCH, as from a terminal that is resized, SIGCHLD and SIGCONT, to the server and to its children.
pub fn a_storm_of_signals_loses_no_byte(lab: &Lab) {
    let server = lab.server();
    let is_over = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let storm = scope.spawn(|| {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                for signal in [Signal::SIGWINCH, Signal::SIGCHLD, Signal::SIGCONT] {
                    let group = nix::unistd::Pid::from_raw(server.pid());
                    nix::sys::signal::killpg(group, signal).expect("the server lives");
                }
                sent += 1;
            }
            sent
        });
        for seed in 1..=4 {
            echo_random(connect(server.address()), seed, 2 << 20);
        }
        is_over.store(true, Ordering::Relaxed);
        storm.join().expect("no panic")
    });
    assert!(sent > 0);
    still_serves(&server);
}

/// `ulimit -n`, set while the server runs, and raised again.
pub fn without_a_free_descriptor_a_client_waits_and_the_server_rests(lab: &Lab) {
    let server = lab.server();
    let taken = facts::open_files(server.pid());
    let free = (0i32..).find(|fd| taken.iter().all(|(other, _)| other != fd)).expect("there are many");
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, u64::from(free.cast_unsigned()));
    // An accept that sleeps already has its descriptor, since Linux takes it first: this client may come through yet.
    drop(connect(server.address()));
    let (before, begin) = (facts::cpu_time(server.pid()), Instant::now());
    let mut stream = connect(server.address());
    wait_until("it has tried four times", || server.count_lines("accept") >= 4);
    let (after, lasted) = (facts::cpu_time(server.pid()), begin.elapsed());
    server.wait_for_text("EMFILE");
    // It breathes for 100 ms after each attempt. A loop without that makes thousands in this time.
    let attempts = server.count_lines("accept");
    assert!(attempts as u128 <= lasted.as_millis() / 90 + 5, "{attempts} attempts in {lasted:?}");
    let used = after.zip(before).map(|(after, before)| after - before).expect("it lives");
    assert!(used <= Duration::from_millis(100), "{used:?} of processor time in {lasted:?}");
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, 1024);
    echo_line(&mut stream, "at last");
    drop(stream);
    still_serves(&server);
}

/// The labs have no authentication.
pub fn only_an_address_that_others_can_reach_is_warned_of(lab: &Lab) {
    let server = lab.server_with(&["--addr", "0.0.0.0"]);
    server.wait_for_line(|line| line.starts_with("warning: 0.0.0.0 can be reached from other machines"));
    let quiet = lab.server_with(&["--addr", "127.0.0.2"]);
    assert!(!quiet.stderr().contains("warning"), "{}", quiet.stderr());
}

const PYTHON_SERVER: &str = "
import socketserver
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)
server = socketserver.TCPServer(('127.0.0.1', 0), Echo)
print('listening on 127.0.0.1:%d' % server.server_address[1], flush=True)
server.serve_forever()
";

const PYTHON_CLIENT: &str = "
import socket, sys
with socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20) as connection:
    connection.sendall(b'from python\\n')
    print(connection.makefile().readline(), end='', flush=True)
    connection.shutdown(socket.SHUT_WR)
    assert connection.recv(1) == b''
";

/// What is on the wire is what matters, not who put it there.
pub fn the_client_works_with_a_server_in_python(lab: &Lab) {
    if !or_skip("a server in Python", runs("python3", &["-c", "import socketserver"])) {
        return;
    }
    let server = Server::start_command(Command::new("python3").args(["-c", PYTHON_SERVER]));
    let mut client = lab.client(&server);
    client.type_line("to python");
    client.wait_for_line(|line| line == "to python");
    client.type_line("Done");
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

/// Python's socket module, and nc, where it is there.
pub fn clients_in_python_and_netcat_work_with_the_server(lab: &Lab) {
    let server = lab.server();
    let port = server.port().to_string();
    if or_skip("a client in Python", runs("python3", &["-c", "import socket"])) {
        let ended = run(Command::new("python3").args(["-c", PYTHON_CLIENT, &port]));
        assert_eq!((ended.code, ended.stdout.as_slice()), (Some(0), &b"from python\n"[..]), "{}", ended.stderr);
    }
    if or_skip("nc as a client", runs("sh", &["-c", "command -v nc"])) {
        let mut netcat = Process::start(Command::new("nc").args(["127.0.0.1", &port]));
        netcat.type_line("from netcat");
        netcat.wait_for_line(|line| line == "from netcat");
        drop(netcat);
        still_serves(&server);
    }
}
