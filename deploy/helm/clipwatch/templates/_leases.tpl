{{/* How several motion processes share the cameras: all that more than one replica needs is here, in clipwatch.motionUrl
     and in ALLOWED_HOSTS. */}}
{{- define "clipwatch.cameraLeases" -}}
- {name: CAMERA_LEASES, value: "true"}
- {name: REACHED_AT, value: "http://$(POD_NAME).{{ .Release.Name }}-motion:8080"}
{{- with .Values.motion.leases.seconds }}
- {name: CAMERA_LEASE_S, value: {{ . | quote }}}
{{- end }}
{{- with .Values.motion.leases.loadMax }}
- {name: CAMERA_LOAD_MAX, value: {{ . | quote }}}
{{- end }}
{{- with .Values.motion.leases.handoverSeconds }}
- {name: CAMERA_HANDOVER_S, value: {{ . | quote }}}
{{- end }}
{{- with .Values.motion.leases.location }}
- {name: CAMERA_LOCATION, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* Seconds that a motion process may take at its stop to hand its cameras over: {root, component}. */}}
{{- define "clipwatch.handoverSeconds" -}}
{{- $motion := .root.Values.motion -}}
{{ ternary (int $motion.leases.handoverSeconds) 0 (and (eq .component "motion") (gt (int $motion.replicas) 1)) }}
{{- end }}
