{{/*
Parts that the roles console and apiserver share. Each takes a dict with
`root` (the chart's context) and `role` (the role's name in the values).
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

{{- define "novasphere.console.name" -}}
{{ include "novasphere.role.name" (dict "root" . "role" "console") }}
{{- end -}}

{{- define "novasphere.console.serviceAccountName" -}}
{{ include "novasphere.role.serviceAccountName" (dict "root" . "role" "console") }}
{{- end -}}

{{- define "novasphere.console.labels" -}}
{{ include "novasphere.role.labels" (dict "root" . "role" "console") }}
{{- end -}}

{{- define "novasphere.apiserver.name" -}}
{{ include "novasphere.role.name" (dict "root" . "role" "apiserver") }}
{{- end -}}

{{- define "novasphere.apiserver.serviceAccountName" -}}
{{ include "novasphere.role.serviceAccountName" (dict "root" . "role" "apiserver") }}
{{- end -}}

{{- define "novasphere.apiserver.labels" -}}
{{ include "novasphere.role.labels" (dict "root" . "role" "apiserver") }}
{{- end -}}

{{/* The port of an address such as 0.0.0.0:8443, or the default. */}}
{{- define "novasphere.port" -}}
{{- $address := default "" .address -}}
{{- if $address -}}{{ regexFind "[0-9]+$" $address }}{{- else -}}{{ .default }}{{- end -}}
{{- end -}}

{{- define "novasphere.console.webPort" -}}
{{ include "novasphere.port" (dict "address" (dig "console" "http" "address" "" .Values.config) "default" "8443") }}
{{- end -}}

{{- define "novasphere.console.vncPort" -}}
{{ include "novasphere.port" (dict "address" (dig "console" "vnc" "address" "" .Values.config) "default" "5900") }}
{{- end -}}

{{- define "novasphere.apiserver.port" -}}
{{ include "novasphere.port" (dict "address" (dig "apiserver" "address" "" .Values.config) "default" "9443") }}
{{- end -}}

{{/*
The configuration file: the value `config`, and the names of Services that a
release of another name has.
*/}}
{{- define "novasphere.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $service := include "novasphere.apiserver.name" . -}}
{{- if ne $service "novasphere-apiserver" -}}
{{- $apiserver := merge (default dict $config.apiserver) (dict "serviceName" $service) -}}
{{- $_ := set $config "apiserver" $apiserver -}}
{{- end -}}
{{- $service = include "novasphere.console.name" . -}}
{{- if ne $service "novasphere-console" -}}
{{- $console := default dict $config.console -}}
{{- $tls := default dict $console.tls -}}
{{- $name := printf "%s.%s.svc" $service .Release.Namespace -}}
{{- $_ := set $tls "names" (append (default list $tls.names) $name | uniq) -}}
{{- $_ := set $console "tls" $tls -}}
{{- $_ := set $config "console" $console -}}
{{- end -}}
{{- toJson $config -}}
{{- end -}}

{{/* The Deployment; `ports` is a list of {name, containerPort}. */}}
{{- define "novasphere.role.deployment" -}}
{{- $values := index .root.Values .role -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "novasphere.role.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "novasphere.role.labels" . | nindent 4 }}
spec:
  replicas: {{ $values.replicas }}
  selector:
    matchLabels:
      {{- include "novasphere.role.selectorLabels" . | nindent 6 }}
  template:
    metadata:
      annotations:
        # New configuration, new Pods.
        novasphere.io/config-sha256: {{ include "novasphere.config" .root | sha256sum }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      labels:
        {{- include "novasphere.role.selectorLabels" . | nindent 8 }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "novasphere.role.serviceAccountName" . }}
      automountServiceAccountToken: true
      terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
      securityContext:
        {{- toYaml $values.podSecurityContext | nindent 8 }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if $values.topologySpread.enabled }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: {{ $values.topologySpread.topologyKey }}
          whenUnsatisfiable: {{ $values.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels:
              {{- include "novasphere.role.selectorLabels" . | nindent 14 }}
      {{- end }}
      containers:
        - name: {{ .role }}
          image: {{ include "novasphere.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [--config=/etc/novasphere/config.yaml, {{ .role }}]
          {{- with $values.env }}
          env:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            - name: http
              containerPort: 8080
            {{- toYaml .ports | nindent 12 }}
          livenessProbe:
            {{- toYaml $values.livenessProbe | nindent 12 }}
          readinessProbe:
            {{- toYaml $values.readinessProbe | nindent 12 }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- toYaml $values.securityContext | nindent 12 }}
          volumeMounts:
            - name: config
              mountPath: /etc/novasphere
              readOnly: true
            {{- with $values.volumeMounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
      volumes:
        - name: config
          configMap:
            name: {{ include "novasphere.fullname" .root }}-config
        {{- with $values.volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
{{- end -}}

{{- define "novasphere.role.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "novasphere.role.serviceAccountName" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "novasphere.role.labels" . | nindent 4 }}
  {{- with (index .root.Values .role).serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end -}}

{{- define "novasphere.role.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "novasphere.role.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "novasphere.role.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ (index .root.Values .role).podDisruptionBudget.maxUnavailable }}
  # A Pod that is not ready must not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "novasphere.role.selectorLabels" . | nindent 6 }}
{{- end -}}

{{- define "novasphere.role.metricsService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "novasphere.role.name" . }}-metrics
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "novasphere.role.labels" . | nindent 4 }}
  {{- with .root.Values.metrics.service.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # Each Pod is a target of its own.
  clusterIP: None
  selector:
    {{- include "novasphere.role.selectorLabels" . | nindent 4 }}
  ports:
    # Not as the port of a Service for users may be called: a ServiceMonitor finds both by their labels.
    - name: metrics
      port: 8080
      targetPort: http
{{- end -}}

{{- define "novasphere.role.serviceMonitor" -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: {{ include "novasphere.role.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "novasphere.role.labels" . | nindent 4 }}
    {{- with .root.Values.metrics.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "novasphere.role.selectorLabels" . | nindent 6 }}
  endpoints:
    - port: metrics
      path: /metrics
      interval: {{ .root.Values.metrics.serviceMonitor.interval }}
{{- end -}}

{{/* The NetworkPolicy; `names` are the container ports beside that of health and metrics. */}}
{{- define "novasphere.role.networkPolicy" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ include "novasphere.role.name" . }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "novasphere.role.labels" . | nindent 4 }}
spec:
  podSelector:
    matchLabels:
      {{- include "novasphere.role.selectorLabels" . | nindent 6 }}
  # Out it needs the API server, whose address a policy cannot name portably,
  # and a console also the VNC servers of guests.
  policyTypes: [Ingress]
  ingress:
    - ports:
        - protocol: TCP
          port: http
        {{- range .names }}
        - protocol: TCP
          port: {{ . }}
        {{- end }}
{{- end -}}
