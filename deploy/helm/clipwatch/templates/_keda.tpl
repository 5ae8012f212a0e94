{{/* One trigger: {root, stream, metadata}. Which of the group's numbers counts follows from the metadata. */}}
{{- define "clipwatch.kedaTrigger" -}}
{{- $redis := .root.Values.redis -}}
- type: redis-streams
  metadata:
    address: {{ include "clipwatch.redisAddress" .root | quote }}
    databaseIndex: {{ ternary 0 $redis.external.database $redis.bundled.enabled | int | quote }}
    enableTLS: {{ and (not $redis.bundled.enabled) $redis.external.tls | quote }}
    stream: {{ .stream }}
    consumerGroup: classifiers
    {{- range $name, $value := .metadata }}
    {{ $name }}: {{ $value | int | quote }}
    {{- end }}
  authenticationRef: {name: {{ .root.Release.Name }}-keda}
{{- end }}
