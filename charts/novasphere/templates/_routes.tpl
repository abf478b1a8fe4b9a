{{/*
Routes of the cluster's gateway to novasphere itself (`routes` in the values). The templates of all products walk through one table, so that a
role with HTTP of its own is one more row.

Each row: the role that answers, the name of its port, whether it speaks TLS, and the paths that lead there. A path stands for itself and for
all below it.
*/}}
{{- define "novasphere.routes.services" -}}
{{- if .Values.console.enabled -}}
- role: console
  targetPort: web
  tls: {{ not (dig "console" "http" "plain" false .Values.config) }}
  paths: [/console, /api/v1/console]
{{- end -}}
{{- end -}}

{{/* Port and scheme of a row, in the Service that routes lead to. */}}
{{- define "novasphere.routes.port" -}}{{ ternary 443 80 .tls }}{{- end -}}
{{- define "novasphere.routes.scheme" -}}{{ ternary "https" "http" .tls }}{{- end -}}

{{/* The Service that routes to a role lead to. */}}
{{- define "novasphere.routes.service" -}}
{{ include "novasphere.role.name" . }}-route
{{- end -}}

{{/* Whether the port of stock viewers has a route. */}}
{{- define "novasphere.routes.hasVnc" -}}
{{- if and .Values.routes.vnc .Values.console.enabled (dig "console" "vnc" "enabled" true .Values.config) -}}true{{- end -}}
{{- end -}}

{{/* The host name for browsers. In lower case: kube-apiserver takes no other in an Ingress or an HTTPRoute. */}}
{{- define "novasphere.routes.host" -}}
{{- .Values.routes.host | default (urlParse (dig "endpoints" "publicUrl" "" .Values.config | default "")).hostname | lower -}}
{{- end -}}

{{- define "novasphere.routes.labels" -}}
{{ include "novasphere.labels" . }}
app.kubernetes.io/component: route
{{- with .Values.routes.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, namespace and labels of an object of routes: a dict with `root`, `name` (what comes behind the release's) and perhaps `annotations`. */}}
{{- define "novasphere.routes.metadata" -}}
name: {{ include "novasphere.fullname" .root }}-{{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "novasphere.routes.labels" .root | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.routes.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Class of the objects, where the product knows classes. */}}
{{- define "novasphere.routes.class" -}}
{{- $defaults := dict "traefik" "" "kong" "kong" "nginx" "nginx" "gatewayApi" "" -}}
{{- .Values.routes.ingressClass | default (get $defaults .Values.routes.gateway) -}}
{{- end -}}

{{/* The Secret with the certificate for browsers; empty is the gateway's own. */}}
{{- define "novasphere.routes.tlsSecret" -}}
{{- with .Values.routes.tls -}}
{{- .secretName | default (ternary (printf "%s-route-tls" (include "novasphere.fullname" $)) "" (or (ne .issuer "") (ne .clusterIssuer ""))) -}}
{{- end -}}
{{- end -}}

{{/* A rule of Traefik for the host and these paths. */}}
{{- define "novasphere.routes.traefikRule" -}}
{{- $matches := list -}}
{{- range .paths -}}
{{- if ne . "/" }}{{- $matches = append $matches (printf "Path(`%s`)" .) }}{{- end -}}
{{- $matches = append $matches (printf "PathPrefix(`%s/`)" (trimSuffix "/" .)) -}}
{{- end -}}
Host(`{{ .host }}`) && ({{ join " || " $matches }})
{{- end -}}

{{/* What no product, or not this one, can do. */}}
{{- define "novasphere.routes.checks" -}}
{{- $routes := .Values.routes -}}
{{- with $routes.gateway -}}
{{- if not (include "novasphere.routes.services" $ | fromYamlArray) -}}
{{- fail "routes.gateway: no role answers browsers, so there is nothing to lead to; set console.enabled, or empty routes.gateway" -}}
{{- end -}}
{{- if not (include "novasphere.routes.host" $) -}}
{{- fail "routes.host: the host name for browsers is not known; set it, or config.endpoints.publicUrl" -}}
{{- end -}}
{{- $host := include "novasphere.routes.host" $ -}}
{{- if regexMatch "^[0-9.]+$|:" $host -}}
{{- if or (ne . "traefik") (contains ":" $host) $routes.tls.issuer $routes.tls.clusterIssuer -}}
{{- fail (printf "routes.host: %s is an address, and these routes or their certificate are for a name alone; give a DNS name here or in config.endpoints.publicUrl" $host) -}}
{{- end -}}
{{- end -}}
{{- if trimAll "/" (urlParse (dig "endpoints" "publicUrl" "" $.Values.config | default "")).path -}}
{{- fail "routes.gateway: config.endpoints.publicUrl has a path, and routes lead to the root of a host; use a host without a path, or routes of your own" -}}
{{- end -}}
{{- if dig "console" "http" "proxyProtocol" false $.Values.config -}}
{{- fail "config.console.http.proxyProtocol: the gateway of routes.gateway speaks HTTP and sends X-Forwarded-For, no PROXY protocol; remove the setting" -}}
{{- end -}}
{{- if and (eq . "traefik") (not (dig "console" "http" "plain" false $.Values.config)) (dig "console" "tls" "certificateFile" "" $.Values.config) (eq $routes.traefik.caSecretName "novasphere-ca") -}}
{{- fail "routes.traefik.caSecretName: the certificate of config.console.tls.certificateFile is not of novasphere's own authority; name a Secret that has its issuer as ca.crt, and a name that it is for in routes.traefik.serverName" -}}
{{- end -}}
{{- if ne . "traefik" -}}
{{- range $row := include "novasphere.routes.services" $ | fromYamlArray -}}
{{- if $row.tls -}}
{{- fail (printf "routes.gateway: %s cannot be told novasphere's own authority; set config.%s.http.plain: true and let networkPolicy.consoleFrom admit the gateway alone" $routes.gateway $row.role) -}}
{{- end -}}
{{- end -}}
{{- with $routes.tls.certResolver -}}
{{- fail "routes.tls.certResolver: only Traefik has such; set routes.tls.issuer or clusterIssuer (cert-manager), or secretName" -}}
{{- end -}}
{{- end -}}
{{- if has . (list "kong" "gatewayApi") -}}
{{- with $routes.forwardAuth.address -}}
{{- fail (printf "routes.forwardAuth.address: %s has no rule that asks another service; remove it, or use traefik or nginx" $routes.gateway) -}}
{{- end -}}
{{- end -}}
{{- if eq . "gatewayApi" -}}
{{- if not $routes.gatewayApi.gateway -}}
{{- fail "routes.gatewayApi.gateway: name the Gateway that the routes belong to" -}}
{{- end -}}
{{- if $routes.allowedSourceRanges -}}
{{- fail "routes.allowedSourceRanges: Gateway API has no such rule; remove it, and let sessions say who may enter (allowedSourceRanges of a ConsoleSession)" -}}
{{- end -}}
{{- if $routes.rateLimit.enabled -}}
{{- fail "routes.rateLimit.enabled: Gateway API has no such rule; use the gateway's own policies" -}}
{{- end -}}
{{- if include "novasphere.routes.tlsSecret" $ -}}
{{- fail "routes.tls: the listener of the Gateway has the certificate; remove these settings" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A parent of Gateway API: a dict with `parent` and `listener`. */}}
{{- define "novasphere.routes.parent" -}}
{name: {{ .parent.gateway }}{{ with .parent.namespace }}, namespace: {{ . }}{{ end }}, sectionName: {{ .listener }}}
{{- end -}}

{{/* The spec of an Ingress. */}}
{{- define "novasphere.routes.ingressSpec" -}}
{{- $host := include "novasphere.routes.host" . -}}
ingressClassName: {{ include "novasphere.routes.class" . }}
tls:
  - hosts: [{{ $host }}]
    {{- with include "novasphere.routes.tlsSecret" . }}
    secretName: {{ . }}
    {{- end }}
rules:
  - host: {{ $host }}
    http:
      paths:
        {{- range $row := include "novasphere.routes.services" . | fromYamlArray }}
        {{- range $row.paths }}
        - path: {{ . }}
          pathType: Prefix
          backend:
            service:
              name: {{ include "novasphere.routes.service" (dict "root" $ "role" $row.role) }}
              port:
                number: {{ include "novasphere.routes.port" $row }}
        {{- end }}
        {{- end }}
{{- end -}}
