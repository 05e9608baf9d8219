-- Sends all traffic back to stable and ends the rollout. Haldane carries out a command once for each id.
local at = os.date("!%Y-%m-%dT%H:%M:%SZ")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["haldane.dev/command"] =
  '{"id": "argocd-abort-' .. at .. '", "name": "abort", "by": "argocd", "at": "' .. at .. '"}'
return obj
