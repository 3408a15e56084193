{{/* The one pod of all launches and of the test: `root`, the `verb` of graft, the number of `gpus`. */}}
{{- define "graft.pod" -}}
{{- $root := .root -}}
{{- $verb := .verb -}}
{{- $gpus := int .gpus -}}
{{- $values := $root.Values -}}
{{- $together := and (eq $verb "run") (gt (int $values.workers) 1) -}}
metadata:
  labels:
    {{- include "graft.selector" $root | nindent 4 }}
    sidecar.istio.io/inject: {{ eq $values.istio "native" | quote }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with merge (ternary (dict "sidecar.istio.io/nativeSidecar" "true") dict (eq $values.istio "native")) $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  {{- if $together }}
  # With it, the host name that the Job gives a pod can be looked up.
  subdomain: {{ include "graft.workersName" $root }}
  {{- end }}
  terminationGracePeriodSeconds: {{ int $values.job.terminationGracePeriodSeconds }}
  serviceAccountName: {{ include "graft.serviceAccountName" $root }}
  automountServiceAccountToken: false
  # A Service of another release, named graft-…, would set variables that look like settings.
  enableServiceLinks: false
  securityContext:
    runAsNonRoot: true
    seccompProfile:
      type: RuntimeDefault
    {{- with $values.runAs.user }}
    runAsUser: {{ int . }}
    {{- end }}
    {{- with $values.runAs.group }}
    runAsGroup: {{ int . }}
    {{- end }}
    {{- with $values.runAs.fsGroup }}
    fsGroup: {{ int . }}
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- $architecture := ternary (dict "kubernetes.io/arch" $values.architecture) dict (ne $values.architecture "") }}
  {{- with merge (deepCopy $values.nodeSelector) $architecture }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with concat (include "graft.gpuTolerations" $values | fromJsonArray) $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: graft
      image: {{ include "graft.image" $root | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: [{{ $verb }}]
      env:
        {{- include "graft.env" (dict "root" $root "gpus" $gpus) | trim | nindent 8 }}
        {{- if $together }}
        {{- include "graft.workers" $root | nindent 8 }}
        {{- end }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with include "graft.port" $root }}
      ports:
        - name: metrics
          containerPort: {{ . }}
      {{- end }}
      resources:
        {{- include "graft.resources" (dict "root" $root "gpus" $gpus) | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      # The job writes its result there; of one that could not, the log's end is better than nothing.
      terminationMessagePolicy: FallbackToLogsOnError
      volumeMounts:
        - name: cache
          mountPath: /cache
        - name: scratch
          mountPath: /tmp
        {{- if gt $gpus 1 }}
        - name: shared-memory
          mountPath: /dev/shm
        {{- end }}
        {{- if and $values.credentials.secret (eq $values.credentials.format "file") }}
        - name: credentials
          mountPath: /etc/graft/aws
          readOnly: true
        {{- end }}
        {{- if $values.caBundle.configMap }}
        - name: ca-bundle
          mountPath: /etc/graft/ca
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: cache
      {{- if and $values.cache.claim (eq $verb "run") }}
      persistentVolumeClaim:
        claimName: {{ $values.cache.claim }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ $values.cache.size }}
      {{- end }}
    - name: scratch
      emptyDir:
        sizeLimit: {{ $values.scratch.size }}
    {{- if gt $gpus 1 }}
    # The runtime's own 64 MB are too few for NCCL.
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: {{ $values.gpus.sharedMemory }}
    {{- end }}
    {{- if and $values.credentials.secret (eq $values.credentials.format "file") }}
    - name: credentials
      secret:
        secretName: {{ $values.credentials.secret }}
    {{- end }}
    {{- with $values.caBundle.configMap }}
    - name: ca-bundle
      configMap:
        name: {{ . }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{- define "graft.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{/* The metrics port, as the job has it by default; empty where nothing is served. */}}
{{- define "graft.port" -}}
{{- $telemetry := default dict .Values.settings.telemetry -}}
{{- $port := int (hasKey $telemetry "port" | ternary $telemetry.port 8000) -}}
{{- if $port -}}{{ $port }}{{- end -}}
{{- end }}

{{/*
For a run with GPUs, and for its test without them: a nodeSelector may lead both to such nodes alone. Kueue adds the
tolerations of its flavors to the Job's template. Helm would take a list that differs from its own back, which fails.
*/}}
{{- define "graft.gpuTolerations" -}}
{{- $usual := dict "key" "nvidia.com/gpu" "operator" "Exists" "effect" "NoSchedule" -}}
{{- $wanted := ternary (not .queue) .gpus.toleration (kindIs "invalid" .gpus.toleration) -}}
{{- ternary (list $usual) list (and (gt (int .gpus.count) 0) $wanted) | toJson -}}
{{- end }}

{{/* What was asked for, and the number of `gpus`: with `root`. */}}
{{- define "graft.resources" -}}
{{- $values := .root.Values -}}
{{- $gpus := int .gpus -}}
{{- $resources := deepCopy $values.resources -}}
{{- if $gpus -}}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict $values.gpus.resource (toString $gpus))) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}
