-- The commands that make sense in the phase of a Release.
local phase = ""
if obj.status ~= nil and obj.status.phase ~= nil then
  phase = obj.status.phase
end

local live = { Pending = true, Preparing = true, Progressing = true, Paused = true, Promoting = true }
local lost = { RolledBack = true, Failed = true }

local function when(is_possible)
  return { disabled = not is_possible }
end

local actions = {}
actions["promote"] = when(live[phase] == true)
actions["promote-full"] = when(live[phase] == true)
actions["pause"] = when(live[phase] == true and phase ~= "Paused")
actions["resume"] = when(phase == "Paused")
actions["abort"] = when(live[phase] == true)
actions["restart"] = when(live[phase] == true)
actions["retry"] = when(lost[phase] == true)
actions["undo"] = when(phase == "Completed")
return actions
