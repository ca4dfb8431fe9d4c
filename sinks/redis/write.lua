-- Stores a batch of events and the positions that move with them; all keys share one hash slot.
-- KEYS: 1 stream, 2 positions, 3 ids, 4 latest (prefix of the hashes), 5 channel
-- ARGV: 1 stream cap, 2 ids to remember, 3 count of partitions, 4 count of events, then per partition: name, from, next, quiet;
--       then per event: index of its partition, offset, id, event time (19 digits), latest key, type, severity, status, symbol, json
-- Returns: 0 (or 1 + index of a partition that stands elsewhere: nothing was written), written, duplicates.
-- A batch is all or nothing: Redis runs a script to its end with no other command in between.
local cap, remember, partitions, events = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local at = 5
local standing, quiet = {}, {}
for i = 1, partitions do
  local stored = redis.call('HGET', KEYS[2], ARGV[at])
  -- A position that is gone, or behind, means that Redis lost data; one that is ahead means that this batch was written.
  if not stored or tonumber(stored) < tonumber(ARGV[at + 1]) then return {i, 0, 0} end
  standing[i], quiet[i] = tonumber(stored), tonumber(ARGV[at + 3])
  at = at + 4
end
local written, duplicates = 0, 0
for _ = 1, events do
  local p, offset = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local id, time, latest = ARGV[at + 2], ARGV[at + 3], KEYS[4] .. ARGV[at + 4]
  local type, severity, status, symbol, json = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7], ARGV[at + 8], ARGV[at + 9]
  at = at + 10
  if offset < standing[p] or redis.call('ZSCORE', KEYS[3], id) then
    duplicates = duplicates + 1
  else
    written = written + 1
    local count = redis.call('HINCRBY', KEYS[2], 'written', 1)
    redis.call('ZADD', KEYS[3], count, id)
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', cap, '*', 'id', id, 'type', type, 'severity', severity, 'status', status, 'symbol', symbol, 'event', json)
    local before = redis.call('HGET', latest, 'event_time')
    -- Both have 19 digits, so the order of texts is the order of times; a double would not hold nanoseconds.
    if not before or time >= before then
      redis.call('HSET', latest, 'event_time', time, 'id', id, 'type', type, 'severity', severity, 'status', status, 'symbol', symbol, 'event', json)
    end
    -- A rebuild does not announce again what subscribers have heard.
    if offset >= quiet[p] then redis.call('PUBLISH', KEYS[5], json) end
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, -remember - 1)
at = 5
for i = 1, partitions do
  if tonumber(ARGV[at + 2]) > standing[i] then redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 2]) end
  at = at + 4
end
return {0, written, duplicates}
