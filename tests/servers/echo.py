"""An echo server for one client at a time: all that labs 1 and 2 promise, in another language.

tests/check/faults.rs plants one fault at a time into it.
"""

import socket
import sys

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(128)

while True:
    connection, client = listener.accept()
    while True:
        try:
            data = connection.recv(65536)
            if not data:
                break
            connection.sendall(data)
        except OSError as error:
            print(client, error)
            break
    connection.close()
