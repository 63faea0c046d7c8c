-- The generic cell rate algorithm. The key holds when all that was spent is free again, in microseconds of the server's
-- clock, and lives until then.
--
-- KEYS[1]  the key
-- ARGV[1]  the time in which one more becomes free, in microseconds
-- ARGV[2]  how many may come at once
-- ARGV[3]  1 to spend, 0 to ask
--
-- Returns 0, or for how many microseconds to wait.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local every = tonumber(ARGV[1])
local free_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + every
local wait = free_at - (now + every * tonumber(ARGV[2]))
if wait > 0 then
    return wait
end
if ARGV[3] == '1' then
    -- Lua would write so large a number with an exponent, and lose digits.
    redis.call('SET', KEYS[1], string.format('%.0f', free_at), 'PX', math.ceil((free_at - now) / 1000))
end
return 0
