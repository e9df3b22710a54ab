"""The files that a worker shares with syncd: tag table, value arena and journal (docs/protocol.md)."""
import fcntl, mmap, os, pathlib, random, struct, time

MASK = 2**64 - 1


def boot_time():
    """The clock of all times in the table, in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Table:
    """The tag table, mapped. CPython on x86-64 loads each word in one piece, and in the order that is written here."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.words = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)).cast("Q")
        if bytes(self.words[:1]) != b"SYNCDTAG" or self.words[1] != 1 or len(self.words) != 512 + self.words[2]:
            raise OSError(f"{path} is no tag table of this layout")

    def slots(self, key, tags):
        """Where the tags of an entry are: its own, the one of its key, and the one of everything."""
        return [self.slot(tag) for tag in (*tags, b"=" + key, b"*")]

    def slot(self, tag):
        return 512 + self.hash(tag) % self.words[2]

    @staticmethod
    def hash(tag):
        h = 0xCBF29CE484222325  # FNV-1a
        for byte in tag:
            h = (h ^ byte) * 0x100000001B3 & MASK
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):  # MurmurHash3's last step
            h = (h ^ h >> 33) * factor & MASK
        return h ^ h >> 33

    def log(self):
        """The incarnation of the log that this host is attached to; None: it is isolated. The state is loaded first."""
        return "%016x%016x" % (self.words[14], self.words[15]) if self.words[8] == 2 else None

    def has_applied(self, position):
        """Whether this host has applied the position of a write; None: it cannot be compared with this host's log."""
        log, _, number = position.partition("-")
        is_same, applied = self.log() == log, self.words[12]
        # A log never comes back: what was loaded in between belongs to it.
        return applied >= int(number) if is_same and self.log() == log and number.isdecimal() else None

    def is_fresh(self, slots, as_of, epoch, log=None):
        """`log`: the incarnation of a value that does not come from syncd itself, but out of the arena."""
        state, heartbeat, fresh_as_of = self.words[8], self.words[10], self.words[11]  # These first,
        is_unchanged = all(self.words[slot] <= as_of for slot in slots)
        is_known = log is None or (log == (self.words[14], self.words[15]) and as_of >= self.words[13])
        is_same_epoch = self.words[9] == epoch
        clock = boot_time()  # and the clock last.
        is_believed = state == 2 and 0 <= clock - heartbeat <= 1e9 and 0 <= clock - fresh_as_of <= 2e9
        return is_unchanged and is_known and is_same_epoch and is_believed


class Arena:
    """The values that all processes of the host share, mapped."""

    RECORD = struct.Struct("<IHBBQQQQQII")

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        self.words = memoryview(self.bytes).cast("Q")
        ring_bytes, self.index_words = self.words[2], self.words[3]
        first = 4096 + 8 * self.index_words
        if self.bytes[:8] != b"SYNCDVAL" or self.words[1] != 2 or len(self.bytes) != first + ring_bytes:
            raise OSError(f"{path} is no value arena of this layout")
        # Two rings: the word of the tail, the start, and the length.
        probation = ring_bytes // 4 // 32 * 32
        self.rings = (10, first, probation), (8, first + probation, ring_bytes - probation)

    def copy(self, key, hash):
        """Value, hashes of the tags, asOf, incarnation and end of the record of a key, or None."""
        first = 512 + (hash >> 16) % (self.index_words // 8) * 8
        for word in (self.words[first + place] for place in range(8)):
            offset = (word & 2**48 - 1) * 32
            tail, first_byte, ring_bytes = self.rings[offset >> 52]
            if word == 0 or word >> 48 != hash >> 48 or offset < self.words[tail]:
                continue
            start, limit = first_byte + offset % 2**52 % ring_bytes, first_byte + ring_bytes
            if start + 64 > limit:
                continue
            total, key_bytes, tags, has_value, own, as_of, high, low, until, value_bytes, tag_bytes = (
                self.RECORD.unpack_from(self.bytes, start))
            at = start + 64 + 4 * (tags + 2)
            end = at + key_bytes + tag_bytes + value_bytes
            if own != offset or end > start + total or start + total > limit:
                continue
            if self.bytes[at:at + key_bytes] != key:
                continue
            hashes = struct.unpack_from(f"<{tags + 2}I", self.bytes, start + 64)
            value = self.bytes[end - value_bytes:end] if has_value & 1 else None
            # The tail last: syncd raises it before it overwrites a record.
            if offset >= self.words[tail]:
                return value, hashes, as_of, (high, low), until


class Journal:
    """Where syncd finds what this process was about to invalidate, should it die."""

    def __init__(self, path):
        path.mkdir(0o1770, exist_ok=True)
        owner, self.count = f"{random.SystemRandom().getrandbits(64):016x}-{os.getpid()}", 0
        self.lock = open(path / f".new-{owner}", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)  # Before it has its name: nobody ever sees it free.
        self.prefix = path / owner
        os.rename(self.lock.name, f"{self.prefix}.lock")

    def begin(self, tags):
        self.count += 1
        intent = pathlib.Path(f"{self.prefix}-{self.count}.intent")
        with open(intent, "xb") as file:
            os.chmod(intent, 0o644)  # syncd may be another user.
            file.write(b"*%d\r\n" % len(tags) + b"".join(b"$%d\r\n%s\r\n" % (len(tag), tag) for tag in tags))
        return intent
