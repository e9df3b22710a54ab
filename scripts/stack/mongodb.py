"""Makes a mongod a replica set of one node, which transactions need. Speaks just enough of its wire protocol."""

import socket
import struct

REPLICA_SET = "rs0"


def is_answering(port):
    try:
        command(port, {"hello": 1})
        return True
    except OSError:
        return False


def initiate(port):
    """Makes the node a replica set, or tells an older one that it has another port now."""
    configuration = {
        "_id": REPLICA_SET,
        "version": 1,
        "members": [{"_id": 0, "host": f"127.0.0.1:{port}"}],
    }
    command(port, {"replSetInitiate": configuration})
    command(port, {"replSetReconfig": configuration, "force": True})


def is_primary(port):
    try:
        reply = command(port, {"hello": 1})
    except OSError:
        return False
    return b"\x08isWritablePrimary\0\x01" in reply


def command(port, document):
    """Sends one OP_MSG; returns the reply's document as BSON."""
    body = struct.pack("<IB", 0, 0) + bson({**document, "$db": "admin"})
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
        (length,) = struct.unpack("<i", receive(connection, 16)[:4])
        return receive(connection, length - 16)[5:]


def receive(connection, count):
    received = b""
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise ConnectionError("mongod closed the connection")
        received += part
    return received


def bson(document):
    elements = b"".join(element(name.encode() + b"\0", value) for name, value in document.items())
    return struct.pack("<i", len(elements) + 5) + elements + b"\0"


def element(name, value):
    if isinstance(value, bool):
        return b"\x08" + name + struct.pack("<?", value)
    if isinstance(value, int):
        return b"\x10" + name + struct.pack("<i", value)
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return b"\x02" + name + struct.pack("<i", len(text)) + text
    if isinstance(value, list):
        return b"\x04" + name + bson({str(index): item for index, item in enumerate(value)})
    return b"\x03" + name + bson(value)
