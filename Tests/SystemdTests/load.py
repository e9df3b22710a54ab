#!/usr/bin/env python3
"""Uses the API like its clients do, all the time, and says at the end what they saw.

    load.py PORT STOP-FILE

Readers with kept connections, readers with a new connection per request, and one writer, until STOP-FILE exists. The
writer counts up a number in one user. A read that begins after the answer to a write must not show an older number.
A request that gets no complete answer, or another status than 200, has failed; nothing is tried again.
"""

import asyncio
import json
import os
import sys
import time

KEPT_READERS = 8
NEW_READERS = 4
PAUSE = 0.005
LIMIT = 30
# Whatever happens, it ends.
LONGEST = 300


class Failed(Exception):
    pass


class Client:
    """HTTP/1.1 on one connection, kept for as long as the server keeps it."""

    def __init__(self, port, keeps=True):
        self.port, self.keeps = port, keeps
        self.reader = self.writer = None
        self.is_reused = False

    async def request(self, method, path, body=None):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            self.is_reused = False
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(payload)}\r\n"
        if body is not None:
            head += "Content-Type: application/json\r\n"
        if not self.keeps:
            head += "Connection: close\r\n"
        self.writer.write(head.encode() + b"\r\n" + payload)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        status = int(lines[0].split()[1])
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        answer = await self.reader.readexactly(int(headers["content-length"]))
        self.is_reused = True
        if not self.keeps or headers.get("connection") == "close":
            self.close()
        return status, headers, answer

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Load:
    def __init__(self, port, stop):
        self.port, self.stop = port, stop
        self.began = time.monotonic()
        self.acknowledged = 0
        self.requests = self.writes = 0
        self.slowest = 0.0
        self.failures, self.stale = [], []
        self.workers, self.sources = {}, {}

    def goes_on(self):
        return not os.path.exists(self.stop) and time.monotonic() - self.began < LONGEST

    async def ask(self, client, kind, method, path, body=None):
        began = time.monotonic()
        was_reused = client.is_reused and client.writer is not None
        try:
            status, headers, answer = await asyncio.wait_for(client.request(method, path, body), LIMIT)
            if status != 200:
                raise Failed(f"status {status}: {answer[:200]!r}")
        except (OSError, EOFError, asyncio.TimeoutError, Failed) as problem:
            client.close()
            when = f"{time.time():.3f}"
            self.failures.append(f"{when} {kind} {'kept' if was_reused else 'new'} {method}: {type(problem).__name__} {problem}")
            return None
        self.requests += 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        worker, source = headers["x-worker"], headers.get("x-cache", "-")
        self.workers[worker] = self.workers.get(worker, 0) + 1
        self.sources[source] = self.sources.get(source, 0) + 1
        return json.loads(answer)

    async def read(self, keeps):
        client = Client(self.port, keeps)
        while self.goes_on():
            expected = self.acknowledged
            user = await self.ask(client, "read", "GET", f"/api/users/{self.user}")
            if user is not None and user["position"]["x"] < expected:
                self.stale.append(f"{time.time():.3f}: {user['position']['x']} after {expected}")
            await asyncio.sleep(PAUSE)
        client.close()

    async def write(self):
        client, number = Client(self.port), 0
        while self.goes_on():
            number += 1
            body = {"position": {"x": number, "y": 0}}
            if await self.ask(client, "write", "PUT", f"/api/users/{self.user}", body) is not None:
                self.acknowledged = number
                self.writes += 1
            await asyncio.sleep(0.02)
        client.close()

    async def run(self):
        client = Client(self.port, keeps=False)
        _, _, answer = await client.request("POST", "/api/users", {"username": "Load", "age": 1, "hobbies": []})
        self.user = json.loads(answer)["_id"]
        await client.request("PUT", f"/api/users/{self.user}", {"position": {"x": 0, "y": 0}})
        readers = [self.read(True) for _ in range(KEPT_READERS)] + [self.read(False) for _ in range(NEW_READERS)]
        await asyncio.gather(self.write(), *readers)
        print(
            json.dumps({
                "requests": self.requests, "writes": self.writes, "failures": self.failures[:20],
                "failed": len(self.failures), "stale": self.stale[:20], "slowest": round(self.slowest, 3),
                "workers": self.workers, "sources": self.sources, "seconds": round(time.monotonic() - self.began, 1),
            }))


asyncio.run(Load(int(sys.argv[1]), sys.argv[2]).run())
