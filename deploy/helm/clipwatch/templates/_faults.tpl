{{/* All faults of the values at once: what was found, what is wanted, what to do. Types, bounds and unknown names are
     told by values.schema.json before this runs. */}}

{{- define "clipwatch.faults" -}}
{{- $v := .Values }}
{{- $faults := list }}
{{- if not (regexMatch "^[a-z][a-z0-9-]{0,34}$" .Release.Name) }}
{{- $faults = append $faults (printf "release %s: wanted a name of at most 35 letters, digits and -, with a letter first, since services and volumes are named after it; install it under another name" .Release.Name) }}
{{- end }}
{{- if not $v.images.registry }}
{{- $faults = append $faults "images.registry: found nothing, wanted the registry that the images of docker compose were pushed to, such as registry.example.org/clipwatch; set it" }}
{{- end }}
{{- $faults = concat $faults (include "clipwatch.secretFaults" . | fromJsonArray) }}
{{- $faults = concat $faults (include "clipwatch.settingFaults" . | fromJsonArray) }}
{{- $faults = concat $faults (include "clipwatch.webrtcFaults" . | fromJsonArray) }}
{{- $sources := 0 }}
{{- range list $v.cameras.file $v.cameras.existingConfigMap $v.cameras.existingClaim }}
{{- if . }}{{ $sources = add1 $sources }}{{ end }}
{{- end }}
{{- if ne (int $sources) 1 }}
{{- $faults = append $faults (printf "cameras: found %d sources of cameras.yml, wanted one; set one of cameras.file (--set-file cameras.file=cameras.yml), cameras.existingConfigMap and cameras.existingClaim" (int $sources)) }}
{{- end }}
{{- $faults = concat $faults (include "clipwatch.volumeFaults" . | fromJsonArray) }}
{{- range $name := list "redis" "mysql" }}
{{- $part := index $v $name }}
{{- $host := $part.external.host | default (join "," $part.external.sentinels) }}
{{- if and $part.bundled.enabled $host }}
{{- $faults = append $faults (printf "%s: found both the bundled one and an external one at %s, wanted one of them; set %s.bundled.enabled=false, or leave the other out" $name $host $name) }}
{{- end }}
{{- if and $part.external.host $part.external.sentinels }}
{{- $faults = append $faults (printf "%s.external: found both host=%s and sentinels, wanted one of them; leave one out" $name $part.external.host) }}
{{- end }}
{{- if not (or $part.bundled.enabled $host) }}
{{- $faults = append $faults (printf "%s.external.host: found nothing, and the bundled one is off; set the host, or %s.bundled.enabled=true" $name $name) }}
{{- end }}
{{- end }}
{{- range $name := list "redis" "mysql" }}
{{- $part := index $v $name }}
{{- if and $part.bundled.enabled $part.external.caSecret }}
{{- $faults = append $faults (printf "%s.external.caSecret: found %s with the bundled one, which has no TLS; leave it out, or set %s.bundled.enabled=false" $name $part.external.caSecret $name) }}
{{- end }}
{{- end }}
{{- if and $v.redis.external.caSecret (not $v.redis.bundled.enabled) (not $v.redis.external.tls) }}
{{- $faults = append $faults (printf "redis.external.caSecret: found %s with tls off, wanted TLS; set redis.external.tls=true, or leave it out" $v.redis.external.caSecret) }}
{{- end }}
{{- if and $v.classifier.keda.enabled (gt (int $v.classifier.keda.minReplicas) (int $v.classifier.keda.maxReplicas)) }}
{{- $faults = append $faults (printf "classifier.keda.minReplicas: found %d, wanted at most maxReplicas=%d; lower the one or raise the other" (int $v.classifier.keda.minReplicas) (int $v.classifier.keda.maxReplicas)) }}
{{- end }}
{{- if and (eq $v.classifier.device "gpu") (eq $v.classifier.model "mini") }}
{{- $faults = append $faults "classifier.model: found mini with device gpu, wanted a model of open_clip, since the image for GPUs does not carry mini; name another model, or set classifier.device=cpu" }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.ingress.host) }}
{{- $faults = append $faults "ingress.host: found nothing, wanted the name under which browsers open the page; set it" }}
{{- end }}
{{- if and $v.ingress.enabled (not $v.recorder.trustedProxies) }}
{{- $faults = append $faults "recorder.trustedProxies: found nothing, wanted the network of the ingress controller's pods, such as 10.42.0.0/16: without it the page takes all visitors for one, and https for http; set it" }}
{{- end }}
{{- if and $v.prometheus.podMonitor.enabled $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) }}
{{- $faults = append $faults "networkPolicy.metricsFrom: found nothing, and prometheus.podMonitor is on, wanted the namespace of Prometheus, which could reach nothing otherwise; set it, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" }}
{{- end }}
{{- $read := list }}
{{- range $name := list "mysql" "prometheus" }}
{{- if (index $v $name).bundled.enabled }}{{ $read = append $read $name }}{{ end }}
{{- end }}
{{- if and $v.grafana.dashboards.enabled $read $v.networkPolicy.enabled (not $v.networkPolicy.grafanaFrom) }}
{{- $faults = append $faults (printf "networkPolicy.grafanaFrom: found nothing, and grafana.dashboards is on with the bundled %s, wanted the namespace of your Grafana, which could read nothing otherwise; set it, such as [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" (join " and " $read)) }}
{{- end }}
{{- if and $v.prometheus.bundled.enabled $v.prometheus.url }}
{{- $faults = append $faults (printf "prometheus: found both the bundled one and url=%s, wanted one of them; leave one out" $v.prometheus.url) }}
{{- end }}
{{- if and $v.grafana.bundled.enabled (not (or $v.prometheus.bundled.enabled $v.prometheus.url)) }}
{{- $faults = append $faults "prometheus: found neither the bundled one nor a url, and the bundled Grafana shows its figures; set prometheus.bundled.enabled=true or prometheus.url" }}
{{- end }}
{{- if $faults }}
{{- fail (printf "\n\n%d of the values cannot be used:\n- %s\n" (len $faults) (join "\n- " $faults)) }}
{{- end }}
{{- end }}

{{/* JSON list of what is wrong with the secrets; no value is shown. */}}
{{- define "clipwatch.secretFaults" -}}
{{- $faults := list }}
{{- $given := .Values.secrets.values }}
{{- if and .Values.secrets.existing $given }}
{{- $faults = append $faults "secrets: found both existing and values, wanted one of them; leave one out" }}
{{- else if not .Values.secrets.existing }}
{{- $missing := list }}
{{- range splitList "\n" (include "clipwatch.secretNames" .) }}
{{- $value := index $given . | default "" }}
{{- if not $value }}
{{- $missing = append $missing . }}
{{- else if and (hasSuffix "_TOKEN" .) (lt (len $value) 16) }}
{{- $faults = append $faults (printf "secrets.values.%s: found %d characters, wanted 16 or more; make one by `openssl rand -hex 24`" . (len $value)) }}
{{- end }}
{{- end }}
{{- if $missing }}
{{- $faults = append $faults (printf "secrets: %s missing, wanted in a Secret named by secrets.existing (`sh deploy/new-env.sh` writes such a file), or in secrets.values; make it and set one of the two" (join ", " $missing)) }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{/* JSON list of settings that the chart sets itself, or that are secrets. */}}
{{- define "clipwatch.settingFaults" -}}
{{- $faults := list }}
{{- $own := list "ADMIN_PASSWORD" "ALLOWED_HOSTS" "API_TOKEN" "CAMERAS_FILE" "CAMERA_HANDOVER_S" "CAMERA_LEASES" "CAMERA_LEASE_S" "CAMERA_LOAD_MAX" "CAMERA_LOCATION" "CONNECT_S" "DASHBOARD_DATABASE_USER" "DATABASE_PASSWORD" "DATABASE_URL" "DATA_DIR" "DEVICE" "DRAIN_S" "EXIT_WHEN_DONE" "HOME" "HTTP_HOST" "HTTP_PORT" "INDEX_DIR" "INSTANCE" "LOG_FORMAT" "LOG_LEVEL" "MEDIA_DIR" "MEDIA_URL" "METRICS_TOKEN" "MIGRATION_DATABASE_PASSWORD" "MIGRATION_DATABASE_URL" "MODEL" "MODELS_DIR" "MOTION_TOKEN" "MOTION_URL" "NOTIFY_FILE" "POD_NAME" "REACHED_AT" "REDIS_PASSWORD" "REDIS_SENTINEL_PASSWORD" "REDIS_URL" "S3_CA_FILE" "S3_ENDPOINT_URL" "S3_REGION" "THREADS" "TLS_CERT_FILE" "TLS_KEY_FILE" "TRUSTED_PROXIES" "TZ" }}
{{- $keda := .Values.classifier.keda }}
{{- if and $keda.enabled (eq (int $keda.minReplicas) 0) (hasKey .Values.recorder.settings "CLASSIFIER_START_S") }}
{{- $faults = append $faults (printf "recorder.settings.CLASSIFIER_START_S: found there, wanted nowhere while classifier.keda starts the first classifier: the chart sets it to startSeconds=%d; set classifier.keda.startSeconds, and leave it out" (int $keda.startSeconds)) }}
{{- end }}
{{- range $service := list "motion" "classifier" "recorder" }}
{{- range $name, $_ := index $.Values $service "settings" }}
{{- if has (trimSuffix "_FILE" $name) $own | or (has $name $own) }}
{{- $faults = append $faults (printf "%s.settings.%s: found there, wanted nowhere: the chart sets it; leave it out" $service $name) }}
{{- else if regexMatch "(PASSWORD|TOKEN|SECRET|KEY|KEY_ID)$" $name }}
{{- $to := ternary "motion's in cameras.passwordsSecret" "the recorder's in recorder.passwordsSecret" (eq $service "motion") }}
{{- $faults = append $faults (printf "%s.settings.%s: found there, wanted in a Secret, since settings are read by all who see the pod; put %s" $service $name $to) }}
{{- end }}
{{- end }}
{{- end }}
{{- toJson $faults }}
{{- end }}

{{/* JSON list of volumes that cannot be shared by their replicas. */}}
{{- define "clipwatch.volumeFaults" -}}
{{- $faults := list }}
{{- $models := .Values.classifier.models }}
{{- $keda := .Values.classifier.keda }}
{{- $classifiers := int (ternary $keda.maxReplicas .Values.classifier.replicas $keda.enabled) }}
{{- if and (gt $classifiers 1) $models.isKept (not $models.existingClaim) (ne $models.accessMode "ReadWriteMany") (ne .Values.classifier.model "mini") }}
{{- $faults = append $faults (printf "classifier.models.accessMode: found %s with up to %d replicas, wanted ReadWriteMany; set it, or classifier.models.isKept=false (each replica downloads its own), or name a claim of yours in classifier.models.existingClaim" $models.accessMode $classifiers) }}
{{- end }}
{{- $media := .Values.recorder.media }}
{{- if and (gt (int .Values.recorder.replicas) 1) (ne $media.accessMode "ReadWriteMany") (not $media.s3.url) }}
{{- $faults = append $faults (printf "recorder.media.accessMode: found %s with %d replicas, wanted ReadWriteMany, since all of them serve the same clips; set it, keep clips in an object store (recorder.media.s3.url), or set recorder.replicas=1" $media.accessMode (int .Values.recorder.replicas)) }}
{{- end }}
{{- if and $media.s3.url (not .Values.recorder.passwordsSecret) }}
{{- $faults = append $faults (printf "recorder.passwordsSecret: found nothing, and clips are kept in %s, wanted a Secret with S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY; make it and name it" $media.s3.url) }}
{{- end }}
{{- if and $media.s3.caSecret (not (hasPrefix "https://" $media.s3.endpoint)) }}
{{- $faults = append $faults (printf "recorder.media.s3.caSecret: found %s with the endpoint %q, wanted one by https; set recorder.media.s3.endpoint, or leave it out" $media.s3.caSecret $media.s3.endpoint) }}
{{- end }}
{{- if and $media.s3.url $media.existingClaim }}
{{- $faults = append $faults (printf "recorder.media: found both s3.url=%s and existingClaim=%s, wanted one of them; leave one out" $media.s3.url $media.existingClaim) }}
{{- end }}
{{- toJson $faults }}
{{- end }}
