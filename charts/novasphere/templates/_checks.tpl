{{/*
What the program refuses when it starts and no schema says: settings that belong together, exclude each other or have an order.
`Configuration::check` is the other side, and hack/bad-values has examples.
*/}}
{{- define "novasphere.checks" -}}
{{- include "novasphere.routes.checks" . -}}
{{- $config := .Values.config -}}
{{- range $section := list "console" "apiserver" "api" -}}
{{- $tls := dig $section "tls" dict $config -}}
{{- if ne (empty $tls.certificateFile) (empty $tls.keyFile) -}}
{{- fail (printf "config.%s.tls: certificateFile and keyFile belong together; set both or none" $section) -}}
{{- end -}}
{{- end -}}
{{- if .Values.certManager.enabled -}}
{{- if not .Values.certManager.issuerRef.name -}}
{{- fail "certManager.issuerRef.name is empty; name the issuer that signs the certificates" -}}
{{- end -}}
{{- range $section := list "console" "apiserver" -}}
{{- if and (dig $section "tls" "certificateFile" "" $config) (include "novasphere.role.certificate" (dict "root" $ "role" $section)) -}}
{{- fail (printf "certManager.enabled and config.%s.tls.certificateFile name two certificates; remove one of them" $section) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.apiserver.apiService.caBundle (include "novasphere.role.certificate" (dict "root" . "role" "apiserver")) -}}
{{- fail "certManager writes apiserver.apiService.caBundle itself; remove it, or set certManager.apiserver to false" -}}
{{- end -}}
{{- end -}}
{{- with .Values.console.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- fail (printf "console.autoscaling: minReplicas is %d and maxReplicas %d; write maxReplicas not below minReplicas" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "watchNamespace" "wakeTimeout" "auditLog" "metricsPerSession" "drainGrace" -}}
{{- if and (hasKey (default dict $config.gateway) $name) (hasKey (default dict $config.console) $name) -}}
{{- fail (printf "config.gateway.%s and config.console.%s are the same setting; remove config.console.%s, its old name" $name $name $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $range := dig "controller" "workspaces" "nodePorts" dict $config -}}
{{- if gt (int $range.first) (int $range.last) -}}
{{- fail (printf "config.controller.workspaces.nodePorts.%s: first is %d and last %d; write last not below first" $name (int $range.first) (int $range.last)) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- $claims := list -}}
{{- $defaults := 0 -}}
{{- range $gateway := $config.gateways -}}
{{- $products := 0 -}}
{{- range $product := list "traefik" "kong" "gatewayApi" -}}
{{- if hasKey $gateway $product }}{{- $products = add1 $products }}{{- end -}}
{{- end -}}
{{- $source := "" -}}
{{- with $gateway.traefik }}{{- $source = printf "Service %s/%s" .namespace .service }}{{- end -}}
{{- with $gateway.kong }}{{- $source = printf "Service %s/%s" .namespace .service }}{{- end -}}
{{- with $gateway.gatewayApi }}{{- $source = printf "Gateway %s/%s" .namespace .gateway }}{{- end -}}
{{- range $point := compact (concat (default list $gateway.entryPoints) (list $gateway.tls $gateway.http $gateway.https)) -}}
{{- range $claim := list (printf "%s port %d" $source (int $point.port)) (printf "%s entry point %s" $source $point.name) -}}
{{- if has $claim $claims -}}
{{- fail (printf "config.gateways: %s has %s, which is named twice; name it once" $gateway.name $claim) -}}
{{- end -}}
{{- $claims = append $claims $claim -}}
{{- end -}}
{{- end -}}
{{- if and $gateway.kong (or $gateway.https $gateway.http) -}}
{{- $claim := printf "%s port for %s" $source (ternary "https" "http" (not (empty $gateway.https))) -}}
{{- if has $claim $claims -}}
{{- fail (printf "config.gateways: %s has a second %s, and what Kong gets for one answers on both; name one of them" $gateway.name $claim) -}}
{{- end -}}
{{- $claims = append $claims $claim -}}
{{- end -}}
{{- if ne (int $products) 1 -}}
{{- fail (printf "config.gateways: %s has to have exactly one of traefik, kong and gatewayApi" $gateway.name) -}}
{{- end -}}
{{- if has $gateway.name $names -}}
{{- fail (printf "config.gateways: two have the name %s" $gateway.name) -}}
{{- end -}}
{{- $names = append $names $gateway.name -}}
{{- if $gateway.default }}{{- $defaults = add1 $defaults }}{{- end -}}
{{- end -}}
{{- if gt (int $defaults) 1 -}}
{{- fail "config.gateways: two have default: true; a route that names none goes to one alone" -}}
{{- end -}}
{{- $proxies := dig "console" "trustedProxies" list $config -}}
{{- range $listener := list "http" "vnc" -}}
{{- if and (dig "console" $listener "proxyProtocol" false $config) (empty $proxies) -}}
{{- fail (printf "config.console.%s.proxyProtocol: no proxy is named that sends the header; name those that do in config.console.trustedProxies" $listener) -}}
{{- end -}}
{{- end -}}
{{- range $range := $proxies -}}
{{- include "novasphere.checkRange" (dict "setting" "config.console.trustedProxies" "range" $range) -}}
{{- end -}}
{{- end -}}

{{/* Fails for an IPv4 range with bits beyond its prefix: it is not clear whether one address or the range is meant. */}}
{{- define "novasphere.checkRange" -}}
{{- if contains "." .range -}}
{{- $parts := splitList "/" .range -}}
{{- $address := 0 -}}
{{- range $octet := splitList "." (first $parts) -}}
{{- $address = add (mul $address 256) (int $octet) -}}
{{- end -}}
{{- $size := 1 -}}
{{- range until (int (sub 32 (int (last $parts)))) -}}
{{- $size = mul $size 2 -}}
{{- end -}}
{{- if ne (mod $address $size) 0 -}}
{{- fail (printf "%s: %s has bits set beyond its prefix; end the address in zeros, or write /32 for one address" .setting .range) -}}
{{- end -}}
{{- end -}}
{{- end -}}
