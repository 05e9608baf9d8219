{{/* What the controller may do where Releases are. */}}
{{- define "haldane.rules" -}}
- apiGroups: [haldane.dev]
  resources: [releases]
  verbs: [get, list, watch, update, patch]
- apiGroups: [haldane.dev]
  resources: [releases/status]
  verbs: [get, update, patch]
# A canary may be a Deployment of its own, with a Service of its own.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
{{- if .Values.workloads.statefulSets }}
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .Values.workloads.daemonSets }}
- apiGroups: [apps]
  resources: [daemonsets]
  verbs: [get, list, watch, update, patch]
{{- end }}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- with .Values.routers }}
{{- if .gatewayApi }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes, grpcroutes, tlsroutes, tcproutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .istio }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .ingress }}
# NGINX takes the canary's share from an Ingress of its own.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- if .linkerd }}
- apiGroups: [policy.linkerd.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- if .smi }}
- apiGroups: [split.smi-spec.io]
  resources: [trafficsplits]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- if .contour }}
- apiGroups: [projectcontour.io]
  resources: [httpproxies]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .traefik }}
- apiGroups: [traefik.io]
  resources: [traefikservices, ingressroutes]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
