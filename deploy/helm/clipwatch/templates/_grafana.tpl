{{/* What Grafana reads at its start: file name to text, as data of a ConfigMap. */}}
{{- define "clipwatch.grafanaProvisioning" -}}
{{- $folder := "files/grafana-provisioning" }}
{{- $mysql := .Files.Get (printf "%s/datasources/mysql.yml" $folder) | replace "url: mysql:3306" (printf "url: %s" (include "clipwatch.mysqlAddress" .)) | replace "user: grafana" (printf "user: %s" (include "clipwatch.mysqlUser" (dict "root" . "user" "grafana"))) | replace "database: clipwatch" (printf "database: %s" (include "clipwatch.mysqlDatabase" .)) }}
{{- if include "clipwatch.caSecret" (dict "root" . "server" "mysql") }}
{{- $mysql = $mysql | replace "jsonData:\n" "jsonData:\n      tlsAuthWithCACert: true\n" | replace "secureJsonData:\n" "secureJsonData:\n      tlsCACert: $__file{/run/tls/mysql/ca.crt}\n" }}
{{- end }}
{{- $prometheus := .Files.Get (printf "%s/datasources/prometheus.yml" $folder) | replace "http://prometheus:9090" (.Values.prometheus.url | default (printf "http://%s-prometheus:9090" .Release.Name)) }}
mysql.yml: {{ $mysql | quote }}
prometheus.yml: {{ $prometheus | quote }}
clipwatch.yml: {{ .Files.Get (printf "%s/dashboards/clipwatch.yml" $folder) | quote }}
alerts.json: {{ .Files.Get (printf "%s/alerting/alerts.json" $folder) | quote }}
{{- end }}
