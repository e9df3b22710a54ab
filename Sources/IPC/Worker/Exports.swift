// Events and reported values are types of the wire, which users of IPC need, too.
@_exported import IPCWire
