{{/* The name of what the chart makes: the release's, since a release is a run; a dependency adds its own. */}}
{{- define "graft.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name (include "graft.name" .)) .Chart.IsRoot -}}
{{- include "graft.cut" (dict "name" (default $name .Values.fullnameOverride) "limit" 63) -}}
{{- end }}

{{/* The name of the model, under which its releases are kept. */}}
{{- define "graft.modelName" -}}
{{- default (include "graft.fullname" .) .Values.settings.name -}}
{{- end }}

{{/* The name of the application. */}}
{{- define "graft.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end }}

{{/*
`name` in at most `limit` characters: what is cut off is replaced by a digest, so that names stay apart.
*/}}
{{- define "graft.cut" -}}
{{- if le (len .name) .limit -}}
{{- .name -}}
{{- else -}}
{{- printf "%s-%s" (trunc (int (sub .limit 9)) .name | trimAll "-.") (sha256sum .name | trunc 8) -}}
{{- end -}}
{{- end }}

{{/* A CronJob's name: the time that Kubernetes adds to it must fit in a Job's 63 characters, and a worker's index. */}}
{{- define "graft.cronJobName" -}}
{{- include "graft.cut" (dict "name" (include "graft.fullname" .) "limit" (ternary 48 52 (gt (int .Values.workers) 1))) -}}
{{- end }}

{{/*
The name of a run: `root` and its `job` specification. A Job's template cannot be changed, so whatever cannot be changed is in
the name's digest: another template is another Job. Kueue lets nobody change the queue of a Job that has started.
59 characters: a pod adds its index.
*/}}
{{- define "graft.jobName" -}}
{{- $root := .root -}}
{{- $immutable := pick .job "template" "completions" "completionMode" "podFailurePolicy" "successPolicy" -}}
{{- $values := $root.Values -}}
{{- $digest := list $immutable $values.run.again $values.run.attempt $values.queue | toJson | sha256sum | trunc 10 -}}
{{- printf "%s-%s" (include "graft.cut" (dict "name" (include "graft.fullname" $root) "limit" 48)) $digest -}}
{{- end }}

{{/* The headless Service by which workers find each other. Its name must begin with a letter. */}}
{{- define "graft.workersName" -}}
{{- printf "workers-%s" (include "graft.cut" (dict "name" (include "graft.fullname" .) "limit" 55)) -}}
{{- end }}

{{- define "graft.serviceAccountName" -}}
{{- default (ternary (include "graft.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{/* What pods are selected by; never the version, which would change the template with every release of the chart. */}}
{{- define "graft.selector" -}}
app.kubernetes.io/name: {{ include "graft.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: graft
{{- end }}

{{- define "graft.ownLabels" -}}
{{ include "graft.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "graft.labels" -}}
{{ include "graft.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The labels of a Job: `root` and `base`, those that a Job has in any case. */}}
{{- define "graft.jobLabels" -}}
{{- $values := .root.Values -}}
{{- $own := ternary dict (dict "kueue.x-k8s.io/queue-name" $values.queue) (eq $values.queue "") -}}
{{- merge .base $own (deepCopy $values.jobLabels) $values.commonLabels | toYaml -}}
{{- end }}

{{/* The whole entry `annotations:` from those of all objects and from `more`; empty without any: with `root`. */}}
{{- define "graft.annotations" -}}
{{- with merge (deepCopy .more) .root.Values.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end }}
