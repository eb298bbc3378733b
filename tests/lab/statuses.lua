-- For wrk: counts every answer that is not 2xx and every connection trouble, and prints one line at the end:
-- `requests N bad N connect N read N write N timeout N`.
local threads = {}

function setup(thread)
  thread:set("bad", 0)
  table.insert(threads, thread)
end

function response(status)
  if status < 200 or status > 299 then
    bad = bad + 1
  end
end

function done(summary)
  local all = 0
  for _, thread in ipairs(threads) do
    all = all + thread:get("bad")
  end
  local errors = summary.errors
  io.write(string.format("requests %d bad %d connect %d read %d write %d timeout %d\n", summary.requests, all,
    errors.connect, errors.read, errors.write, errors.timeout))
end
