"""A chat: what lab 7 promises and its checks ask for, in another language. The protocol: docs/chat-protocol.md."""

import asyncio
import datetime
import json
import re
import signal
import sys
import unicodedata

LONGEST, QUEUE = 64 * 1024, 1024 * 1024
NAME = re.compile(r"[\w.-]{1,32}")
members, history, tasks = {}, [], set()


class Refusal(Exception):
    pass


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.name = reader, writer, None

    def tell(self, line):
        if self.writer.is_closing():
            return
        if self.writer.transport.get_write_buffer_size() > QUEUE:
            leave(self)
            self.writer.transport.abort()
        else:
            self.writer.write(json.dumps(line).encode() + b"\n")

    def tell_others(self, line):
        for other in [other for other in members.values() if other is not self]:
            other.tell(line)


def leave(client):
    if client.name is not None and members.get(client.name) is client:
        del members[client.name]
        client.tell_others({"type": "LEFT", "data": client.name})


def carry_out(client, kind, request):
    data = request.get("data")
    if kind in ("ECHO", "REGISTER", "MESSAGE") and "data" not in request:
        raise Refusal("MISSING_DATA")
    if kind in ("REGISTER", "MESSAGE") and not isinstance(data, str):
        raise Refusal("BAD_DATA")
    if kind in ("MESSAGE", "LIST_USERS", "LIST_MESSAGES") and client.name is None:
        raise Refusal("NOT_REGISTERED")
    if kind == "ECHO":
        return data
    if kind == "TIME":
        return now()
    if kind == "LIST_USERS":
        return list(members)
    if kind == "LIST_MESSAGES":
        count = 50 if data is None else data
        return history[-count:] if count else []
    if kind == "REGISTER":
        name = unicodedata.normalize("NFC", data)
        if client.name is not None:
            raise Refusal("ALREADY_REGISTERED")
        if not NAME.fullmatch(name):
            raise Refusal("BAD_NAME")
        if name in members:
            raise Refusal("NAME_TAKEN")
        members[name], client.name = client, name
        client.tell_others({"type": "JOINED", "data": name})
        return f"Welcome, {name}."
    if kind == "MESSAGE":
        said = {"from": client.name, "data": data, "time": now()}
        history.append(said)
        client.tell_others({"type": "BROADCAST", **said})
        return len(members) - 1
    if kind == "QUIT":
        return "Goodbye."
    raise Refusal("UNKNOWN_TYPE")


def answer(client, line):
    """Answers one line. False if it is the last one."""
    request, kind = {}, None
    try:
        try:
            request = json.loads(line.decode())
        except UnicodeDecodeError:
            raise Refusal("BAD_UTF8")
        except ValueError:
            raise Refusal("BAD_JSON")
        if not isinstance(request, dict):
            request = {}
            raise Refusal("BAD_JSON")
        kind = request.get("type")
        kind = kind.upper() if isinstance(kind, str) else None
        reply = {"type": "OK", "re": kind, "data": carry_out(client, kind, request)}
    except Refusal as refusal:
        reply = {"type": "ERROR", "re": kind, "code": str(refusal), "message": ""}
    if "id" in request:
        reply["id"] = request["id"]
    client.tell(reply)
    return kind != "QUIT"


async def serve(reader, writer):
    client = Client(reader, writer)
    task = asyncio.current_task()
    tasks.add(task)
    try:
        while (line := await reader.readline()).endswith(b"\n") and answer(client, line[:-1]):
            await writer.drain()
    except (OSError, ValueError):
        pass
    except asyncio.CancelledError:
        client.tell({"type": "ERROR", "re": None, "code": "SHUTTING_DOWN", "message": ""})
    finally:
        leave(client)
        tasks.discard(task)
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=LONGEST, backlog=128)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()
    ending = list(tasks)
    members.clear()
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)
    # What was written goes out, and the FIN behind it.
    await asyncio.sleep(0.1)


asyncio.run(main())
