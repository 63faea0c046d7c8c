-- The generic cell rate algorithm. The key holds when all that was spent is free again, in microseconds of the server's
-- clock, and lives until then.
--
-- KEYS[1]  the key
-- ARGV[1]  the time in which one more becomes free, in microseconds
-- ARGV[2]  how many may come at once
-- ARGV[3]  how many were let through already and are spent in any case
-- ARGV[4]  how many must be free
-- ARGV[5]  how many to spend at most if they are; 0 to ask
--
-- Returns how many were spent of those that were asked for; for how many microseconds to wait if too few were free; and
-- in how many microseconds all is free again.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local every = tonumber(ARGV[1])
local owed = tonumber(ARGV[3])
local needed = tonumber(ARGV[4])
local free_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + owed * every
local most = now + every * tonumber(ARGV[2])
local wait = free_at + needed * every - most
local spent = 0
if wait <= 0 then
    wait = 0
    spent = math.min(tonumber(ARGV[5]), math.max(needed, math.floor((most - free_at) / every)))
    free_at = free_at + spent * every
end
if owed + spent > 0 then
    -- Lua would write so large a number with an exponent, and lose digits.
    redis.call('SET', KEYS[1], string.format('%.3f', free_at), 'PX', math.ceil((free_at - now) / 1000))
end
return { spent, math.ceil(wait), math.ceil(free_at - now) }
