{{/* Names and labels. Every object is called RELEASE-COMPONENT. */}}

{{- define "clipwatch.name" -}}
{{ .root.Release.Name }}-{{ .component }}
{{- end }}

{{- define "clipwatch.selector" -}}
app.kubernetes.io/name: clipwatch
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "clipwatch.labels" -}}
{{ include "clipwatch.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* Metadata of an object: {root, component, suffix (of the name, optional)}. */}}
{{- define "clipwatch.metadata" -}}
name: {{ include "clipwatch.name" . }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "clipwatch.labels" . | nindent 2 }}
{{- end }}

{{- define "clipwatch.image" -}}
{{ .root.Values.images.registry | trimSuffix "/" }}/{{ .image }}:{{ .root.Values.images.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "clipwatch.secretName" -}}
{{ .Values.secrets.existing | default (printf "%s-secrets" .Release.Name) }}
{{- end }}

{{- define "clipwatch.camerasConfigMap" -}}
{{ .Values.cameras.existingConfigMap | default (printf "%s-cameras" .Release.Name) }}
{{- end }}

{{/* Addresses of Redis and MySQL, bundled or not. */}}
{{- define "clipwatch.redisAddress" -}}
{{ ternary (printf "%s-redis:6379" .Release.Name) (printf "%s:%d" .Values.redis.external.host (int .Values.redis.external.port)) .Values.redis.bundled.enabled }}
{{- end }}

{{/* REDIS_URL of a user: {root, user}; the password stands beside it. */}}
{{- define "clipwatch.redisUrl" -}}
{{- $redis := .root.Values.redis -}}
{{- $user := ternary .user (index $redis.external.users .user) $redis.bundled.enabled -}}
{{- $scheme := ternary "rediss" "redis" (and (not $redis.bundled.enabled) $redis.external.tls) -}}
{{- $database := ternary 0 (int $redis.external.database) $redis.bundled.enabled -}}
{{- if include "clipwatch.hasSentinels" .root -}}
{{ printf "%s+sentinel://%s@%s/%s/%d" $scheme $user (join "," $redis.external.sentinels) $redis.external.sentinelMaster $database }}
{{- else -}}
{{ printf "%s://%s@%s/%d" $scheme $user (include "clipwatch.redisAddress" .root) $database }}
{{- end -}}
{{- if include "clipwatch.caSecret" (dict "root" .root "server" "redis") -}}
?ssl_ca_certs=/run/tls/redis/ca.crt
{{- end -}}
{{- end }}

{{/* The Secret with the authorities of an external server, or nothing: {root, server}. Its mount and its volume. */}}
{{- define "clipwatch.caSecret" -}}
{{- if eq .server "s3" -}}
{{- with .root.Values.recorder.media.s3 }}{{ if .url }}{{ .caSecret }}{{ end }}{{ end -}}
{{- else -}}
{{- $part := index .root.Values .server -}}
{{- if not $part.bundled.enabled }}{{ $part.external.caSecret }}{{ end -}}
{{- end -}}
{{- end }}
{{- define "clipwatch.caMount" -}}
{{- if include "clipwatch.caSecret" . }}
- {name: {{ .server }}-ca, mountPath: /run/tls/{{ .server }}, readOnly: true}
{{- end }}
{{- end }}
{{- define "clipwatch.caVolume" -}}
{{- with include "clipwatch.caSecret" . }}
- name: {{ $.server }}-ca
  secret: {secretName: {{ . | quote }}, defaultMode: 288, items: [{key: ca.crt, path: ca.crt}]}  # 0440
{{- end }}
{{- end }}

{{/* Not empty where Sentinels say who Redis' master is; and where they ask for a password. */}}
{{- define "clipwatch.hasSentinels" -}}
{{- if and (not .Values.redis.bundled.enabled) .Values.redis.external.sentinels }}true{{ end -}}
{{- end }}
{{- define "clipwatch.hasSentinelPassword" -}}
{{- if and (include "clipwatch.hasSentinels" .) .Values.redis.external.sentinelHasPassword }}true{{ end -}}
{{- end }}

{{- define "clipwatch.mysqlAddress" -}}
{{ ternary (printf "%s-mysql:3306" .Release.Name) (printf "%s:%d" .Values.mysql.external.host (int .Values.mysql.external.port)) .Values.mysql.bundled.enabled }}
{{- end }}

{{- define "clipwatch.mysqlDatabase" -}}
{{ ternary "clipwatch" .Values.mysql.external.database .Values.mysql.bundled.enabled }}
{{- end }}

{{/* A user of MySQL: {root, user}, of which the bundled one has its own names. */}}
{{- define "clipwatch.mysqlUser" -}}
{{- $bundled := dict "recorder" "clipwatch" "migrator" "migrator" "grafana" "grafana" -}}
{{ ternary (index $bundled .user) (index .root.Values.mysql.external.users .user) .root.Values.mysql.bundled.enabled }}
{{- end }}

{{- define "clipwatch.mysqlUrl" -}}
{{ printf "mysql+aiomysql://%s@%s/%s" (include "clipwatch.mysqlUser" .) (include "clipwatch.mysqlAddress" .root) (include "clipwatch.mysqlDatabase" .root) }}
{{- if include "clipwatch.caSecret" (dict "root" .root "server" "mysql") -}}
?ssl_ca=/run/tls/mysql/ca.crt
{{- end -}}
{{- end }}

{{/* The secrets that these values need, one a line. */}}
{{- define "clipwatch.secretNames" -}}
REDIS_MOTION_PASSWORD
REDIS_CLASSIFIER_PASSWORD
REDIS_RECORDER_PASSWORD
MYSQL_CLIPWATCH_PASSWORD
MYSQL_MIGRATOR_PASSWORD
ADMIN_PASSWORD
API_TOKEN
MOTION_TOKEN
METRICS_TOKEN
{{- if .Values.redis.bundled.enabled }}
REDIS_ADMIN_PASSWORD
{{- end }}
{{- if include "clipwatch.hasSentinelPassword" . }}
REDIS_SENTINEL_PASSWORD
{{- end }}
{{- if .Values.classifier.keda.enabled }}
REDIS_KEDA_PASSWORD
{{- end }}
{{- if .Values.mysql.bundled.enabled }}
MYSQL_ROOT_PASSWORD
{{- end }}
{{- if or .Values.mysql.bundled.enabled .Values.grafana.bundled.enabled }}
MYSQL_GRAFANA_PASSWORD
{{- end }}
{{- if .Values.grafana.bundled.enabled }}
GRAFANA_ADMIN_PASSWORD
{{- end }}
{{- end }}

{{/* Motion's addresses for the recorder: one, or with camera leases one for each replica. */}}
{{- define "clipwatch.motionUrl" -}}
{{- $name := printf "%s-motion" .Release.Name -}}
{{- if gt (int .Values.motion.replicas) 1 -}}
{{- $urls := list -}}
{{- range until (int .Values.motion.replicas) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s:8080" $name . $name) -}}
{{- end -}}
{{ join "," $urls }}
{{- else -}}
http://{{ $name }}:8080
{{- end -}}
{{- end }}
