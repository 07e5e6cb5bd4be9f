"""Exercise 5.6: an echo server with poll that forgets what a short write has left. Usage: forgetful.py [PORT]"""

import select
import socket
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7005))
print("listening", flush=True)
poll = select.poll()
poll.register(listener, select.POLLIN)
clients = {}
while True:
    for fd, _ in poll.poll():
        if fd == listener.fileno():
            client, _ = listener.accept()
            client.setblocking(False)
            clients[client.fileno()] = client
            poll.register(client, select.POLLIN)
            continue
        data = clients[fd].recv(65536)
        if data:
            try:
                clients[fd].send(data)
            except BlockingIOError:
                pass
        else:
            poll.unregister(fd)
            clients.pop(fd).close()
