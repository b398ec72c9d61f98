{{- define "labels" -}}
app.kubernetes.io/name: s3-audit-webhook
{{- end }}

{{- define "image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "secret" -}}
{{ .Values.existingSecret | default .Release.Name }}
{{- end }}

{{- define "env" -}}
{{- range $name, $value := .Values.env }}
- {name: S3_AUDIT_WEBHOOK_{{ $name }}, value: {{ $value | quote }}}
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
