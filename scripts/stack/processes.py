"""Processes that live as long as `make run`: started, waited for, started again when they die, and stopped."""

import os
import signal
import subprocess
import sys
import time


class Stopped(Exception):
    """Ctrl-C, SIGTERM or a closed terminal."""


class Failed(Exception):
    """A process could not be brought up."""


# A process whose configuration cannot be used ends with this; starting it again is no use (sysexits.h, EX_CONFIG).
UNUSABLE_CONFIGURATION = 78


class Service:
    """One process of the host."""

    def __init__(self, name, command, environment=None, log=None, stop_seconds=5):
        self.name = name
        self.kind = os.path.basename(command[0])
        self.command = command
        self.environment = environment
        self.log = log
        self.stop_seconds = stop_seconds
        self.process = None
        self.started_at = 0.0
        self.restart_at = None
        self.delay = 1.0

    def start(self):
        output = open(self.log, "ab") if self.log else None
        try:
            self.process = subprocess.Popen(
                # If this supervisor is killed, the kernel ends what it started.
                ["setpriv", "--pdeathsig", "KILL", "--", *self.command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C reaches the supervisor alone, which stops everything in order.
                start_new_session=True,
            )
        finally:
            if output:
                output.close()
        self.started_at = time.monotonic()
        self.restart_at = None

    @property
    def pid(self):
        return self.process.pid if self.process else None

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def ending(self):
        code = self.process.returncode
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with status {code}"

    @property
    def last_words(self):
        """The end of its log, if it has one of its own."""
        if not self.log:
            return ""
        with open(self.log, "rb") as log:
            lines = log.read()[-4000:].decode(errors="replace").splitlines()[-10:]
        return f"; the end of {self.log}:\n  " + "\n  ".join(lines)

    def send(self, number):
        if self.is_running:
            self.process.send_signal(number)


class Host:
    """All processes, in the order in which they were started."""

    def __init__(self):
        self.services = []
        self.signals = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.signalled)

    def signalled(self, _number, _frame):
        self.signals += 1
        if self.signals > 1:
            for service in self.services:
                service.send(signal.SIGKILL)

    def say(self, text):
        try:
            print(text, flush=True)
        except OSError:
            # Nobody reads any more.
            self.signals += 1
            sys.stdout = open(os.devnull, "w")

    def start(self, *services):
        for service in services:
            service.start()
            self.services.append(service)

    def wait_until(self, condition, seconds, what):
        """Waits until the condition holds while everything that was started lives."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.signals:
                raise Stopped
            for service in self.services:
                if not service.is_running:
                    raise Failed(f"{service.name} {service.ending}{service.last_words}")
            if time.monotonic() > deadline:
                raise Failed(f"{what} within {seconds} s")
            time.sleep(0.05)

    def run(self, command, environment=None):
        """Runs a command to its end; returns its status."""
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *command],
            env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        while process.poll() is None:
            if self.signals:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise Stopped
            time.sleep(0.05)
        return process.returncode

    def supervise(self):
        """Starts again what dies, as systemd would, until a signal comes."""
        while not self.signals:
            for service in self.services:
                if not service.is_running:
                    self.restart(service)
            time.sleep(0.05)

    def restart(self, service):
        now = time.monotonic()
        if service.restart_at is None:
            if service.process.returncode == UNUSABLE_CONFIGURATION:
                raise Failed(f"{service.name} {service.ending}: its configuration cannot be used")
            # A process that dies again and again is started at growing intervals.
            service.delay = min(service.delay * 2, 10.0) if now - service.started_at < 5 else 1.0
            service.restart_at = now + service.delay
            self.say(f"run: {service.name} (pid {service.pid}) {service.ending}; starting it again in {service.delay:g} s")
        elif now >= service.restart_at:
            service.start()
            self.say(f"run: {service.name} runs again (pid {service.pid})")

    def stop_all(self):
        """Stops everything, the last started first; those of one kind together."""
        while self.services:
            kind = self.services[-1].kind
            self.stop(*[service for service in self.services if service.kind == kind])

    def stop(self, *services):
        for service in services:
            service.send(signal.SIGTERM)
        deadline = time.monotonic() + max(service.stop_seconds for service in services)
        for service in services:
            try:
                service.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.say(f"run: {service.name} (pid {service.pid}) does not end; killing it")
                service.send(signal.SIGKILL)
                service.process.wait()
        self.services = [service for service in self.services if service not in services]
