"""Exercise 6.4: a hundred clients send 1 MiB each, read it back, and stay. Usage: flood.py PORT"""

import socket
import sys
import threading

PIECE = bytes(1 << 20)
clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(100)]
for client in clients:
    writer = threading.Thread(target=client.sendall, args=(PIECE,))
    writer.start()
    left = len(PIECE)
    while left > 0:
        left -= len(client.recv(65536))
    writer.join()
input("everything is back; press Enter to leave\n")
