"""The Lua scripts of the consumer loop: what has to happen to a stream in one step. Knows no message and no Python.

They run on Redis >= 6.2 in effects replication (the default since 5.0). KEYS[1] is always the stream, ARGV[1] the
group. They are written for one Redis, not for Redis Cluster, whose slots would keep the streams apart.
"""

# Acknowledge and delete an entry and, only if that acknowledgement counted, write its outputs.
#
# KEYS: stream, one per deletion, one per output.
# ARGV: group, id, number of deletions, their ids …,
#       then per output: longest its stream may be (0: unbounded), number of values, values …
# Answers {1, trimmed of the first output's stream} when it was settled; {0, 0} when it was settled before.
#
# The acknowledgement comes first on purpose: once a script has written, a full Redis (noeviction) no longer refuses
# its XADD, so the large input makes room for the small output. MULTI would be refused for ever.
#
# An acknowledgement that does not count has two causes: someone else settled the entry (nothing is left to do), or
# Redis lost its last writes (it was replaced, or restarted from an older file). Lost is an entry that is no longer in
# the stream although the group never came as far as it: nobody will see it again, so the work in hand is written.
SETTLE = """
local stream, group, id = KEYS[1], ARGV[1], ARGV[2]
local deletions = tonumber(ARGV[3])

local function parts(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end

local function was_rolled_back()
  if redis.call('EXISTS', stream) == 0 then return true end
  if #redis.call('XRANGE', stream, id, id) > 0 then return false end
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
    if facts['name'] == group then
      local last_ms, last_seq = parts(facts['last-delivered-id'])
      local ms, seq = parts(id)
      return last_ms < ms or (last_ms == ms and last_seq < seq)
    end
  end
  return true
end

for i = 2, #KEYS do  -- a script that fails half-way is not rolled back: look before the first write
  local kind = redis.call('TYPE', KEYS[i])['ok']
  if kind ~= 'stream' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' holds a ' .. kind .. ', wanted a stream')
  end
end
if redis.call('XACK', stream, group, id) == 0 and not was_rolled_back() then return {0, 0} end
redis.call('XDEL', stream, id)
local at = 4
for i = 1, deletions do
  redis.call('XDEL', KEYS[1 + i], ARGV[at])
  at = at + 1
end
local trimmed = 0
for i = 2 + deletions, #KEYS do
  local longest, count = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  redis.call('XADD', KEYS[i], '*', unpack(ARGV, at + 2, at + 1 + count))
  at = at + 2 + count
  if longest > 0 then
    local cut = redis.call('XTRIM', KEYS[i], 'MAXLEN', longest)
    if i == 2 + deletions then trimmed = cut end
  end
end
return {1, trimmed}
"""

# Make entries that this consumer holds look just delivered; leave alone what another one took over meanwhile.
#
# ARGV: group, consumer, delivery count to set (empty: keep), ids …   Answers how many it still holds.
TOUCH = """
local held = 0
for i = 4, #ARGV do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1)[1]
  if row and row[2] == ARGV[2] then
    held = held + 1
    if ARGV[3] == '' then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', 0, 'JUSTID')
    else
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', 0, 'RETRYCOUNT', ARGV[3], 'JUSTID')
    end
  end
end
return held
"""

# Remove consumers that have nothing in hand and did not ask for long: replicas that are gone. In one step, since a
# consumer that is removed while it holds entries takes their delivery state with it and they are never seen again.
#
# ARGV: group, this consumer, idle milliseconds, most to remove.   Answers how many were removed.
FORGET = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local removed = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
  if removed < tonumber(ARGV[4]) and facts['name'] ~= ARGV[2] and facts['pending'] == 0
      and facts['idle'] >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts['name'])
    removed = removed + 1
  end
end
return removed
"""
