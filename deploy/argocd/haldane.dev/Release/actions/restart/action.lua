-- Replaces the canary's pods by new ones of the same version. Haldane carries out a command once for each id.
local at = os.date("!%Y-%m-%dT%H:%M:%SZ")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["haldane.dev/command"] =
  '{"id": "argocd-restart-' .. at .. '", "name": "restart", "by": "argocd", "at": "' .. at .. '"}'
return obj
