{{/* The name of everything that is installed. */}}
{{- define "haldane.name" -}}
{{- if contains "haldane" .Release.Name -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-haldane" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "haldane.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (ternary (include "haldane.name" .) "default" .Values.serviceAccount.create) }}
{{- end -}}

{{/* What selects the controller's pods: never changed, since a Deployment's selector can't be. */}}
{{- define "haldane.selector" -}}
app.kubernetes.io/name: haldane
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "haldane.labels" -}}
{{ include "haldane.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: haldane
{{- end -}}
