{{/* The specification of a Job: the same for a run, a schedule and a template. */}}
{{- define "graft.job" -}}
{{- include "graft.validate" . -}}
{{- $workers := int .Values.workers -}}
{{- if gt $workers 1 -}}
# A pod that failed is replaced under its index; those that ended well never come again.
completionMode: Indexed
completions: {{ $workers }}
parallelism: {{ $workers }}
{{ end -}}
backoffLimit: {{ mul .Values.job.retries $workers }}
activeDeadlineSeconds: {{ int .Values.job.activeDeadlineSeconds }}
{{- with include "graft.ttl" . }}
ttlSecondsAfterFinished: {{ . }}
{{- end }}
# A replacement starts when the old pod has ended: two of them never write one checkpoint.
podReplacementPolicy: Failed
# The first rule that fits decides; a failure that none fits counts towards backoffLimit.
podFailurePolicy:
  rules:
    # Settings, data set, weights, divergence, quality gate: another try would end the same way.
    - action: FailJob
      onExitCodes:
        containerName: graft
        operator: In
        values: [2, 3, 4, 5, 6]
    # Drained, preempted, evicted: not the run's fault.
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
template:
  {{- $run := dict "root" . "verb" "run" "gpus" .Values.gpus.count "claim" .Values.cache.claim }}
  {{- include "graft.pod" $run | nindent 2 }}
{{- end }}

{{/* Seconds that a finished Job stays. None for a run: Argo CD would make again what the clock deletes. */}}
{{- define "graft.ttl" -}}
{{- $ttl := .Values.job.ttlSecondsAfterFinished -}}
{{- if not (kindIs "invalid" $ttl) -}}
{{- int $ttl -}}
{{- else if ne .Values.launch "run" -}}
604800
{{- end -}}
{{- end }}
