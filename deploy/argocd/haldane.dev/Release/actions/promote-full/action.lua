-- Leaves out all further steps and promotes. Haldane carries out a command once for each id.
local at = os.date("!%Y-%m-%dT%H:%M:%SZ")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["haldane.dev/command"] =
  '{"id": "argocd-promote-full-' .. at .. '", "name": "promote", "by": "argocd", "at": "' .. at .. '", "full": true}'
return obj
