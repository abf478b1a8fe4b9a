{{- define "novasphere.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release. The network policies of desktops know gateways by the name. */}}
{{- define "novasphere.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "novasphere.labels" -}}
{{ include "novasphere.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "novasphere.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The port of an address such as 0.0.0.0:8443, or the default. */}}
{{- define "novasphere.port" -}}
{{- $address := default "" .address -}}
{{- if $address -}}{{ regexFind "[0-9]+$" $address }}{{- else -}}{{ .default }}{{- end -}}
{{- end -}}

{{/* The one namespace whose sessions gateways serve; empty is all. It may have its old name. */}}
{{- define "novasphere.gateway.watchNamespace" -}}
{{- (.Values.config.gateway).watchNamespace | default (.Values.config.console).watchNamespace | default "" -}}
{{- end -}}

{{/*
The configuration file: the value `config`, and the names of Services that a
release of another name has.
*/}}
{{- define "novasphere.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $service := include "novasphere.role.name" (dict "root" . "role" "apiserver") -}}
{{- if ne $service "novasphere-apiserver" -}}
{{- $apiserver := merge (default dict $config.apiserver) (dict "serviceName" $service) -}}
{{- $_ := set $config "apiserver" $apiserver -}}
{{- end -}}
{{- range $role := list "console" "api" -}}
{{- $service := include "novasphere.role.name" (dict "root" $ "role" $role) -}}
{{- if and (index $.Values $role).enabled (ne $service (printf "novasphere-%s" $role)) -}}
{{- $section := default dict (index $config $role) -}}
{{- $tls := default dict $section.tls -}}
{{- $name := printf "%s.%s.svc" $service $.Release.Namespace -}}
{{- $_ := set $tls "names" (append (default list $tls.names) $name | uniq) -}}
{{- $_ := set $section "tls" $tls -}}
{{- $_ := set $config $role $section -}}
{{- end -}}
{{- end -}}
{{- range $role := list "console" "apiserver" -}}
{{- if include "novasphere.role.certificate" (dict "root" $ "role" $role) -}}
{{- $section := default dict (index $config $role) -}}
{{- $folder := include "novasphere.certificate.folder" $ -}}
{{- $files := dict "certificateFile" (printf "%s/tls.crt" $folder) "keyFile" (printf "%s/tls.key" $folder) -}}
{{- $_ := set $section "tls" (merge $files (default dict $section.tls)) -}}
{{- $_ := set $config $role $section -}}
{{- end -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* Where the certificate of cert-manager is in the container of a role. */}}
{{- define "novasphere.certificate.folder" -}}
/etc/novasphere-certificate
{{- end -}}

{{/* The address of the console's Service in the cluster, as a URL. */}}
{{- define "novasphere.console.url" -}}
{{- $plain := dig "console" "http" "plain" false .Values.config -}}
{{- $host := printf "%s.%s.svc" (include "novasphere.role.name" (dict "root" . "role" "console")) .Release.Namespace -}}
{{ ternary "http" "https" $plain }}://{{ $host }}:{{ default (ternary 80 443 $plain) .Values.console.service.webPort }}
{{- end -}}

{{/*
The Secret whose ca.crt signed the certificate of the console gateway; empty when nobody says which that is.
*/}}
{{- define "novasphere.tests.authority" -}}
{{- if .Values.tests.authoritySecret -}}
{{ .Values.tests.authoritySecret }}
{{- else if .Values.certManager.enabled -}}
{{ include "novasphere.role.certificate" (dict "root" . "role" "console") }}
{{- else if not (dig "console" "tls" "certificateFile" "" .Values.config) -}}
novasphere-ca
{{- end -}}
{{- end -}}

{{/* Not empty when `helm test` has something to look at. */}}
{{- define "novasphere.tests.run" -}}
{{- $plain := dig "console" "http" "plain" false .Values.config -}}
{{- if and .Values.tests.enabled .Values.console.enabled (or $plain (include "novasphere.tests.authority" .)) -}}
true
{{- end -}}
{{- end -}}

{{/* What gets a release ready to be removed: its Job, account and roles. */}}
{{- define "novasphere.uninstall.name" -}}
{{ include "novasphere.fullname" . }}-uninstall
{{- end -}}

{{/* Not empty when it does so: its account needs rights. */}}
{{- define "novasphere.uninstall.run" -}}
{{- if and .Values.uninstall.enabled .Values.rbac.create -}}
true
{{- end -}}
{{- end -}}

{{/* The annotations of its objects, which are there as long as it runs. Takes the weight: they are made in its order. */}}
{{- define "novasphere.uninstall.hook" -}}
helm.sh/hook: pre-delete
helm.sh/hook-weight: {{ . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
