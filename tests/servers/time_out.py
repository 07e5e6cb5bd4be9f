"""An echo server with one thread for all clients, which lets go of who is silent for a second: what exercise 5.9 asks for."""

import selectors
import socket
import sys
import time

LIMIT = 1.0

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
listener.setblocking(False)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
# When each client has said something, or come.
heard = {}


def end(client):
    selector.unregister(client)
    del heard[client]
    client.close()


def accept():
    client, _ = listener.accept()
    heard[client] = time.monotonic()
    selector.register(client, selectors.EVENT_READ)


def serve(client):
    try:
        data = client.recv(65536)
        client.sendall(data)
    except OSError:
        data = b""
    if not data:
        return end(client)
    heard[client] = time.monotonic()


while True:
    next_end = min(heard.values(), default=None)
    wait = None if next_end is None else max(0, next_end + LIMIT - time.monotonic())
    for key, _ in selector.select(wait):
        if key.fileobj is listener:
            accept()
        else:
            serve(key.fileobj)
    for client in [client for client, when in heard.items() if time.monotonic() - when >= LIMIT]:
        end(client)
