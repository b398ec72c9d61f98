{{- define "labels" -}}
app.kubernetes.io/name: s3-audit-webhook
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "secret" -}}
{{ .Values.existingSecret | default .Release.Name }}
{{- end }}

{{- /* A value as the agent reads it: all sources of a list, and no exponent in a number. */ -}}
{{- define "text" -}}
{{- if kindIs "slice" . }}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{- /* The same in a line of webhook.env. */ -}}
{{- define "line" -}}
{{- $text := include "text" . | replace "\\" "\\\\" | replace "\"" "\\\"" | replace "$" "\\$" | replace "`" "\\`" -}}
"{{ $text }}"
{{- end }}

{{- define "env" -}}
{{- range $name, $value := .Values.env }}
- {name: S3_AUDIT_WEBHOOK_{{ $name }}, value: {{ include "text" $value | quote }}}
{{- end }}
{{- end }}

{{- /* Where pods run, and with which image pull secrets. */ -}}
{{- define "placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "settings" -}}
- name: settings
  projected:
    defaultMode: {{ .mode }}
    sources:
      - configMap: {name: {{ .root.Release.Name }}}
      - secret: {name: {{ include "secret" .root }}}
{{- end }}
