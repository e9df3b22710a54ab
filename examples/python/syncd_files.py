"""The files that a worker shares with syncd: the tag table and the journal (docs/protocol.md)."""
import fcntl, mmap, os, pathlib, random, time

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
        h = 0xCBF29CE484222325  # FNV-1a
        for byte in tag:
            h = (h ^ byte) * 0x100000001B3 & MASK
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):  # MurmurHash3's last step
            h = (h ^ h >> 33) * factor & MASK
        return 512 + (h ^ h >> 33) % self.words[2]

    def is_fresh(self, slots, as_of, epoch):
        state, heartbeat, fresh_as_of = self.words[8], self.words[10], self.words[11]  # These first,
        is_unchanged = all(self.words[slot] <= as_of for slot in slots)
        is_same_epoch = self.words[9] == epoch
        clock = boot_time()  # and the clock last.
        is_believed = state == 2 and 0 <= clock - heartbeat <= 1e9 and 0 <= clock - fresh_as_of <= 2e9
        return is_unchanged and is_same_epoch and is_believed


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
