{{/* Who may reach whom. ingressOf.X and egressOf.X are the rules of component X; an empty one lets nothing through. */}}

{{- define "clipwatch.peers" -}}
{{- range .components }}
- podSelector:
    matchLabels: {{- include "clipwatch.selector" (dict "root" $.root "component" .) | nindent 6 }}
{{- end }}
{{- end }}

{{- define "clipwatch.dns" -}}
- ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
{{- end }}

{{/* To a server: {root, component, part (its values), port}. */}}
{{- define "clipwatch.toServer" -}}
{{- if .part.bundled.enabled }}
- to: {{- include "clipwatch.peers" (dict "root" .root "components" (list .component)) | nindent 4 }}
  ports: [{protocol: TCP, port: {{ .port }}}]
{{- else }}
{{- $ports := list (int .part.external.port) }}
{{- range .part.external.sentinels }}
{{- $ports = append $ports (splitList ":" . | last | int) }}
{{- end }}
- ports:
    {{- range uniq $ports }}
    - {protocol: TCP, port: {{ . }}}
    {{- end }}
  {{- with .part.external.networks }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "clipwatch.toRedis" -}}
{{ include "clipwatch.toServer" (dict "root" . "component" "redis" "part" .Values.redis "port" 6379) }}
{{- end }}

{{- define "clipwatch.toMysql" -}}
{{ include "clipwatch.toServer" (dict "root" . "component" "mysql" "part" .Values.mysql "port" 3306) }}
{{- end }}

{{/* To addresses outside the cluster: a list of networks. */}}
{{- define "clipwatch.toOutside" -}}
{{- with . }}
- to:
    {{- range . }}
    - ipBlock:
        cidr: {{ . | quote }}
        {{- with include "clipwatch.metadataAddresses" . }}
        except: {{ . }}
        {{- end }}
    {{- end }}
{{- end }}
{{- end }}

{{/* Where clouds hand out the node's credentials, of a network that covers them: link-local addresses, and the one that AWS
     has for IPv6. Kubernetes refuses an exception that does not lie within its network, or is all of it. */}}
{{- define "clipwatch.metadataAddresses" -}}
{{- if eq . "::/0" -}}
["fe80::/10", "fd00:ec2::254/128"]
{{- else if not (contains ":" .) -}}
{{- $ends := splitList "/" . -}}
{{- $length := last $ends | int -}}
{{- if lt $length 16 -}}
{{- $octets := splitList "." (first $ends) -}}
{{- $size := 1 -}}
{{- range until (int (sub 16 $length)) }}{{ $size = mul $size 2 }}{{ end -}}
{{- if eq (div (add (mul 256 (index $octets 0 | int)) (index $octets 1 | int)) $size) (div (add (mul 256 169) 254) $size) -}}
["169.254.0.0/16"]
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* From a list of peers in the values, at one port: {peers, port}. */}}
{{- define "clipwatch.fromPeers" -}}
{{- with .peers }}
- from: {{- toYaml . | nindent 4 }}
  ports: [{protocol: TCP, port: {{ $.port }}}]
{{- end }}
{{- end }}

{{/* From everybody who may open pages, at one port: {root, port}. */}}
{{- define "clipwatch.fromPeople" -}}
{{- if .root.Values.networkPolicy.pageFrom -}}
{{ include "clipwatch.fromPeers" (dict "peers" .root.Values.networkPolicy.pageFrom "port" .port) }}
{{- else }}
- ports: [{protocol: TCP, port: {{ .port }}}]
{{- end }}
{{- end }}

{{/* From Prometheus, bundled or not. */}}
{{- define "clipwatch.fromPrometheus" -}}
{{- if .Values.prometheus.bundled.enabled }}
- from: {{- include "clipwatch.peers" (dict "root" . "components" (list "prometheus")) | nindent 4 }}
  ports: [{protocol: TCP, port: 8080}]
{{- end }}
{{- include "clipwatch.fromPeers" (dict "peers" .Values.networkPolicy.metricsFrom "port" 8080) }}
{{- end }}

{{- define "clipwatch.ingressOf.motion" -}}
- from: {{- include "clipwatch.peers" (dict "root" . "components" (list "recorder")) | nindent 4 }}
  ports: [{protocol: TCP, port: 8080}]
{{- include "clipwatch.fromPrometheus" . }}
{{- include "clipwatch.fromWebrtcPeers" . }}
{{- end }}
{{- define "clipwatch.egressOf.motion" -}}
{{- include "clipwatch.dns" . }}
{{- include "clipwatch.toRedis" . }}
{{- include "clipwatch.toOutside" .Values.networkPolicy.outside.motion }}
{{- end }}

{{- define "clipwatch.ingressOf.classifier" -}}
{{ include "clipwatch.fromPrometheus" . }}
{{- end }}
{{- define "clipwatch.egressOf.classifier" -}}
{{- include "clipwatch.dns" . }}
{{- include "clipwatch.toRedis" . }}
{{- include "clipwatch.toOutside" .Values.networkPolicy.outside.classifier }}
{{- end }}

{{- define "clipwatch.ingressOf.recorder" -}}
{{- include "clipwatch.fromPeople" (dict "root" . "port" 8080) }}
{{- include "clipwatch.fromPrometheus" . }}
{{- end }}
{{- define "clipwatch.egressOf.recorder" -}}
{{- include "clipwatch.dns" . }}
{{- include "clipwatch.toRedis" . }}
{{- include "clipwatch.toMysql" . }}
- to: {{- include "clipwatch.peers" (dict "root" . "components" (list "motion")) | nindent 4 }}
  ports: [{protocol: TCP, port: 8080}]
{{- include "clipwatch.toOutside" .Values.networkPolicy.outside.recorder }}
{{- with .Values.recorder.media.s3 }}
{{- if and .url .networks }}
- to:
    {{- range .networks }}
    - ipBlock: {cidr: {{ . | quote }}}
    {{- end }}
  ports: [{protocol: TCP, port: {{ include "clipwatch.s3Port" .endpoint }}}]
{{- end }}
{{- end }}
{{- end }}

{{/* The port of an endpoint, http(s)://host or http(s)://host:port. */}}
{{- define "clipwatch.s3Port" -}}
{{- regexFind ":[0-9]+/?$" . | trimPrefix ":" | trimSuffix "/" | default (ternary "80" "443" (hasPrefix "http://" .)) -}}
{{- end }}

{{- define "clipwatch.ingressOf.redis" -}}
- from: {{- include "clipwatch.peers" (dict "root" . "components" (list "motion" "classifier" "recorder")) | nindent 4 }}
  ports: [{protocol: TCP, port: 6379}]
{{- if .Values.classifier.keda.enabled }}
{{- include "clipwatch.fromPeers" (dict "peers" .Values.networkPolicy.kedaFrom "port" 6379) }}
{{- end }}
{{- end }}
{{- define "clipwatch.egressOf.redis" }}{{ end }}

{{- define "clipwatch.ingressOf.mysql" -}}
- from: {{- include "clipwatch.peers" (dict "root" . "components" (concat (list "recorder") (ternary (list "grafana") list .Values.grafana.bundled.enabled))) | nindent 4 }}
  ports: [{protocol: TCP, port: 3306}]
{{- include "clipwatch.fromPeers" (dict "peers" .Values.networkPolicy.grafanaFrom "port" 3306) }}
{{- end }}
{{- define "clipwatch.egressOf.mysql" }}{{ end }}

{{- define "clipwatch.ingressOf.grafana" -}}
{{ include "clipwatch.fromPeople" (dict "root" . "port" 3000) }}
{{- end }}
{{- define "clipwatch.egressOf.grafana" -}}
{{- include "clipwatch.dns" . }}
{{- include "clipwatch.toMysql" . }}
{{- if .Values.prometheus.bundled.enabled }}
- to: {{- include "clipwatch.peers" (dict "root" . "components" (list "prometheus")) | nindent 4 }}
  ports: [{protocol: TCP, port: 9090}]
{{- else }}
- to: [{namespaceSelector: {}}]  # prometheus.url in the cluster; outside.grafana has the others
{{- end }}
{{- include "clipwatch.toOutside" .Values.networkPolicy.outside.grafana }}
{{- end }}

{{- define "clipwatch.ingressOf.prometheus" -}}
{{- if .Values.grafana.bundled.enabled }}
- from: {{- include "clipwatch.peers" (dict "root" . "components" (list "grafana")) | nindent 4 }}
  ports: [{protocol: TCP, port: 9090}]
{{- end }}
{{- include "clipwatch.fromPeers" (dict "peers" .Values.networkPolicy.grafanaFrom "port" 9090) }}
{{- end }}
{{- define "clipwatch.egressOf.prometheus" -}}
{{- include "clipwatch.dns" . }}
- to: {{- include "clipwatch.peers" (dict "root" . "components" (list "motion" "classifier" "recorder")) | nindent 4 }}
  ports: [{protocol: TCP, port: 8080}]
{{- end }}
