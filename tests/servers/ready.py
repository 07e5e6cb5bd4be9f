"""An echo server with one thread for all clients: all that labs 5 and 6 promise, in another language."""

import errno
import selectors
import socket
import sys
import time

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
listener.setblocking(False)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
unsent = {}
rests_until = None


def accept():
    global rests_until
    try:
        while True:
            client, _ = listener.accept()
            client.setblocking(False)
            unsent[client] = b""
            selector.register(client, selectors.EVENT_READ)
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        rests_until = time.monotonic() + 0.3
        selector.unregister(listener)


def serve(client):
    before = bool(unsent[client])
    try:
        if not unsent[client]:
            data = client.recv(65536)
            if not data:
                return end(client)
            unsent[client] = data
        unsent[client] = unsent[client][client.send(unsent[client]) :]
    except BlockingIOError:
        pass
    except OSError:
        return end(client)
    if bool(unsent[client]) != before:
        selector.modify(client, selectors.EVENT_WRITE if unsent[client] else selectors.EVENT_READ)


def end(client):
    selector.unregister(client)
    del unsent[client]
    client.close()


while True:
    wait = None if rests_until is None else max(0, rests_until - time.monotonic())
    for key, _ in selector.select(wait):
        if key.fileobj is listener:
            accept()
        else:
            serve(key.fileobj)
    if rests_until is not None and time.monotonic() >= rests_until:
        rests_until = None
        selector.register(listener, selectors.EVENT_READ)
