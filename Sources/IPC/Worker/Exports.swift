// Keys, tags and events are types of the wire: who imports IPC needs them, too.
@_exported import IPCWire
