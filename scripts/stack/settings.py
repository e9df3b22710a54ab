"""What `make run` is told by its environment."""

import os
import socket


class UsageError(Exception):
    """Something that the user can put right; the text says how."""


class Settings:
    def __init__(self, environment):
        self.port = number(environment, "PORT", 3001, 1, 65535)
        self.workers = number(environment, "WORKERS", len(os.sched_getaffinity(0)), 1, 256)
        self.redis_enabled = flag(environment, "REDIS_ENABLED", True)
        # A secret may also come as a file, which the programs read for themselves.
        self.redis_given = bool(environment.get("REDIS_URL") or environment.get("REDIS_URL_FILE"))
        self.database_given = bool(environment.get("DB_URL") or environment.get("DB_URL_FILE"))


def number(environment, name, default, least, greatest):
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and least <= int(text) <= greatest):
        raise UsageError(f'{name}: "{text}" is not usable; give a whole number from {least} to {greatest}')
    return int(text)


def flag(environment, name, default):
    text = environment.get(name) or str(default)
    if text.lower() in ("true", "1", "yes"):
        return True
    if text.lower() in ("false", "0", "no"):
        return False
    raise UsageError(f'{name}: "{text}" is not usable; give true or false')


def check_port(port):
    """Before anything is started: the workers share the port among themselves, so a stranger on it would go unnoticed."""
    with socket.socket() as probe:
        # Connections that wait in TIME_WAIT are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            raise UsageError(f"port {port} is for root only; choose another one: PORT={port + 8000} make run")
        except OSError as error:
            raise UsageError(f"port {port} is in use ({error.strerror}); choose another one: PORT=<port> make run")


def free_ports(count):
    """Ports that nobody uses now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
