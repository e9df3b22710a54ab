#!/usr/bin/env python3
"""A worker in Python: answers "<id> read <key> [<position>]" and "<id> write <key>" on stdin; its database is a Redis.

The answer to a write ends with its position, which a read on any host may bring.

    SYNCD_SOCKET=… DATABASE_SOCKET=… PROTOCOL=3 worker.py
"""
import asyncio, os, sys
import redis.asyncio
from redis.exceptions import RedisError
from syncd_cache import Cache


async def serve(cache, database, number, verb, key, after=None):
    tags = [b"register:" + key]
    try:
        if verb == b"read":
            value, source = await cache.value(key, tags, 60_000, lambda: database.get(key), after and after.decode())
            print(number, "ok", "-" if value is None else value.decode(), source, flush=True)
        else:
            value, position = await cache.writing(tags, lambda: database.incr(key))
            print(number, "ok", value, position, flush=True)
    except (OSError, RedisError) as error:
        print(number, "error", repr(error), flush=True)


async def main():
    cache = Cache(os.environ["SYNCD_SOCKET"], int(os.environ.get("PROTOCOL", "3")))
    database = redis.asyncio.Redis(unix_socket_path=os.environ["DATABASE_SOCKET"])
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        connection = tasks.create_task(cache.run())
        while line := await lines.readline():
            number, verb, *words = line.split()
            tasks.create_task(serve(cache, database, number.decode(), verb, *words))
        connection.cancel()


asyncio.run(main())
