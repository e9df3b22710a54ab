import CHiredis
import NIOCore

/// A Lua script. Redis names it by the SHA-1 of its source, which SCRIPT LOAD returns.
struct RedisScript: Sendable {
    /// The identity of the script. The source would do as well, but takes long to hash.
    enum Kind: Sendable, Hashable {
        case append
        case inspect
        case replace
        case get
        case feed
    }

    let kind: Kind
    let source: ByteBuffer

    init(_ kind: Kind, _ source: String) {
        self.kind = kind
        self.source = ByteBuffer(string: source)
    }

    /// The script for a cluster: its entries go to the sharded channel, or to the classic one if the server has no
    /// sharded channels (before 7.0), or the user may not use them.
    private var sharded: RedisScript {
        let publish = """
            local function publish(channel, message)
              local sent = redis.pcall('SPUBLISH', channel, message)
              if type(sent) == 'table' and sent.err then redis.call('PUBLISH', channel, message) end
            end

            """
        return RedisScript(
            kind, publish + String(buffer: source).replacing("redis.call('PUBLISH', ", with: "publish("))
    }

    static let shardedAppend = append.sharded
    static let shardedReplace = replace.sharded
}

extension RedisScript {
    /// KEYS: incarnation, position, stream. ARGV: caller's incarnation, fresh incarnation, run id, replication id,
    /// body, log channel, MAXLEN, and optionally event channel and payload. Returns {1, incarnation, position}, or {0,
    /// other incarnation}. An event that could not be published (its channel may be forbidden) is no reason to refuse
    /// the invalidation: the error comes as a fourth element.
    ///
    /// For an event of another program there is no event to publish. A fourth key remembers it; ARGV 8 and 9 are its
    /// tags and the time to remember (ms). Returns {2, incarnation} if it is in the log already.
    ///
    /// For changes of a feed, there are two further keys: who reads the feed, and its token. ARGV 8, 9 and 10 are the
    /// host, the time for which it keeps the role (ms), and the token, which is stored last. Returns {3, incarnation} if
    /// another host has the role.
    ///
    /// XADD comes first and PUBLISH last: Lua keeps earlier writes when a later call fails, and a superfluous
    /// invalidation is harmless. MGET finds nothing in a key of another type: types are checked only then. Positions
    /// stay text: Lua writes numbers above 1e14 as 1e+14.
    static let append = RedisScript(
        .append,
        """
        local found = redis.call('MGET', KEYS[1], KEYS[2])
        local record, position = found[1], found[2]
        if not (record and position) then
          for index, name in ipairs({'incarnation', 'position'}) do
            local kind = redis.call('TYPE', KEYS[index]).ok
            if kind ~= 'string' and kind ~= 'none' then
              return redis.error_reply('DAMAGED ' .. name .. ' is a ' .. kind)
            end
          end
          position = position or '0'
        end
        if not (string.match(position, '^%d+$') and tonumber(position) < 9007199254740991) then
          return redis.error_reply('DAMAGED position is no number')
        end
        local incarnation
        if record then
          incarnation = string.match(record, '^(%x+) ')
          if incarnation ~= ARGV[1] then return {0, incarnation or ''} end
          if KEYS[5] then
            local holder = redis.pcall('GET', KEYS[4])
            if type(holder) ~= 'string' or string.match(holder, '^%d+') ~= string.match(ARGV[8], '^%d+') then
              return {3, incarnation}
            end
          elseif KEYS[4] and redis.pcall('GET', KEYS[4]) == ARGV[8] then
            return {2, incarnation}
          end
        else
          incarnation = ARGV[2]
          if redis.call('TYPE', KEYS[3]).ok == 'stream' then
            local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
            if last[1] then
              local id = string.match(last[1][1], '^%d+')
              if tonumber(id) > tonumber(position) then position = id end
            end
          end
        end
        position = string.format('%.0f', tonumber(position) + 1)
        local added = redis.pcall('XADD', KEYS[3], 'MAXLEN', '~', ARGV[7], position .. '-0', 'b', ARGV[5])
        if type(added) == 'table' and added.err then
          if string.find(added.err, 'equal or smaller', 1, true) then
            return redis.error_reply('DAMAGED the stream is ahead of the position')
          end
          if string.find(added.err, 'WRONGTYPE', 1, true) then
            return redis.error_reply('DAMAGED stream is a ' .. redis.call('TYPE', KEYS[3]).ok)
          end
          return added
        end
        redis.call('SET', KEYS[2], position)
        if not record then
          redis.call('SET', KEYS[1], incarnation .. ' ' .. ARGV[3] .. ' ' .. ARGV[4])
        end
        redis.call('PUBLISH', ARGV[6], incarnation .. ' ' .. position .. ' ' .. ARGV[5])
        if KEYS[5] then
          redis.call('SET', KEYS[4], ARGV[8], 'PX', ARGV[9])
          redis.call('SET', KEYS[5], ARGV[10], 'PX', 2592000000)
        elseif KEYS[4] then
          redis.pcall('SET', KEYS[4], ARGV[8], 'PX', ARGV[9])
        elseif ARGV[8] then
          local sent = redis.pcall('PUBLISH', ARGV[8], ARGV[9])
          if type(sent) == 'table' and sent.err then return {1, incarnation, position, sent.err} end
        end
        return {1, incarnation, position}
        """)

    /// KEYS: as above. ARGV: last applied position.
    /// Returns {record or false, position or false, first id or false, last id or false, body or false, damaged}:
    /// `damaged` is 1 if a key is of another type, or the position no number, so that nothing can be appended.
    static let inspect = RedisScript(
        .inspect,
        """
        local damaged = 0
        local function text(key)
          local kind = redis.call('TYPE', key).ok
          if kind ~= 'string' and kind ~= 'none' then damaged = 1 end
          return kind == 'string' and redis.call('GET', key)
        end
        local record, position = text(KEYS[1]), text(KEYS[2])
        if position and not (string.match(position, '^%d+$') and tonumber(position) < 9007199254740991) then
          damaged = 1
        end
        local first, last, body = false, false, false
        local kind = redis.call('TYPE', KEYS[3]).ok
        if kind ~= 'stream' and kind ~= 'none' then damaged = 1 end
        if kind == 'stream' then
          local found = redis.call('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)
          if found[1] then first = found[1][1] end
          found = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
          if found[1] then last = found[1][1] end
          found = redis.call('XRANGE', KEYS[3], ARGV[1] .. '-0', ARGV[1] .. '-0')
          if found[1] then body = found[1][2][2] or '' end
        end
        return {record, position, first, last, body, damaged}
        """)

    /// KEYS: as above. ARGV: 1 if a record is expected, the record, fresh incarnation, run id, replication id, floor,
    /// log channel. Returns {incarnation, position} after the attempt, whichever host won.
    ///
    /// A short message on the log channel, which is no entry, causes the other hosts to check. SET replaces keys of any
    /// type. A key that was deleted could not be set while the cluster moves its slot.
    static let replace = RedisScript(
        .replace,
        """
        local function text(key)
          if redis.call('TYPE', key).ok ~= 'string' then return false end
          return redis.call('GET', key)
        end
        local record = text(KEYS[1])
        local position = text(KEYS[2]) or '0'
        if not string.match(position, '^%d+$') or tonumber(position) >= 9007199254740991 then position = '0' end
        local isExpected = (ARGV[1] == '1' and record == ARGV[2]) or (ARGV[1] == '0' and not record)
        if not isExpected then return {string.match(record or '', '^(%x+) ') or '', position} end
        if redis.call('TYPE', KEYS[3]).ok == 'stream' then
          local last = redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1)
          if last[1] then
            local id = string.match(last[1][1], '^%d+')
            if tonumber(id) < 9007199254740991 and tonumber(id) > tonumber(position) then position = id end
          end
        end
        if tonumber(ARGV[6]) > tonumber(position) then position = ARGV[6] end
        redis.call('DEL', KEYS[3])
        redis.call('SET', KEYS[2], position)
        redis.call('SET', KEYS[1], ARGV[3] .. ' ' .. ARGV[4] .. ' ' .. ARGV[5])
        redis.call('PUBLISH', ARGV[7], ARGV[3] .. ' ' .. position)
        return {ARGV[3], position}
        """)

    /// KEYS: who reads a change feed, and its token. ARGV: the host (its number, followed by ` idle` if nobody reads there),
    /// the time for which it keeps the role (ms), and the token to store if it has the role. Without a token it wants the
    /// role, and gets it if there is no reader, or an idle one and it is not idle itself. Returns {1, token} or {0}.
    static let feed = RedisScript(
        .feed,
        """
        local holder = redis.call('GET', KEYS[1])
        local mine = holder and string.match(holder, '^%d+') == string.match(ARGV[1], '^%d+')
        if not mine then
          if ARGV[3] then return {0} end
          if holder and (not string.find(holder, ' ', 1, true) or string.find(ARGV[1], ' ', 1, true)) then
            return {0}
          end
        end
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        if not ARGV[3] then return {1, redis.call('GET', KEYS[2])} end
        redis.call('SET', KEYS[2], ARGV[3], 'PX', 2592000000)
        return {1}
        """)

    /// KEYS: that of a value; ARGV: the length of the longest value to send. Returns {time to live in ms, value}, or
    /// {time to live in ms, its length} if it is longer, or {-2, false}: there is no value that can expire.
    ///
    /// One script for both: with two commands, the second could concern another value than the first, and combine an
    /// old value with the time to live of its successor, or a new one with that of its predecessor. A user that may not
    /// run STRLEN gets every value.
    static let get = RedisScript(
        .get,
        """
        local ttl = redis.call('PTTL', KEYS[1])
        if ttl <= 0 then return {-2, false} end
        local length = redis.pcall('STRLEN', KEYS[1])
        if type(length) == 'number' and length > tonumber(ARGV[1]) then return {ttl, length} end
        return {ttl, redis.call('GET', KEYS[1])}
        """)
}
