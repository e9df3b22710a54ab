// Keys, tags and events are types of the wire, which users of IPC need, too.
@_exported import IPCWire
