"""Exercise 6.2: an echo server that reads only once when epoll names a socket. Usage: once_per_edge.py level|edge [PORT]"""

import select
import socket
import sys

edge = select.EPOLLET if sys.argv[1] == "edge" else 0
listener = socket.create_server(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 7006))
print("listening", flush=True)
epoll = select.epoll()
epoll.register(listener, select.EPOLLIN)
clients = {}
while True:
    for fd, _ in epoll.poll():
        if fd == listener.fileno():
            client, _ = listener.accept()
            clients[client.fileno()] = client
            epoll.register(client, select.EPOLLIN | edge)
            continue
        # At most four bytes, and only one read.
        data = clients[fd].recv(4)
        print("read", data, flush=True)
        if data:
            clients[fd].sendall(data)
        else:
            clients.pop(fd).close()
