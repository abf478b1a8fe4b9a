{{/*
Names and labels of one role. Each takes a dict with `root` (the chart's
context) and `role` (the role's name in the values).
*/}}

{{- define "novasphere.role.name" -}}
{{ include "novasphere.fullname" .root }}-{{ .role }}
{{- end -}}

{{- define "novasphere.role.serviceAccountName" -}}
{{- $account := (index .root.Values .role).serviceAccount -}}
{{- if $account.create -}}
{{- default (include "novasphere.role.name" .) $account.name -}}
{{- else -}}
{{- default "default" $account.name -}}
{{- end -}}
{{- end -}}

{{- define "novasphere.role.selectorLabels" -}}
{{ include "novasphere.selectorLabels" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "novasphere.role.labels" -}}
{{ include "novasphere.labels" .root }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{/* The user that kube-apiserver sees when a Pod of the role calls it. */}}
{{- define "novasphere.role.user" -}}
system:serviceaccount:{{ .root.Release.Namespace }}:{{ include "novasphere.role.serviceAccountName" . }}
{{- end -}}

{{/* A CEL list: the users of those roles among `roles` that are installed. */}}
{{- define "novasphere.roles.users" -}}
{{- $users := list -}}
{{- range $role := include "novasphere.roles" .root | fromYamlArray -}}
{{- if has $role.name $.roles -}}
{{- $users = append $users (include "novasphere.role.user" (dict "root" $.root "role" $role.name) | squote) -}}
{{- end -}}
{{- end -}}
[{{ join ", " $users }}]
{{- end -}}

{{/* A CEL expression: whether a request comes from one of the roles that are installed. */}}
{{- define "novasphere.roles.isUser" -}}
request.userInfo.username in {{ include "novasphere.roles.users" (dict "root" . "roles" (list "controller" "console" "apiserver")) }}
{{- end -}}

{{/* The Secret with the certificate that cert-manager issues for a role; empty when it issues none. */}}
{{- define "novasphere.role.certificate" -}}
{{- $certificates := .root.Values.certManager -}}
{{- if and $certificates.enabled (or (eq .role "console") (and (eq .role "apiserver") $certificates.apiserver)) -}}
{{ include "novasphere.role.name" . }}-certificate
{{- end -}}
{{- end -}}
