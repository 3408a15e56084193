{{/* The specification of a Job: the same for a run, a schedule and a template. */}}
{{- define "graft.job" -}}
{{- include "graft.validate" . -}}
{{- $workers := int .Values.workers -}}
{{- if gt $workers 1 -}}
# A pod that failed is replaced under its index; those that ended well never come again.
completionMode: Indexed
completions: {{ $workers }}
parallelism: {{ $workers }}
{{- if semverCompare ">=1.33.0-0" .Capabilities.KubeVersion.Version }}
# Once the first worker has released, the run is over: nobody needs to replace one that was lost since training.
successPolicy:
  rules:
    - succeededIndexes: "0"
{{- end }}
{{ end -}}
backoffLimit: {{ mul .Values.job.retries $workers }}
activeDeadlineSeconds: {{ int .Values.job.activeDeadlineSeconds }}
{{- with include "graft.ttl" . }}
ttlSecondsAfterFinished: {{ . }}
{{- end }}
# A replacement starts when the old pod has ended: two pods of this Job never write one checkpoint.
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
    {{- if gt $workers 1 }}
    # Another worker was lost, was stopped or did not come. That one is counted, unless it was drained.
    - action: Ignore
      onExitCodes:
        containerName: graft
        operator: In
        values: [76]
    {{- end }}
template:
  {{- $run := dict "root" . "verb" "run" "gpus" .Values.gpus.count }}
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
