{{/* The beginning of every name. */}}
{{- define "scumble.name" -}}
{{- if contains "scumble" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-scumble" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects pods never changes: (list . "gateway"). */}}
{{- define "scumble.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: scumble
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "scumble.labels" -}}
{{- $root := index . 0 -}}
{{ include "scumble.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "scumble.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "scumble.name" .) -}}
{{- end -}}

{{/* What gateways and workers have in common: whose pod it is. */}}
{{- define "scumble.pod" -}}
serviceAccountName: {{ include "scumble.serviceAccount" . }}
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "scumble.container" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
ports:
  - { name: http, containerPort: 8787 }
  - { name: metrics, containerPort: 9464 }
# the process answers; a database that is away is not a reason to start it again
livenessProbe:
  httpGet: { path: /health, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
# until it listens: the first start of a new version may have to bring the database up to date
startupProbe:
  httpGet: { path: /health, port: http }
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 150
# it takes calls: the database answers, and nobody has told it to stop
readinessProbe:
  httpGet: { path: /ready, port: http }
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
env:
  - { name: SCUMBLE_LISTEN, value: "0.0.0.0:8787" }
  - { name: SCUMBLE_METRICS_LISTEN, value: "0.0.0.0:9464" }
  - { name: SCUMBLE_CONFIG, value: /etc/scumble/scumble.toml }
  - { name: SCUMBLE_DATA_DIR, value: /data }
  - { name: SCUMBLE_FILES, value: {{ .Values.storage.files | quote }} }
  - { name: AWS_REGION, value: {{ .Values.storage.region | quote }} }
  {{- with .Values.storage.endpoint }}
  - { name: AWS_ENDPOINT_URL, value: {{ . | quote }} }
  {{- end }}
  - { name: SCUMBLE_LOG_FORMAT, value: {{ .Values.log.format | quote }} }
  - { name: RUST_LOG, value: {{ .Values.log.level | quote }} }
  - { name: HF_HOME, value: /models }
  - { name: DATABASE_URL_FILE, value: {{ printf "/run/secrets/scumble/%s" .Values.secret.databaseUrl | quote }} }
  {{- if .Values.secret.bucketKey }}
  - { name: AWS_ACCESS_KEY_ID_FILE, value: {{ printf "/run/secrets/scumble/%s" .Values.secret.bucketKeyId | quote }} }
  - { name: AWS_SECRET_ACCESS_KEY_FILE, value: {{ printf "/run/secrets/scumble/%s" .Values.secret.bucketKey | quote }} }
  {{- end }}
  {{- range $name, $key := .Values.secret.more }}
  - { name: {{ printf "%s_FILE" $name }}, value: {{ printf "/run/secrets/scumble/%s" $key | quote }} }
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "scumble.mounts" -}}
- { name: settings, mountPath: /etc/scumble, readOnly: true }
- { name: secret, mountPath: /run/secrets/scumble, readOnly: true }
- { name: data, mountPath: /data }
- { name: tmp, mountPath: /tmp }
{{- end -}}

{{- define "scumble.volumes" -}}
- name: settings
  configMap: { name: {{ include "scumble.name" . }} }
- name: secret
  # readable for the user of the image, by the group of its pod
  secret: { secretName: {{ .Values.secret.name | quote }}, defaultMode: 0440 }
- name: tmp
  emptyDir: {}
{{- end -}}

{{/* Where pods go, which both say in the same words: .Values.gateway or .Values.worker. */}}
{{- define "scumble.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
