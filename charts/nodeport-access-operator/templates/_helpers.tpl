{{/*
Names do not depend on the release's: two operators for the same namespaces would undo each other's work, and so Helm
refuses to install the second.
*/}}

{{- define "nodeport-access-operator.labels" -}}
app.kubernetes.io/name: nodeport-access-operator
{{- end }}

{{- define "nodeport-access-operator.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary "nodeport-access-operator" "default") }}
{{- end }}

{{- define "nodeport-access-operator.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{/* Whether more than one replica runs, of which the holder of a Lease works. */}}
{{- define "nodeport-access-operator.elects" -}}
{{- if gt (int .Values.replicas) 1 }}true{{ end -}}
{{- end }}

{{/* What no schema can say. */}}
{{- define "nodeport-access-operator.validate" -}}
{{- if and (not .Values.serviceAccount.create) (not .Values.serviceAccount.name) .Values.rbac.create -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: the permissions would go to the namespace's ServiceAccount default, and with it to every pod there. Name the ServiceAccount, or set rbac.create to false" -}}
{{- end -}}
{{- end }}
