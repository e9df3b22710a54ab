"""A cache that syncd keeps consistent, for asyncio and redis-py. docs/clients.md explains each step."""
import asyncio, collections, pathlib, random
from redis.asyncio import UnixDomainSocketConnection
from redis.exceptions import RedisError, ResponseError
from syncd_files import Arena, Journal, Table, boot_time

SILENCE, TRUST_WINDOW, MOST_ENTRIES = 0.5, 1.0, 10_000  # the first two in seconds
POSITION_WAIT = 0.05  # seconds


class Cache:
    def __init__(self, socket, protocol=3):
        self.socket, self.protocol, self.connection, self.table, self.arena = socket, protocol, None, None, None
        self.entries = collections.OrderedDict()
        self.journal = Journal(pathlib.Path(socket).parent / "journal")

    async def run(self):
        """Keeps one connection up. As long as there is none, values come from the database."""
        delay = 0.05
        while True:
            connection = UnixDomainSocketConnection(
                path=self.socket, protocol=self.protocol, socket_timeout=None, client_name="python")
            self.answers, self.outcomes = collections.deque(), {}
            try:
                async with asyncio.timeout(SILENCE):
                    await connection.connect()
                    await connection.send_command("HELLO", self.protocol)
                    hello = await connection.read_response(disable_decoding=True)
                hello = hello if self.protocol == 3 else dict(zip(hello[::2], hello[1::2]))
                self.table = Table(hello[b"table"])
                self.arena = Arena(hello[b"arena"]) if b"arena" in hello else None
                self.entries.clear()  # They are numbered by the slots of another table.
                self.connection, delay = connection, 0.05
                while True:
                    try:
                        self.received(await connection.read_response(disable_decoding=True, push_request=True))
                    except ResponseError as error:
                        self.received(error)
            except (OSError, RedisError, TimeoutError):
                self.connection = None
                for future in (*self.answers, *self.outcomes.values()):
                    settle(future, None)
                await connection.disconnect(nowait=True)
                await asyncio.sleep(delay * random.uniform(0.5, 1))
                delay = min(1, 2 * delay)

    def received(self, frame):
        """Replies come in the order of the requests; the outcome of a FETCH that had to wait comes as a push."""
        kind = frame[0] if isinstance(frame, list) else None
        if kind == b"fetched":
            settle(self.outcome(frame[1]), frame[2:])
        elif kind == b"wait":
            answer, outcome = self.answers.popleft(), self.outcome(frame[1])
            outcome.add_done_callback(lambda _: settle(answer, self.outcomes.pop(frame[1], outcome).result()))
        elif kind in (None, b"hit", b"lease", b"miss"):  # All else is a push that means nothing here.
            settle(self.answers.popleft(), frame)

    def outcome(self, ticket):
        """An outcome may overtake its ticket."""
        return self.outcomes.setdefault(ticket, asyncio.get_running_loop().create_future())

    async def ask(self, *words):
        """The reply; None if there is none within 500 ms: a late one must not count as the reply to another request."""
        if not (connection := self.connection):
            return None
        self.answers.append(answer := asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(SILENCE):
                await connection.send_command(*words)
                return await answer
        except (OSError, RedisError, TimeoutError):
            await connection.disconnect(nowait=True)

    async def value(self, key, tags, ttl, load, after=None):
        """The value of a key and its source; `load` reads the database. `ttl` is in ms. With `after`, the position of a
        write on any host, the value is not older than that write."""
        if after is not None and not await self.follows(after):
            return await load(), "BYPASS"
        table, kept = self.table, self.entries.get(key)
        if kept and kept[-1] > boot_time() and table.is_fresh(*kept[1:-1]):
            return kept[0], "L1"
        if found := self.shared(table, key):
            return found[0], "L2"
        reply = await self.ask("FETCH", key, *(["WAIT", 400] if self.protocol == 3 else []))
        kind = reply[0] if isinstance(reply, list) else None  # -BUSY, or nobody answers.
        if kind == b"hit":
            _, value, as_of, ttl, tags, epoch = reply
            self.keep(table, key, value, table.slots(key, tags), as_of, epoch, boot_time() + ttl * 1_000_000)
            return value, "L2"
        if kind != b"lease":
            return await load(), "BYPASS"
        _, lease, as_of, epoch = reply
        try:
            value = await load()
        except BaseException:
            await self.ask("ABANDON", key, lease)
            raise
        if await self.ask("FILL", key, lease, ttl, len(tags), *tags, *([] if value is None else [value])) == b"OK":
            self.keep(table, key, value, table.slots(key, tags), as_of, epoch, boot_time() + ttl * 1_000_000)
        return value, "MISS"

    async def follows(self, position):
        """Whether this host has applied a position, after a short wait if need be."""
        end = boot_time() + POSITION_WAIT * 1e9
        while self.table and (has_applied := self.table.has_applied(position)) is not None:
            if has_applied or boot_time() >= end:
                return has_applied
            await asyncio.sleep(0.001)
        return False

    def shared(self, table, key):
        """A value that another process of this host has loaded, out of shared memory; None: there is none."""
        if not (table and self.arena):
            return None
        epoch = table.words[9]
        if not (copy := self.arena.copy(key, table.hash(b"=" + key))):
            return None
        value, hashes, as_of, log, until = copy
        slots = [512 + hash % table.words[2] for hash in hashes]
        if not table.is_fresh(slots, as_of, epoch, log) or until <= boot_time():
            return None
        self.keep(table, key, value, slots, as_of, epoch, until)
        return (value,)

    def keep(self, table, key, value, slots, as_of, epoch, until):
        if table is self.table:
            self.entries[key] = (value, slots, as_of, epoch, until)
            if len(self.entries) > MOST_ENTRIES:
                self.entries.popitem(last=False)

    async def invalidating(self, tags, write):
        """Runs a write; when it returns, no client of this host is answered from cache with anything older."""
        return (await self.writing(tags, write))[0]

    async def writing(self, tags, write):
        """The same; the result of the write, and its position for reads on other hosts: "-" if it is unknown."""
        note = self.journal.begin(tags)
        try:
            value = await write()
        except BaseException:  # It may have happened, or happen yet: syncd invalidates it now and once more later.
            note = note.rename(note.with_suffix(".orphan"))
            raise
        finally:
            log = self.table and self.table.log()
            reply = await self.ask("INVALIDATE", "TAGS", *tags)
            is_taken = isinstance(reply, int) or reply == b"DEFERRED"
            if note.suffix == ".intent":
                note.unlink() if is_taken else note.rename(note.with_suffix(".pending"))
            if not is_taken:  # syncd goes through the journal before it writes heartbeats again; nobody believes an older heartbeat.
                await asyncio.sleep(TRUST_WINDOW + 0.001)
        # The reply does not name the log: it is the one that the table names before and after it.
        return value, f"{log}-{reply}" if isinstance(reply, int) and log and log == self.table.log() else "-"


def settle(future, result):
    if not future.done():
        future.set_result(result)
