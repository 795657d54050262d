{{/* Names, labels and the image. */}}

{{- define "llm-autoscaler.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "llm-autoscaler.fullname" -}}
{{- $name := include "llm-autoscaler.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "llm-autoscaler.selector" -}}
app.kubernetes.io/name: {{ include "llm-autoscaler.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: external-scaler
{{- end -}}

{{- define "llm-autoscaler.labels" -}}
{{ include "llm-autoscaler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: llm-autoscaler
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* metadata of an object: dict "root" $ "name" NAME ["namespace" NS | "cluster" true] ["labels" {}] ["annotations" {}] */}}
{{- define "llm-autoscaler.metadata" -}}
name: {{ .name }}
{{- if not .cluster }}
namespace: {{ .namespace | default .root.Release.Namespace }}
{{- end }}
labels:
  {{- include "llm-autoscaler.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) .root.Values.additionalAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "llm-autoscaler.image" -}}
{{- $image := .Values.image -}}
{{- $registry := .Values.global.image.registry | default $image.registry -}}
{{- $name := ternary (printf "%s/%s" $registry $image.repository) $image.repository (ne $registry "") -}}
{{- if $image.digest -}}{{ $name }}@{{ $image.digest }}{{- else -}}{{ $name }}:{{ $image.tag | default .Chart.AppVersion }}{{- end -}}
{{- end -}}

{{- define "llm-autoscaler.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "llm-autoscaler.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* Whether anything of ours talks to the API server: only then is the pod given a token. */}}
{{- define "llm-autoscaler.usesApi" -}}
{{- if or .Values.kube.enabled .Values.leaderElection.enabled -}}true{{- end -}}
{{- end -}}

{{- define "llm-autoscaler.targetsConfigMap" -}}
{{- if .Values.existingTargetsConfigMap -}}
{{- .Values.existingTargetsConfigMap -}}
{{- else if or .Values.targets.services .Values.targets.wakeSources .Values.targets.access .Values.targets.warmStart -}}
{{- include "llm-autoscaler.fullname" . }}-targets
{{- end -}}
{{- end -}}

{{/* The targets file as serve reads it: with `shadow`, every service in shadow. */}}
{{- define "llm-autoscaler.targetsFile" -}}
{{- $file := deepCopy .Values.targets -}}
{{- if .Values.shadow -}}
{{- range $file.services -}}
{{- $_ := set . "mode" "shadow" -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/* The Secret of the server's certificate, and KEDA's. */}}
{{- define "llm-autoscaler.serverSecret" -}}
{{- .Values.certificates.secretName | default (printf "%s-tls" (include "llm-autoscaler.fullname" .)) -}}
{{- end -}}
{{- define "llm-autoscaler.clientSecret" -}}
{{- .Values.certificates.clientSecretName | default (printf "%s-client-tls" (include "llm-autoscaler.fullname" .)) -}}
{{- end -}}

{{/* Every name KEDA, our peers and the chart's own test may call us by, as a JSON list. */}}
{{- define "llm-autoscaler.dnsNames" -}}
{{- $ns := .Release.Namespace -}}
{{- $names := list "localhost" -}}
{{- range $host := list (include "llm-autoscaler.fullname" .) (printf "%s-peers" (include "llm-autoscaler.fullname" .)) (printf "*.%s-peers" (include "llm-autoscaler.fullname" .)) -}}
{{- $names = concat $names (list $host (printf "%s.%s" $host $ns) (printf "%s.%s.svc" $host $ns) (printf "%s.%s.svc.%s" $host $ns $.Values.clusterDomain)) -}}
{{- end -}}
{{- concat $names .Values.certificates.extraDNSNames | uniq | toJson -}}
{{- end -}}
