{{/*
Every option that the chart gives to `autoscaler serve`; tests/chart checks each against the command line's own list.
*/}}
{{- define "llm-autoscaler.args" -}}
- serve
{{- if include "llm-autoscaler.targetsConfigMap" . }}
- --targets=/etc/llm-autoscaler/targets/targets.yaml
{{- end }}
- --grpc={{ .Values.bindAddress }}:{{ .Values.grpc.port }}
- --http={{ .Values.bindAddress }}:{{ .Values.http.port }}
- --state-dir=/var/lib/llm-autoscaler
{{- if .Values.flightRecord.enabled }}
- --flight-record-bytes={{ int64 .Values.flightRecord.maxBytes }}
{{- else }}
- --no-flight-record
{{- end }}
{{- if .Values.certificates.enabled }}
- --tls-cert={{ .Values.certificates.mountPath }}/tls.crt
- --tls-key={{ .Values.certificates.mountPath }}/tls.key
{{- if .Values.certificates.mutual }}
- --tls-client-ca={{ .Values.certificates.mountPath }}/ca.crt
{{- end }}
{{- end }}
{{- if .Values.wakeApi.tokenSecretName }}
- --wake-token-file=/etc/llm-autoscaler/wake/token
{{- end }}
- --log-format={{ .Values.logging.format }}
- --log-level={{ .Values.logging.level }}
- --grace-s={{ .Values.gracePeriodSeconds }}
{{- include "llm-autoscaler.featureArgs" . }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/*
Options of the Kubernetes features. `autoscaler serve` has none of them yet, so nothing is rendered: when it has, each
goes here, one line under its toggle:
  kube.enabled, kube.namespaces, leaderElection.enabled (with POD_NAME, POD_NAMESPACE, POD_IP of the pod's environment and
  the Service NAME-peers), events.enabled, fastPath.enabled, podDeletionCost.enabled, capacityBuffer.enabled, shadow.
*/}}
{{- define "llm-autoscaler.featureArgs" -}}
{{- end -}}
