-- Every request asks for something that no cache holds.
local number = 0

function request()
  number = number + 1
  return wrk.format("GET", wrk.path .. "?unique=" .. number)
end
