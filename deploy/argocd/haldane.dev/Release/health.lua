-- Health of a Release: Healthy when nothing goes on and all is well, Progressing during a rollout, Suspended when it waits for a
-- person, Degraded when a rollout was taken back or failed. Needs none of Lua's libraries.
local function health(status, message)
  return { status = status, message = message }
end

if obj.spec ~= nil and obj.spec.suspend == true then
  return health("Suspended", "Haldane leaves everything as it is: spec.suspend is true")
end

local status = obj.status
if status == nil or status.phase == nil or status.phase == "" then
  return health("Progressing", "Haldane has not looked at it yet")
end

local generation = obj.metadata.generation
if status.observedGeneration ~= nil and generation ~= nil and status.observedGeneration ~= generation then
  return health("Progressing", "Haldane has not looked at the newest spec yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local message = status.message or ""
local function is(name)
  return conditions[name] ~= nil and conditions[name].status == "True"
end

if is("Stalled") then
  return health("Degraded", conditions["Stalled"].message or message)
end
if status.phase == "RolledBack" or status.phase == "Failed" then
  return health("Degraded", message)
end
if status.phase == "Paused" then
  return health("Suspended", message)
end
if is("Ready") then
  return health("Healthy", message)
end
return health("Progressing", message)
