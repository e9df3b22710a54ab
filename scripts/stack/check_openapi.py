"""Compares docs/openapi.yaml with a running worker."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

import jsonschema
import mongodb
import yaml
from openapi_spec_validator import validate
from processes import Failed, Host, Service, Stopped
from settings import free_ports

DOCUMENT = "docs/openapi.yaml"
SERVED = "Sources/apiworker/Page/openapi.json"
ORIGIN = "https://app.example"

# The same requests every time, as far as they do not depend on ids.
ARGUMENTS = ["--seed", "1", "--max-examples", "100"]

CONFIGURATION = f"""
request-timeout = 10
continue-on-failure = true
cache.enabled = false
# A stream has no end.
max-stream-events = 1
headers = {{ Origin = "{ORIGIN}" }}

[generation]
database = "none"
# A body with NUL is malformed, in unknown members, too. A schema cannot say this.
allow-x00 = false

# The schema is that of the whole stream, and schemathesis takes it for that of one event.
[[operations]]
include-operation-id = "followEvents"
checks.response_schema_conformance.enabled = false

# Numbers outside the range are clamped, and unreadable ones mean the default.
[[operations]]
include-operation-id = ["listUsersByPage", "getGraph"]
checks.negative_data_rejection.enabled = false

# 404 may be about the friend, who need not exist.
[[operations]]
include-operation-id = "unlinkUsers"
checks.ensure_resource_availability.enabled = false

# Moreover, 400 says that both are the same user.
[[operations]]
include-operation-id = "linkUsers"
checks.ensure_resource_availability.enabled = false
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404"]
"""


class Check:
    def __init__(self, host, directory):
        self.host = host
        self.directory = directory
        mongod_port, port = free_ports(2)
        self.mongod_port = mongod_port
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            **os.environ, "SYNCD_SOCKET": f"{directory}/syncd.sock", "REDIS_ENABLED": "false",
            "DB_URL": f"mongodb://127.0.0.1:{mongod_port}/test?replicaSet={mongodb.REPLICA_SET}",
            "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "warning",
            # Responses with all headers.
            "WORKER_GZIP_BYTES": "1000000", "FRONTEND_ORIGIN_URL": ORIGIN,
        }

    def start_all(self):
        data = os.path.join(self.directory, "mongod")
        os.makedirs(data)
        self.start(
            shutil.which("mongod") or os.path.abspath(".build/servers/mongod"), "--bind_ip", "127.0.0.1", "--port",
            str(self.mongod_port), "--dbpath", data, "--replSet", mongodb.REPLICA_SET, "--oplogSize", "50",
            "--nounixsocket")
        self.host.wait_until(lambda: mongodb.is_answering(self.mongod_port), 60, "mongod does not answer")
        mongodb.initiate(self.mongod_port)
        self.host.wait_until(lambda: mongodb.is_primary(self.mongod_port), 60, "mongod does not become primary")
        self.start(os.path.abspath(".build/release/syncd"), "run")
        self.start(os.path.abspath(".build/release/apiworker"))
        self.host.wait_until(self.is_attached, 30, "the worker is not attached")
        if self.host.run(["scripts/seed", self.url]) != 0:
            raise Failed("the database could not be filled")

    def start(self, *command):
        name = os.path.basename(command[0])
        log = os.path.join(self.directory, f"{name}.log")
        open(log, "wb").close()
        self.host.start(Service(name, list(command), self.environment, log=log, stop_seconds=20))

    def is_attached(self):
        try:
            with urllib.request.urlopen(self.url, timeout=5) as response:
                return json.load(response)["sync"] == "attached"
        except OSError:
            return False

    def run_schemathesis(self, arguments):
        configuration = os.path.join(self.directory, "schemathesis.toml")
        with open(configuration, "w", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        command = [os.path.abspath(".build/servers/python/bin/schemathesis"), "--config-file", configuration]
        command += ["run", SERVED, "--url", self.url, *ARGUMENTS, *arguments]
        environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": f"{self.directory}/hypothesis"}
        status = self.host.run(command, environment)
        if status != 0:
            # The reasons of errors of the server.
            self.host.say(f"check-openapi: the worker ran until the end{self.host.services[-1].last_words}")
        return status


def check_document():
    """The document is OpenAPI, and each example keeps to its schema."""
    with open(DOCUMENT, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    validate(document)
    for place, node in nodes(document, ""):
        if "schema" in node and "example" in node:
            schema = {**node["schema"], "components": document["components"]}
            for error in jsonschema.Draft202012Validator(schema).iter_errors(node["example"]):
                raise Failed(f"{DOCUMENT}: the example at {place}: {error.message}")


def nodes(value, place):
    """All mappings in the document with their places."""
    if isinstance(value, dict):
        yield place, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from nodes(child, f"{place}/{name}")


def main():
    host = Host()
    with tempfile.TemporaryDirectory(prefix="syncd-openapi-") as directory:
        try:
            check_document()
            check = Check(host, directory)
            check.start_all()
            return check.run_schemathesis(sys.argv[1:])
        except Stopped:
            return 1
        except (Failed, OSError) as error:
            print(f"check-openapi: {error}", file=sys.stderr, flush=True)
            return 1
        finally:
            host.stop_all()


sys.exit(main())
