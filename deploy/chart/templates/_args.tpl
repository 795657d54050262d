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
{{- with .Values.warmStart }}
{{- if .prometheusUrl }}
- --warm-start-prometheus={{ .prometheusUrl }}
{{- if .tokenSecretName }}
- --warm-start-token-file=/etc/llm-autoscaler/warm-start/token
{{- end }}
{{- end }}
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
Options of the Kubernetes features. The Lease lies in the release's namespace; our other replicas reach this one at POD_IP
and the gRPC port, which is what --advertise comes to.
*/}}
{{- define "llm-autoscaler.featureArgs" -}}
{{- if .Values.kube.enabled }}
- --kube=on
{{- with .Values.kube.namespaces }}
- --kube-namespaces={{ join "," (uniq .) }}
{{- end }}
{{- range $toggle := list "events" "fastPath" "podDeletionCost" "capacityBuffer" }}
{{- if (index $.Values $toggle).enabled }}
- --{{ $toggle | kebabcase }}
{{- end }}
{{- end }}
{{- else }}
- --kube=off
{{- end }}
{{- if .Values.leaderElection.enabled }}
- --lease={{ include "llm-autoscaler.fullname" . }}
{{- if .Values.certificates.enabled }}
- --peer-name={{ include "llm-autoscaler.fullname" . }}.{{ .Release.Namespace }}
{{- end }}
{{- end }}
{{- end -}}
