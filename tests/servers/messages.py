"""A server of JSON messages with a thread for each client: all that lab 4 promises, in another language."""

import datetime
import json
import socket
import sys
import threading

LONGEST = 64 * 1024


class Refusal(Exception):
    pass


def answer(frame):
    """The answer to one line."""
    request = {}
    try:
        try:
            request = json.loads(frame.decode())
        except UnicodeDecodeError:
            raise Refusal("BAD_UTF8")
        except ValueError:
            raise Refusal("BAD_JSON")
        if not isinstance(request, dict):
            request = {}
            raise Refusal("BAD_JSON")
        kind = request.get("type")
        kind = kind.upper() if isinstance(kind, str) else None
        if kind == "TIME":
            now = datetime.datetime.now(datetime.timezone.utc)
            reply = {"type": "OK", "re": kind, "data": now.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        elif kind == "ECHO" and "data" in request:
            reply = {"type": "OK", "re": kind, "data": request["data"]}
        else:
            raise Refusal("MISSING_DATA" if kind == "ECHO" else "UNKNOWN_TYPE")
    except Refusal as refusal:
        reply = {"type": "ERROR", "code": str(refusal), "message": ""}
    if "id" in request:
        reply["id"] = request["id"]
    return json.dumps(reply).encode() + b"\n"


def serve(client):
    kept, skips = b"", False
    with client:
        try:
            while data := client.recv(65536):
                kept += data
                *lines, kept = kept.split(b"\n")
                for line in lines:
                    if not skips:
                        too_long = len(line) > LONGEST
                        client.sendall(b'{"type":"ERROR","code":"TOO_LONG"}\n' if too_long else answer(line))
                    skips = False
                if len(kept) > LONGEST and not skips:
                    client.sendall(b'{"type":"ERROR","code":"TOO_LONG"}\n')
                    skips = True
                if skips:
                    kept = b""
        except OSError:
            pass


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
