{{/* One trigger: {root, stream, metadata}. Which of the group's numbers counts follows from the metadata. */}}
{{- define "clipwatch.kedaTrigger" -}}
{{- $redis := .root.Values.redis -}}
- type: {{ ternary "redis-sentinel-streams" "redis-streams" (ne (include "clipwatch.hasSentinels" .root) "") }}
  metadata:
    {{- if include "clipwatch.hasSentinels" .root }}
    addresses: {{ join "," $redis.external.sentinels | quote }}
    sentinelMaster: {{ $redis.external.sentinelMaster | quote }}
    {{- else }}
    address: {{ include "clipwatch.kedaRedisAddress" .root | quote }}
    {{- end }}
    databaseIndex: {{ ternary 0 $redis.external.database $redis.bundled.enabled | int | quote }}
    enableTLS: {{ and (not $redis.bundled.enabled) $redis.external.tls | quote }}
    stream: {{ .stream }}
    consumerGroup: classifiers
    {{- range $name, $value := .metadata }}
    {{ $name }}: {{ $value | int | quote }}
    {{- end }}
  authenticationRef: {name: {{ .root.Release.Name }}-keda}
{{- end }}

{{/* Redis' address as KEDA asks for it: from its own namespace, in which the release's short names do not resolve. */}}
{{- define "clipwatch.kedaRedisAddress" -}}
{{- if .Values.redis.bundled.enabled -}}
{{ .Release.Name }}-redis.{{ .Release.Namespace }}.svc:6379
{{- else -}}
{{ include "clipwatch.redisAddress" . }}
{{- end -}}
{{- end }}
