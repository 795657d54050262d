{{/*
Rules in the watched namespaces, one block per toggle. No secrets, no exec, and no write but under its own toggle.
A kind whose CRD is not installed costs nothing here and is found missing by the service itself.
*/}}
{{- define "llm-autoscaler.rules" -}}
{{- $scaled := list (dict "apiGroup" "apps" "resources" (list "deployments" "statefulsets")) (dict "apiGroup" "leaderworkerset.x-k8s.io" "resources" (list "leaderworkersets")) (dict "apiGroup" "disaggregatedset.x-k8s.io" "resources" (list "disaggregatedsetrolescalers")) -}}
{{- range .Values.rbac.scaledRefKinds -}}
{{- $scaled = append $scaled (dict "apiGroup" .apiGroup "resources" (list .resource)) -}}
{{- end -}}
{{- $scaleVerbs := ternary (list "get" "patch") (list "get") .Values.fastPath.enabled -}}
{{- $read := list "get" "list" "watch" -}}
# kube.enabled
- apiGroups: [""]
  resources: [pods]
  verbs: {{ toJson (ternary (append $read "patch") $read .Values.podDeletionCost.enabled) }}{{ if .Values.podDeletionCost.enabled }} # podDeletionCost.enabled{{ end }}
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: {{ toJson $read }}
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: {{ toJson $read }}
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices, llminferenceservices, llminferenceserviceconfigs]
  verbs: {{ toJson $read }}
- apiGroups: [disaggregatedset.x-k8s.io]
  resources: [disaggregatedsets]
  verbs: {{ toJson $read }}
- apiGroups: [resource.k8s.io]
  resources: [resourceclaimtemplates]
  verbs: {{ toJson $read }}
{{- range $scaled }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources: {{ toJson .resources }}
  verbs: {{ toJson $read }}
- apiGroups: [{{ .apiGroup | quote }}]
  resources: [{{ range $i, $resource := .resources }}{{ if $i }}, {{ end }}{{ $resource }}/scale{{ end }}]
  verbs: {{ toJson $scaleVerbs }}{{ if $.Values.fastPath.enabled }} # fastPath.enabled{{ end }}
{{- end }}
{{- if .Values.events.enabled }}
# events.enabled
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
{{- if .Values.capacityBuffer.enabled }}
# capacityBuffer.enabled
- apiGroups: [autoscaling.x-k8s.io]
  resources: [capacitybuffers]
  verbs: [get, list, watch, create, patch, delete]
{{- end }}
{{- end -}}
