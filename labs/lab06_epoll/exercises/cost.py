"""Exercise 6.1: what 2,000 round trips cost the server that listens on PORT, in processor time. Usage: cost.py PORT"""

import re
import socket
import subprocess
import sys

port = sys.argv[1]
listeners = subprocess.run(["ss", "-tlnpH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
pid = re.search(r"pid=(\d+)", listeners).group(1)


def spent():
    """Nanoseconds on a processor (proc(5), under schedstat)."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0])


with socket.create_connection(("127.0.0.1", int(port))) as connection:
    connection.sendall(b"x")
    connection.recv(1)
    before = spent()
    for _ in range(2000):
        connection.sendall(b"x")
        connection.recv(1)
    print(f"{(spent() - before) / 2000 / 1000:.0f} microseconds of the server's time for a round trip")
