"""An echo server with a process for each client: all that lab 3 promises, in another language.

tests/check/faults.rs plants one fault at a time into it.
"""

import os
import signal
import socket
import sys

HELD = {signal.SIGCHLD, signal.SIGTERM}
children = set()


def reap(_signal, _frame):
    while True:
        try:
            pid, _status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)


def end_all(_signal, _frame):
    for pid in children:
        os.kill(pid, signal.SIGTERM)
    os._exit(0)


def serve(connection):
    while True:
        try:
            data = connection.recv(65536)
            if not data:
                break
            connection.sendall(data)
        except OSError:
            break
    connection.close()


listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(128)
signal.signal(signal.SIGCHLD, reap)
signal.signal(signal.SIGTERM, end_all)

while True:
    connection, _client = listener.accept()
    # Until the child is noted, its end has to wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        listener.close()
        serve(connection)
        os._exit(0)
    children.add(pid)
    connection.close()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
