{{/*
Parts of the admission policies that bound what novasphere's own accounts may write.
*/}}

{{/*
Not empty when these policies are installed: they are wanted, and the controller has an account of its own. Where one account serves
several roles, a policy cannot tell which of them writes.
*/}}
{{- define "novasphere.admission.boundsAccounts" -}}
{{- $gateways := list "console" "apiserver" -}}
{{- $controller := include "novasphere.role.user" (dict "root" . "role" "controller") | squote -}}
{{- if and .Values.admissionPolicy.enabled (not (contains $controller (include "novasphere.roles.users" (dict "root" . "roles" $gateways)))) -}}
true
{{- end -}}
{{- end -}}

{{/* The head of a policy. Takes a dict with `root` and `name`. */}}
{{- define "novasphere.admission.policy" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ include "novasphere.fullname" .root }}-{{ .name }}
  labels:
    {{- include "novasphere.labels" .root | nindent 4 }}
{{- end -}}

{{/* Its binding, for all namespaces: the policy names the accounts that it is about. The same dict. */}}
{{- define "novasphere.admission.binding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ include "novasphere.fullname" .root }}-{{ .name }}
  labels:
    {{- include "novasphere.labels" .root | nindent 4 }}
spec:
  policyName: {{ include "novasphere.fullname" .root }}-{{ .name }}
  validationActions: [Deny]
{{- end -}}

{{/* A condition of a policy: the request is of one of these roles. Takes a dict with `root` and `roles`. */}}
{{- define "novasphere.admission.isOf" -}}
request.userInfo.username in {{ include "novasphere.roles.users" . }}
{{- end -}}

{{/*
A CEL expression: whether an object was made for one of novasphere's. As the program sees it: a label that somebody took off is put back,
so one of its marks is enough. Takes `object` or `oldObject`.
*/}}
{{- define "novasphere.admission.isOurs" -}}
{{ . }}.metadata.?labels[?'app.kubernetes.io/managed-by'].orValue('') == 'novasphere' || {{ . }}.metadata.?labels[?'novasphere.io/owner-uid'].hasValue() || {{ . }}.metadata.?ownerReferences.orValue([]).exists(owner, owner.apiVersion.startsWith('novasphere.io/'))
{{- end -}}
