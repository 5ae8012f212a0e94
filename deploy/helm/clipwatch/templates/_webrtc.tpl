{{/* WebRTC's UDP ports of motion: live video, and phones as cameras. Nothing of it where motion.webrtc is off. */}}

{{/* The ports, as a JSON list. */}}
{{- define "clipwatch.webrtcPorts" -}}
{{- $ends := splitList "-" .Values.motion.webrtc.ports -}}
{{- $ports := list -}}
{{- range untilStep (first $ends | int) (add1 (last $ends) | int) 1 }}{{ $ports = append $ports . }}{{ end -}}
{{ toJson $ports }}
{{- end }}

{{- define "clipwatch.webrtcContainerPorts" -}}
{{- if .Values.motion.webrtc.enabled }}
{{- range include "clipwatch.webrtcPorts" . | fromJsonArray }}
- {name: rtc-{{ int . }}, containerPort: {{ int . }}, protocol: UDP{{ if eq $.Values.motion.webrtc.through "hostPort" }}, hostPort: {{ int . }}{{ end }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "clipwatch.webrtcEnvironment" -}}
{{- if .Values.motion.webrtc.enabled }}
- {name: WEBRTC_PORTS, value: {{ .Values.motion.webrtc.ports | quote }}}
{{- if .Values.motion.webrtc.addresses }}
- {name: WEBRTC_ADDRESSES, value: {{ join "," .Values.motion.webrtc.addresses | quote }}}
{{- else }}
- {name: WEBRTC_ADDRESSES, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
{{- end }}
{{- end }}
{{- end }}

{{/* Who may send to the ports. */}}
{{- define "clipwatch.fromWebrtcPeers" -}}
{{- if .Values.motion.webrtc.enabled }}
{{- $ends := splitList "-" .Values.motion.webrtc.ports }}
- ports: [{protocol: UDP, port: {{ first $ends }}, endPort: {{ last $ends }}}]
  {{- with .Values.networkPolicy.webrtcFrom }}
  from: {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* JSON list of what is wrong. */}}
{{- define "clipwatch.webrtcFaults" -}}
{{- $faults := list }}
{{- $webrtc := .Values.motion.webrtc }}
{{- if $webrtc.enabled }}
{{- $ends := splitList "-" $webrtc.ports }}
{{- $first := first $ends | int }}
{{- $last := last $ends | int }}
{{- $isNode := eq $webrtc.through "NodePort" }}
{{- $least := ternary 30000 1024 $isNode }}
{{- $most := ternary 32767 65535 $isNode }}
{{- if or (lt $first $least) (gt $last $most) (ge $first $last) (gt (sub $last $first) 199) }}
{{- $faults = append $faults (printf "motion.webrtc.ports: found %s, wanted FIRST-LAST of 2 to 200 ports between %d and %d%s; set others" $webrtc.ports $least $most (ternary ", as node ports are" "" $isNode)) }}
{{- end }}
{{- if and (ne $webrtc.through "hostPort") (gt (int .Values.motion.replicas) 1) }}
{{- $faults = append $faults (printf "motion.webrtc.through: found %s with %d replicas, wanted hostPort, since a Service would send to any of them; set it, or motion.replicas=1" $webrtc.through (int .Values.motion.replicas)) }}
{{- end }}
{{- if and (eq $webrtc.through "LoadBalancer") (not $webrtc.addresses) }}
{{- $faults = append $faults "motion.webrtc.addresses: found nothing, wanted the address of the load balancer, which browsers are told; set it" }}
{{- end }}
{{- range $name := list "WEBRTC_ADDRESSES" "WEBRTC_PORTS" }}
{{- if hasKey $.Values.motion.settings $name }}
{{- $faults = append $faults (printf "motion.settings.%s: found there, wanted nowhere while motion.webrtc is on; set motion.webrtc.%s, and leave it out" $name (trimPrefix "webrtc_" (lower $name))) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}
