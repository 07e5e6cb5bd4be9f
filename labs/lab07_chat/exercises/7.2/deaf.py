"""Exercise 7.2: the two clients of its scene. Usage: deaf.py deaf|loud PORT"""

import socket
import sys

client = socket.socket()
# Small, so that it is full soon.
client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
client.connect(("127.0.0.1", int(sys.argv[2])))
answers = client.makefile("rb")
if sys.argv[1] == "deaf":
    client.sendall(b'{"type":"REGISTER","data":"Deaf"}\n')
    for line in answers:
        print(len(line), "bytes:", line[:60].decode(), flush=True)
    print("the end", flush=True)
else:
    client.sendall(b'{"type":"REGISTER","data":"Loud"}\n')
    answers.readline()
    for number in range(10):
        client.sendall(b'{"type":"MESSAGE","data":"%060000d"}\n' % number)
        answer = b""
        # That somebody has left may stand between the answers.
        while b"OK" not in answer:
            answer = answers.readline()
            print(number, answer.decode().strip(), flush=True)
