{{/* What all pods have in common. */}}

{{/* Security of a pod: {uid, gid}. */}}
{{- define "clipwatch.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid }}
  runAsGroup: {{ .gid }}
  fsGroup: {{ .gid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "clipwatch.containerSecurity" -}}
securityContext:
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where the pods run: {root, component, part (its values)}. */}}
{{- define "clipwatch.placement" -}}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- with .part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
  - {{- toYaml . | nindent 4 }}
    {{- if not (hasKey . "labelSelector") }}
    labelSelector:
      matchLabels: {{- include "clipwatch.selector" $ | nindent 8 }}
    {{- end }}
{{- end }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end }}

{{/* A pod of motion, classifier or recorder: {root, component, part}. The pause process is PID 1, because a PID 1 of
     Python ignores SIGTERM until it has imported its modules. */}}
{{- define "clipwatch.servicePod" -}}
{{ include "clipwatch.podSecurity" (dict "uid" 10001 "gid" 10001) }}
shareProcessNamespace: true
terminationGracePeriodSeconds: {{ add 40 (include "clipwatch.handoverSeconds" .) }}
{{- with include "clipwatch.placement" . }}
{{ . }}
{{- end }}
{{- end }}

{{/* Environment of motion, classifier and recorder: {root, component, part}. */}}
{{- define "clipwatch.serviceEnvironment" -}}
- {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: INSTANCE, value: $(POD_NAME)}
- {name: REDIS_URL, value: {{ include "clipwatch.redisUrl" (dict "root" .root "user" .component) | quote }}}
- {name: REDIS_PASSWORD_FILE, value: /run/secrets/clipwatch/REDIS_{{ upper .component }}_PASSWORD}
{{- if include "clipwatch.hasSentinelPassword" .root }}
- {name: REDIS_SENTINEL_PASSWORD_FILE, value: /run/secrets/clipwatch/REDIS_SENTINEL_PASSWORD}
{{- end }}
- {name: METRICS_TOKEN_FILE, value: /run/secrets/clipwatch/METRICS_TOKEN}
- {name: LOG_LEVEL, value: {{ .root.Values.logLevel }}}
- {name: LOG_FORMAT, value: json}
- {name: DRAIN_S, value: {{ add 20 (include "clipwatch.handoverSeconds" .) | quote }}}
- {name: CONNECT_S, value: "300"}
- {name: TZ, value: UTC}
{{- range $name, $value := .part.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* Probes of motion, classifier and recorder: {startS}. /readyz: work can begin; /healthz: all moves. A motion whose disk
     is full is not ready and must not be restarted for it, so the start asks for /healthz. */}}
{{- define "clipwatch.serviceProbes" -}}
startupProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: {{ div .startS 5 }}
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 10
  timeoutSeconds: 10
  failureThreshold: 3
livenessProbe:
  httpGet: {path: /healthz, port: http}
  periodSeconds: 10
  timeoutSeconds: 20
  failureThreshold: 6
{{- end }}

{{/* Probes of another program by one command: {command (YAML list as text), startS}. */}}
{{- define "clipwatch.commandProbes" -}}
startupProbe:
  exec: {command: {{ .command }}}
  periodSeconds: 5
  timeoutSeconds: 20
  failureThreshold: {{ div .startS 5 }}
readinessProbe:
  exec: {command: {{ .command }}}
  periodSeconds: 10
  timeoutSeconds: 20
  failureThreshold: 3
livenessProbe:
  exec: {command: {{ .command }}}
  periodSeconds: 20
  timeoutSeconds: 20
  failureThreshold: 6
{{- end }}

{{/* A volume of some keys of the Secret: {root, names, volume (its name), asksSentinels}. */}}
{{- define "clipwatch.secretVolume" -}}
- name: {{ .volume | default "secrets" }}
  secret:
    secretName: {{ include "clipwatch.secretName" .root }}
    defaultMode: 288  # 0440 in octal digits, which YAML 1.2 reads as another number
    items:
{{- $names := .names }}
{{- if and .asksSentinels (include "clipwatch.hasSentinelPassword" .root) }}
{{- $names = append $names "REDIS_SENTINEL_PASSWORD" }}
{{- end }}
{{- range $names }}
      - {key: {{ . }}, path: {{ . }}}
{{- end }}
{{- end }}

{{/* A variable of the environment from the Secret: {root, name, key}. */}}
{{- define "clipwatch.secretVariable" -}}
- {name: {{ .name }}, valueFrom: {secretKeyRef: {name: {{ include "clipwatch.secretName" .root }}, key: {{ .key | default .name }}}}}
{{- end }}

{{/* The spec of a claim: {accessMode, size, storageClass}. */}}
{{- define "clipwatch.claim" -}}
accessModes: [{{ .accessMode | default "ReadWriteOnce" }}]
resources: {requests: {storage: {{ .size }}}}
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
{{- end }}
