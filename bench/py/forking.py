"""The same model as lab 3, with Python's socketserver: a process per client."""

import os
import socketserver


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        host, port = self.client_address
        print(f"{host}:{port} connected: child {os.getpid()}", flush=True)
        echoed = 0
        while data := self.request.recv(64 * 1024):
            self.request.sendall(data)
            echoed += len(data)
        print(f"{host}:{port} finished: {echoed} bytes echoed by child {os.getpid()}", flush=True)


class Server(socketserver.ForkingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    request_queue_size = 128


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Echo) as server:
        host, port = server.server_address
        print(f"listening on {host}:{port}", flush=True)
        server.serve_forever()
