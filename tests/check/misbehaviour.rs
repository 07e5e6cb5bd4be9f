//! Programs that are no servers for these clients, and servers with strange habits.

use std::time::{Duration, Instant};

use super::Server;

/// How a server in Python begins: what the rest of it uses.
pub const LISTEN: &str = "import os, socket, sys, time
port = int(sys.argv[1])
def listen(address, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.bind(address)
    s.listen()
    return s
def serve(s):
    while True:
        c, _ = s.accept()
        try:
            while data := c.recv(65536):
                c.sendall(data)
        except OSError:
            pass
        c.close()
";

/// How a program misbehaves, and what is to be said of it: its kind, and parts of the failure.
struct Misbehaviour {
    source: &'static str,
    kind: &'static str,
    parts: &'static [&'static str],
}

#[test]
fn a_program_that_is_no_server_for_these_clients_is_told_what_it_is() {
    let misbehaviours = [
        Misbehaviour {
            source: "time.sleep(1000)",
            kind: "never-listened",
            parts: &["has run for 1 s and listens nowhere"],
        },
        Misbehaviour { source: "pass", kind: "never-listened", parts: &["it exited with code 0 after"] },
        Misbehaviour {
            source: "print('my last words', file=sys.stderr); sys.exit(3)",
            kind: "crashed",
            parts: &["it exited with code 3 after", "my last words"],
        },
        Misbehaviour { source: "os.kill(os.getpid(), 11)", kind: "crashed", parts: &["it was ended by SIGSEGV after"] },
        Misbehaviour {
            source: "serve(listen(('127.0.0.1', port + 1)))",
            kind: "never-listened",
            parts: &["it listens on 127.0.0.1:7002", "the port is 7001"],
        },
        Misbehaviour {
            source: "serve(listen(('127.0.0.2', port)))",
            kind: "never-listened",
            parts: &["it listens on 127.0.0.2:7001", "clients come to 127.0.0.1"],
        },
        Misbehaviour {
            source: "serve(listen(('::1', port), socket.AF_INET6))",
            kind: "never-listened",
            parts: &["it listens on [::1]:7001", "IPv6 only"],
        },
        Misbehaviour {
            source: "s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
s.bind(('::', port)); s.listen(); serve(s)",
            kind: "never-listened",
            parts: &["ECONNREFUSED", "IPv6 only", "IPV6_V6ONLY"],
        },
        Misbehaviour {
            source: "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('127.0.0.1', port))
s.recv(1000)",
            kind: "never-listened",
            parts: &["it has a UDP socket on 127.0.0.1:7001", "SOCK_STREAM"],
        },
        Misbehaviour {
            source: "s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
s.bind('\\0checked-' + str(os.getpid())); s.listen(); serve(s)",
            kind: "never-listened",
            parts: &["it has a Unix socket, @checked-"],
        },
        Misbehaviour {
            source: "while True: os.fork()",
            kind: "wrong-state",
            parts: &["processes", "and was ended", "faster than they end"],
        },
        Misbehaviour {
            source: "s = listen(('127.0.0.1', port))
if os.fork() == 0:
    while True: os.fork()
serve(s)",
            kind: "wrong-state",
            parts: &["and was ended"],
        },
    ];
    for Misbehaviour { source, kind, parts } in misbehaviours {
        let Some(server) = Server::new(&format!("{LISTEN}{source}\n")) else { return };
        let begun = Instant::now();
        // The others are told sooner, however slowly they start.
        let patience = if source.starts_with("time.sleep") { "1" } else { "20" };
        let checked = server.check(&["1", "--patience", patience]);
        let failure = checked.failure();
        assert_eq!(failure["kind"], kind, "{source}: {failure:#}");
        for part in parts {
            assert!(failure.to_string().contains(part), "{source}: {part:?} is missing: {failure:#}");
        }
        assert_eq!(checked.ended.code, Some(1));
        assert_eq!(checked.with("passed").len() + checked.with("skipped").len() + 1, 7, "{:#}", checked.report);
        // Generous: the machine may be slow. None of them takes the time of all checks.
        assert!(begun.elapsed() < Duration::from_secs(60), "{source}: {:?}", begun.elapsed());
    }
}

#[test]
fn a_server_with_strange_habits_is_judged_by_what_it_does_for_its_clients() {
    let habits = [
        // Ignores SIGTERM.
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)
serve(listen(('127.0.0.1', port)))",
        // Prints without end.
        "import threading
def flood():
    while True: print('x' * 5000)
s = listen(('127.0.0.1', port))
if os.fork() == 0: flood()
serve(s)",
        // Closes what it was given.
        "os.close(0); os.close(1); os.close(2)
serve(listen(('127.0.0.1', port)))",
        // Is for IPv6 and IPv4.
        "s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(('::', port)); s.listen(); serve(s)",
        // Puts itself into the background, in a session of its own.
        "if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
time.sleep(0.2)
serve(listen(('127.0.0.1', port)))",
        // Opens another socket first, and has much to do before the one that is asked for.
        "s = listen(('127.0.0.1', 0))
while time.process_time() < 0.8: pass
serve(listen(('127.0.0.1', port)))",
        // Takes the port out of its environment.
        "serve(listen(('127.0.0.1', int(os.environ['PORT']))))",
    ];
    for source in habits {
        let Some(server) = Server::new(&format!("{LISTEN}{source}\n")) else { return };
        server.check(&["1"]).passes();
    }
}
