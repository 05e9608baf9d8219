-- Ends a pause. Haldane carries out a command once for each id.
local at = os.date("!%Y-%m-%dT%H:%M:%SZ")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["haldane.dev/command"] =
  '{"id": "argocd-resume-' .. at .. '", "name": "resume", "by": "argocd", "at": "' .. at .. '"}'
return obj
