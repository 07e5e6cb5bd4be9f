//! Servers in Python with one fault each: the check that names it fails, and no other.

use std::thread;

use serde_json::{Value, json};

use super::Server;

/// A fault of the server in Python: what is changed, the lab whose checks find it, and the one that does.
struct Fault {
    changes: &'static [(&'static str, &'static str)],
    lab: &'static str,
    caught_by: &'static str,
    /// The kind, and a part of the reason.
    because: (&'static str, &'static str),
}

/// How many servers are checked at the same time: most of what a check does is wait.
const AT_ONCE: usize = 4;

/// Each is found by the check that names it. The first ones, so many as `whole` says, are held against all that the lab
/// promises; the others against that check and those that it needs: all of it takes a core for seconds, and
/// `make check-workshop` does it with the labs' servers.
fn are_caught(file: &str, whole: usize, faults: &[Fault]) {
    let (whole, others) = faults.split_at(whole);
    for (faults, is_whole) in [(whole, true), (others, false)] {
        for some in faults.chunks(AT_ONCE) {
            thread::scope(|scope| some.iter().for_each(|fault| drop(scope.spawn(|| is_caught(file, fault, is_whole)))));
        }
    }
}

fn is_caught(file: &str, Fault { changes, lab, caught_by, because: (kind, why) }: &Fault, is_whole: bool) {
    let Some(server) = Server::with(file, changes) else { return };
    let checked = if is_whole { server.check(&[lab]) } else { server.check(&[lab, "--only", caught_by]) };
    assert_eq!(checked.with("failed"), [*caught_by], "{changes:?}: {:#}", checked.report);
    let failure = checked.failure();
    assert_eq!(failure["kind"], *kind, "{changes:?}: {failure:#}");
    assert!(explanation(failure).contains(why), "{changes:?}: {why:?} is missing: {failure:#}");
    assert_eq!(checked.ended.code, Some(1));
    assert!(checked.with("not-judged").is_empty(), "{:#}", checked.report);
}

/// What is told of this failure: not the check's title, nor what to type, which are the same each time.
fn explanation(failure: &Value) -> String {
    ["expected", "seen", "last_words", "why"].map(|key| failure[key].to_string()).join("\n")
}

#[test]
fn each_fault_of_a_server_for_one_client_at_a_time_fails_the_check_that_names_it() {
    let faults = [
        Fault {
            changes: &[("sendall(data)", "send(data[:1000])")],
            lab: "1",
            caught_by: "echo",
            because: ("wrong-bytes", "from byte "),
        },
        Fault {
            changes: &[("connection.sendall(data)", "connection.sendall(data.upper())")],
            lab: "1",
            caught_by: "echo",
            because: ("wrong-bytes", r#"it got \"HELLO"#),
        },
        Fault {
            changes: &[
                ("while True:\n    conn", "kept = []\nwhile True:\n    conn"),
                ("connection.close()", "kept.append(connection)"),
            ],
            lab: "1",
            caught_by: "half-close",
            because: ("wrong-state", "the server has not closed it (CLOSE-WAIT"),
        },
        Fault {
            changes: &[("    connection.close()", "    connection.close()\n    break")],
            lab: "1",
            caught_by: "next-client",
            because: ("crashed", "exited with code 0 meanwhile"),
        },
        Fault {
            changes: &[("except OSError", "except ZeroDivisionError")],
            lab: "1",
            caught_by: "reset",
            because: ("crashed", "ConnectionResetError"),
        },
        Fault {
            changes: &[
                ("while True:\n    conn", "kept = []\nwhile True:\n    conn"),
                ("connection.close()", "connection.close()\n    kept.append(socket.socket())"),
            ],
            lab: "1",
            caught_by: "no-leak",
            because: ("wrong-state", "of them sockets"),
        },
        Fault {
            changes: &[("listener.setsockopt(", "print(")],
            lab: "2",
            caught_by: "restart",
            because: ("never-listened", "SO_REUSEADDR was not set before bind()"),
        },
        Fault {
            changes: &[(
                "listener.setsockopt(",
                "listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0])) or print(",
            )],
            lab: "2",
            caught_by: "restart",
            because: ("wrong-state", "SO_LINGER with no time to linger"),
        },
    ];
    are_caught("echo.py", 1, &faults);
}

/// accept() and recv() as the C library has them: Python's own begin anew by themselves after EINTR.
const AS_IN_C: &str = "import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def accept(listener):
    fd = libc.accept(listener.fileno(), None, None)
    if fd < 0:
        sys.exit('accept: ' + os.strerror(ctypes.get_errno()))
    return socket.socket(fileno=fd), None
def recv(connection):
    buffer = ctypes.create_string_buffer(65536)
    length = libc.recv(connection.fileno(), buffer, 65536, 0)
    if length < 0:
        raise OSError(ctypes.get_errno(), 'recv')
    return buffer.raw[:length]
import socket
";

#[test]
fn a_call_that_is_not_made_again_after_eintr_is_found_in_a_server_that_handles_no_signal() {
    const IN_C: (&str, &str) = ("import socket\n", AS_IN_C);
    let faults = [
        Fault {
            changes: &[IN_C, ("listener.accept()", "accept(listener)")],
            lab: "2",
            caught_by: "interrupted",
            because: ("crashed", "accept: Interrupted system call"),
        },
        Fault {
            changes: &[IN_C, ("connection.recv(65536)", "recv(connection)")],
            lab: "2",
            caught_by: "interrupted",
            because: ("wrong-bytes", "the server closed (FIN)"),
        },
    ];
    are_caught("echo.py", 1, &faults);
}

#[test]
fn each_fault_of_a_server_with_a_process_for_each_client_fails_the_check_that_names_it() {
    let faults = [
        Fault {
            changes: &[("    connection.close()\n    signal", "    signal")],
            lab: "3",
            caught_by: "lets-go",
            because: ("wrong-state", "is still open in the parent (pid "),
        },
        Fault {
            changes: &[
                ("children = set()", "children = set()\nkept = []"),
                ("    connection.close()\n    signal", "    kept.append(connection)\n    signal"),
            ],
            lab: "3",
            caught_by: "lets-go",
            because: ("wrong-state", "so the kernel keeps the connection half-closed"),
        },
        Fault {
            changes: &[("signal.signal(signal.SIGCHLD, reap)\n", "")],
            lab: "3",
            caught_by: "reaps",
            because: ("wrong-state", "has not called waitpid() for them"),
        },
        Fault {
            changes: &[(
                "    while True:\n        try:\n            pid",
                "    for _ in range(1):\n        try:\n            pid",
            )],
            lab: "3",
            caught_by: "reaps",
            because: ("wrong-state", "one SIGCHLD may stand for many children"),
        },
        Fault {
            changes: &[(
                "        serve(connection)\n        os._exit(0)",
                "        serve(connection)\n        signal.pause()",
            )],
            lab: "3",
            caught_by: "reaps",
            because: ("wrong-state", "it has not called _exit()"),
        },
        Fault {
            changes: &[(
                "signal.pthread_sigmask(signal.SIG_BLOCK, HELD)\n    pid = os.fork()",
                "serve(connection)\n    continue",
            )],
            lab: "3",
            caught_by: "concurrent",
            because: ("timed-out", "waits in the accept queue"),
        },
        Fault {
            changes: &[(
                "signal.pthread_sigmask(signal.SIG_BLOCK, HELD)\n    pid = os.fork()",
                "import threading\n    threading.Thread(target=serve, args=[connection]).start()\n    continue",
            )],
            lab: "3",
            caught_by: "process-each",
            because: ("wrong-state", "serves clients itself"),
        },
        Fault {
            changes: &[("listener.setsockopt(", "print(")],
            lab: "3",
            caught_by: "restart",
            because: ("never-listened", "SO_REUSEADDR was not set before bind()"),
        },
        Fault {
            changes: &[("        os.kill(pid, signal.SIGTERM)", "        pass")],
            lab: "3",
            caught_by: "ends-all",
            because: ("wrong-state", "has sent its children no signal"),
        },
        Fault {
            changes: &[("signal.signal(signal.SIGTERM, end_all)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")],
            lab: "3",
            caught_by: "ends-all",
            because: ("wrong-state", "ignores SIGTERM"),
        },
        // As it is it ends its children when SIGTERM comes, and KeyboardInterrupt, which SIGINT becomes, ends itself alone.
        Fault {
            changes: &[],
            lab: "3",
            caught_by: "ends-by-int",
            because: ("wrong-state", "has sent its children no signal"),
        },
        Fault {
            changes: &[("        children.discard(pid)", "        os._exit(1)")],
            lab: "3",
            caught_by: "child-killed",
            because: ("crashed", "exited with code 1 meanwhile"),
        },
        Fault {
            changes: &[("os.waitpid(-1, os.WNOHANG)", "os.waitpid(-1, 0)")],
            lab: "3",
            caught_by: "child-killed",
            because: ("timed-out", "accept queue"),
        },
    ];
    are_caught("fork.py", 5, &faults);
}

#[test]
fn a_server_that_does_not_start_again_for_another_reason_is_not_told_of_its_socket() {
    // It knows that it has run before by what is left of that on its port: 06 is TIME-WAIT.
    let again = "import sys
def is_left_over(line):
    fields = line.split()
    return fields[1].endswith(':%04X' % int(sys.argv[1])) and fields[3] == '06'
if any(map(is_left_over, open('/proc/net/tcp'))):
    sys.exit('there is a pid file')
";
    let Some(server) = Server::with("echo.py", &[("import sys\n", again)]) else { return };
    let checked = server.check(&["2", "--only", "restart"]);
    assert_eq!(checked.with("failed"), ["restart"], "{:#}", checked.report);
    let failure = checked.failure();
    assert!(failure["kind"] == "crashed" && failure["why"].is_null(), "{failure:#}");
    assert_eq!(failure["last_words"], json!(["there is a pid file"]), "{failure:#}");
}
