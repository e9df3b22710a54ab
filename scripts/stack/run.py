"""A whole host on this machine, as `make run` shows it: servers, syncd, workers; until Ctrl-C."""

import fcntl
import http.client
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile

import mongodb
from processes import Failed, Host, Service, Stopped
from settings import Settings, UsageError, check_port, free_ports

# Maximum length of a socket's path, in bytes.
LONGEST_SOCKET_PATH = 103


class Run:
    def __init__(self, host, settings, directory):
        self.host = host
        self.settings = settings
        self.directory = directory
        self.socket = os.path.join(directory, "syncd", "syncd.sock")
        self.short_directory = None
        self.url = f"http://127.0.0.1:{settings.port}"
        self.database = "the one that was given"
        self.redis = "the one that was given"
        self.syncd = None
        # The kernel's report of a crash must not hold up the restart.
        self.environment = {"SWIFT_BACKTRACE": "enable=no", **os.environ}

    def start(self):
        self.make_directories()
        redis_port, mongod_port = free_ports(2)
        if not self.settings.redis_enabled:
            self.redis = "none: syncd keeps log and cache in its own memory"
        elif not self.settings.redis_given:
            self.start_redis(redis_port)
        if not self.settings.database_given:
            self.start_mongod(mongod_port)
        self.start_syncd()
        # A database given by DB_URL belongs to somebody else: no data is put into it.
        if not self.settings.database_given:
            self.seed()
        self.start_workers()

    def make_directories(self):
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET_PATH:
            self.short_directory = tempfile.mkdtemp(prefix="syncd-")
            self.socket = os.path.join(self.short_directory, "syncd.sock")
        os.makedirs(os.path.dirname(self.socket), mode=0o750, exist_ok=True)

    def start_redis(self, port):
        directory = os.path.join(self.directory, "redis")
        os.makedirs(directory, exist_ok=True)
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", directory]
        command += ["--save", "", "--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "volatile-lru"]
        self.host.start(Service("redis-server", command, log=fresh(directory, "redis.log")))
        self.host.wait_until(lambda: redis_answers(port), 10, "redis-server does not answer")
        self.redis = f"redis://127.0.0.1:{port}"
        self.environment["REDIS_URL"] = self.redis

    def start_mongod(self, port):
        directory = os.path.join(self.directory, "mongod")
        os.makedirs(os.path.join(directory, "data"), exist_ok=True)
        command = [shutil.which("mongod") or os.path.abspath(".build/servers/mongod")]
        command += ["--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", os.path.join(directory, "data")]
        command += ["--replSet", mongodb.REPLICA_SET, "--oplogSize", "50", "--wiredTigerCacheSizeGB", "0.25"]
        command += ["--nounixsocket", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        self.host.start(Service("mongod", command, log=fresh(directory, "mongod.log"), stop_seconds=20))
        self.host.wait_until(lambda: mongodb.is_answering(port), 60, "mongod does not answer")
        mongodb.initiate(port)
        self.host.wait_until(lambda: mongodb.is_primary(port), 60, "mongod does not become primary")
        self.database = f"mongodb://127.0.0.1:{port}/syncd?replicaSet={mongodb.REPLICA_SET}"
        self.environment["DB_URL"] = self.database

    def start_syncd(self):
        self.environment["SYNCD_SOCKET"] = self.socket
        self.environment["REDIS_ENABLED"] = "true" if self.settings.redis_enabled else "false"
        self.syncd = Service("syncd", [os.path.abspath(".build/release/syncd"), "run"], self.environment)
        self.host.start(self.syncd)
        self.host.wait_until(lambda: self.status() != 3, 10, "syncd does not answer")
        try:
            self.host.wait_until(lambda: self.status() == 0, 5, "syncd is not attached")
        except Failed:
            if not self.syncd.is_running:
                raise
            self.host.say("run: syncd cannot use Redis yet: workers read MongoDB directly until it can")

    def status(self):
        """0 attached, 1 isolated, 3 nobody there."""
        command = [os.path.abspath(".build/release/syncd"), "status", "--socket", self.socket]
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode

    def worker(self, name, port, **environment):
        environment = {**self.environment, "PORT": str(port), "HOST": "127.0.0.1", **environment}
        return Service(name, [os.path.abspath(".build/release/apiworker")], environment, stop_seconds=15)

    def seed(self):
        """By a worker that does not log the event of every user."""
        (port,) = free_ports(1)
        worker = self.worker("apiworker for the first users", port, LOG_LEVEL="warning")
        self.host.start(worker)
        self.host.wait_until(lambda: worker_that_answers(port) is not None, 30, f"{worker.name} does not answer")
        if self.host.run(["scripts/seed", f"http://127.0.0.1:{port}"]) != 0:
            self.host.say("run: the database could not be filled")
        self.host.stop(worker)

    def start_workers(self):
        count = self.settings.workers
        workers = [self.worker(f"apiworker {number + 1}", self.settings.port) for number in range(count)]
        self.host.start(*workers)
        answered = set()

        def all_answer():
            # The kernel chooses which worker gets a connection.
            for _ in range(4 * count):
                answered.add(worker_that_answers(self.settings.port))
            return answered >= {worker.pid for worker in workers}

        self.host.wait_until(all_answer, 30, "not every apiworker answers")

    def explain(self):
        settings = self.settings
        workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
        self.host.say(f"""
  API      {self.url}  ({workers})
  syncd    {self.socket}  (pid {self.syncd.pid})
  MongoDB  {self.database}
  Redis    {self.redis}

Things to try, in another terminal:

  export SYNCD_SOCKET={shlex.quote(self.socket)}

  # Create a user: every worker logs the event here.
  curl -s {self.url}/api/users -H 'Content-Type: application/json' \\
    -d '{{"username": "Ada", "age": 36, "hobbies": ["chess", "poetry"]}}'

  # Read the graph twice: X-Cache changes from MISS to L2 or L1.
  curl -s -o /dev/null -D - {self.url}/api/graph | grep -i x-cache
  curl -s -o /dev/null -D - {self.url}/api/graph | grep -i x-cache

  # Ask the daemon; follow events and invalidations; see why a value is fresh.
  .build/release/syncd status
  .build/release/syncd events
  .build/release/syncd explain graph:1:100:true

  # Stop the daemon: after a second requests go on with X-Cache: BYPASS. Continue it: the cache is back.
  kill -STOP {self.syncd.pid}
  curl -s -o /dev/null -D - {self.url}/api/graph | grep -i x-cache
  kill -CONT {self.syncd.pid}

  # Kill it: it is started again after a second.
  kill -9 {self.syncd.pid}

Ctrl-C stops everything.""" + self.seed_hint() + "\n")

    def seed_hint(self):
        return f"\nYour database is as it was; for 200 users to play with: scripts/seed {self.url}" \
            if self.settings.database_given else ""

    def clean_up(self):
        if self.short_directory:
            shutil.rmtree(self.short_directory, ignore_errors=True)


def fresh(directory, name):
    path = os.path.join(directory, name)
    open(path, "wb").close()
    return path


def worker_that_answers(port):
    """The pid of the worker that answered, if any did."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return json.loads(connection.getresponse().read())["worker"]
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return None
    finally:
        connection.close()


def redis_answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


def lock(directory, port):
    """One `make run` per directory."""
    os.makedirs(directory, exist_ok=True)
    handle = open(os.path.join(directory, "lock"), "a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        raise UsageError(
            f"another make run (pid {handle.read().strip()}) has {directory}; stop it, or choose another port: "
            f"PORT={port % 65535 + 1} make run")
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def main():
    host = Host()
    run = None
    try:
        settings = Settings(os.environ)
        directory = os.path.abspath(os.path.join(".build", "run", str(settings.port)))
        held = lock(directory, settings.port)
        check_port(settings.port)
        if host.run(["scripts/build"]) != 0:
            raise Failed("the build failed")
        # The build takes its time.
        check_port(settings.port)
        run = Run(host, settings, directory)
        run.start()
        run.explain()
        host.supervise()
    except Stopped:
        pass
    except (Failed, UsageError, OSError) as error:
        print(f"run: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        if host.services:
            host.say("run: stopping")
        host.stop_all()
        if run:
            run.clean_up()
    return 0


sys.exit(main())
