{{/* What the controller may do where Releases are. */}}
{{- define "haldane.rules" -}}
- apiGroups: [haldane.dev]
  resources: [releases]
  verbs: [get, list, watch, update, patch]
- apiGroups: [haldane.dev]
  resources: [releases/status]
  verbs: [get, update, patch]
- apiGroups: [haldane.dev]
  resources: [releasegroups]
  verbs: [get, list, watch]
- apiGroups: [haldane.dev]
  resources: [releasegroups/status]
  verbs: [get, update, patch]
# Where owners of objects are protected, whoever makes an object that belongs to a Release needs this.
- apiGroups: [haldane.dev]
  resources: [releases/finalizers]
  verbs: [update]
# A canary may be a Deployment of its own, with a Service of its own.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
# Why a canary does not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
{{- if .Values.workloads.statefulSets }}
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, update, patch]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch]
# The pods of a version that is taken back are deleted; Kubernetes makes them anew.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
{{- end }}
{{- if .Values.gates.jobs }}
# Gates that are Jobs are made of the CronJobs of a Release's namespace.
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get, list, watch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
{{- end }}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, update, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- with .Values.routers }}
{{- if or .gateway .linkerd }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .gateway }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [grpcroutes, tcproutes, tlsroutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .linkerd }}
- apiGroups: [policy.linkerd.io]
  resources: [httproutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .istio }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices, destinationrules]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if or .nginx .alb .skipper }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .nginx }}
# The canary's.
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [create, delete]
{{- end }}
{{- if .smi }}
- apiGroups: [split.smi-spec.io]
  resources: [trafficsplits]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .ambassador }}
- apiGroups: [getambassador.io]
  resources: [mappings]
  verbs: [get, list, watch, create, update, patch, delete]
{{- end }}
{{- if .apisix }}
- apiGroups: [apisix.apache.org]
  resources: [apisixroutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .consul }}
- apiGroups: [consul.hashicorp.com]
  resources: [servicesplitters, serviceresolvers, servicerouters]
  verbs: [get, list, watch, update, patch]
- apiGroups: [consul.hashicorp.com]
  resources: [servicerouters]
  verbs: [create, delete]
{{- end }}
{{- if .contour }}
- apiGroups: [projectcontour.io]
  resources: [httpproxies]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .gloo }}
- apiGroups: [gateway.solo.io]
  resources: [routetables, virtualservices]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .knative }}
- apiGroups: [serving.knative.dev]
  resources: [services, routes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .kuma }}
- apiGroups: [kuma.io]
  resources: [meshhttproutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .skipper }}
- apiGroups: [zalando.org]
  resources: [routegroups]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- if .traefik }}
- apiGroups: [traefik.io]
  resources: [traefikservices, ingressroutes]
  verbs: [get, list, watch, update, patch]
{{- end }}
{{- end }}
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
