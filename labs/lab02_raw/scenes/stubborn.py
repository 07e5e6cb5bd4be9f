"""Writes until nothing more is taken, says goodbye, and only then reads. As a server or as a client: stubborn.py listen|connect PORT"""

import socket
import sys

how, port = sys.argv[1], int(sys.argv[2])
end = socket.socket()
# Small buffers, so that few bytes fill them. The one for receiving counts from listen() or connect() on.
end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
if how == "listen":
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.bind(("127.0.0.1", port))
    end.listen()
    end = end.accept()[0]
else:
    end.connect(("127.0.0.1", port))

end.setblocking(False)
try:
    while True:
        end.send(bytes(4096))
except BlockingIOError:
    pass
end.shutdown(socket.SHUT_WR)
end.setblocking(True)
while end.recv(65536):
    pass
end.close()
