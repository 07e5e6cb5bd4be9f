"""Exercise 6.3: an echo server that asks for EPOLLOUT all the time, or never. Usage: always_out.py always|never [PORT]"""

import select
import socket
import sys
import threading

events = select.EPOLLIN | (select.EPOLLOUT if sys.argv[1] == "always" else 0)
listener = socket.create_server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 7006))
print("listening", flush=True)
epoll = select.epoll()
epoll.register(listener, select.EPOLLIN)
clients = {}
turns = 0


def report():
    print(turns, "turns in this second", flush=True)


while True:
    ready = epoll.poll()
    turns += 1
    for fd, event in ready:
        if fd == listener.fileno():
            client, _ = listener.accept()
            clients[client.fileno()] = client
            epoll.register(client, events)
            turns = 0
            threading.Timer(1, report).start()
        elif event & select.EPOLLIN:
            data = clients[fd].recv(65536)
            if data:
                clients[fd].sendall(data)
            else:
                clients.pop(fd).close()
