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
    app.kubernetes.io/component: {{ $verb }}
    sidecar.istio.io/inject: {{ eq $values.istio "native" | quote }}
    {{- with merge (deepCopy $values.podLabels) $values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $mesh := ternary (dict "sidecar.istio.io/nativeSidecar" "true") dict (eq $values.istio "native") }}
  {{- with include "graft.annotations" (dict "root" $root "more" (merge $mesh $values.podAnnotations)) }}
  {{- . | nindent 2 }}
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
    {{- $additions := deepCopy $values.podSecurityContext }}
    {{- with $values.runAs.fsGroup }}
    fsGroup: {{ int . }}
    {{- $additions = merge $additions (dict "fsGroupChangePolicy" "OnRootMismatch") }}
    {{- end }}
    {{- with $additions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "graft.pullSecrets" $values | fromJsonArray }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.schedulerName }}
  schedulerName: {{ . }}
  {{- end }}
  {{- with $values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.hostAliases }}
  hostAliases:
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
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $spread := deepCopy . }}
    {{- if not .labelSelector }}
    # Without a selector it would count no pod, and spread none.
    {{- $own := merge (dict "app.kubernetes.io/component" $verb) (include "graft.selector" $root | fromYaml) }}
    {{- $_ := set $spread "labelSelector" (dict "matchLabels" $own) }}
    {{- end }}
    - {{- toYaml $spread | nindent 6 }}
    {{- end }}
  {{- end }}
  {{- with $values.initContainers }}
  initContainers:
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
      {{- if eq $verb "run" }}
      ports:
        - name: metrics
          containerPort: {{ . }}
      {{- end }}
      {{- end }}
      resources:
        {{- include "graft.resources" (dict "root" $root "verb" $verb "gpus" $gpus) | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
        {{- with $values.containerSecurityContext }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
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
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: cache
      {{- if and $values.cache.claim (eq $verb "run") }}
      persistentVolumeClaim:
        claimName: {{ $values.cache.claim }}
      {{- else if and $values.cache.ephemeral (eq $verb "run") }}
      ephemeral:
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            {{- with $values.cache.storageClass }}
            storageClassName: {{ . }}
            {{- end }}
            resources:
              requests:
                storage: {{ $values.cache.size }}
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
{{- $repository := $image.repository -}}
{{- with .Values.global.imageRegistry -}}
{{/* The first part of a name is a registry if it has a dot or a port. */}}
{{- $path := regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $repository "" -}}
{{- $repository = printf "%s/%s" (trimSuffix "/" .) $path -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end }}

{{/* The Secrets of all registries, each once, as a JSON array. */}}
{{- define "graft.pullSecrets" -}}
{{- $secrets := list -}}
{{- range concat .imagePullSecrets .global.imagePullSecrets -}}
{{- $secrets = append $secrets (ternary . (dict "name" .) (kindIs "map" .)) -}}
{{- end -}}
{{- uniq $secrets | toJson -}}
{{- end }}

{{/* The metrics port, as the job has it by default; empty where nothing is served. */}}
{{- define "graft.port" -}}
{{- $given := include "graft.settings" . | fromJson -}}
{{- $port := int (default "8000" (get $given "GRAFT_TELEMETRY_PORT")) -}}
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

{{/* What was asked for, the disk of the node and the number of `gpus`: with `root` and `verb`. */}}
{{- define "graft.resources" -}}
{{- $values := .root.Values -}}
{{- $gpus := int .gpus -}}
{{- $resources := deepCopy $values.resources -}}
{{- if $values.requestNodeDisk -}}
{{- $disk := include "graft.nodeDisk" . -}}
{{- $requested := get (default dict $resources.requests) "ephemeral-storage" -}}
{{- $limited := get (default dict $resources.limits) "ephemeral-storage" -}}
{{- $asked := dict
  "requests" (dict "ephemeral-storage" (coalesce $requested $limited $disk | toString))
  "limits" (dict "ephemeral-storage" (coalesce $limited $requested $disk | toString))
-}}
{{- $resources = mergeOverwrite $resources $asked -}}
{{- end -}}
{{- if $gpus -}}
{{- $resources = mergeOverwrite $resources (dict "limits" (dict $values.gpus.resource (toString $gpus))) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{/*
What a pod may fill of its node's disk: the volumes that lie there, and 1Gi for its log. Where nobody asks, the scheduler
does not look, and GKE Autopilot and LimitRanges give so little that the pod is evicted.
*/}}
{{- define "graft.nodeDisk" -}}
{{- $values := .root.Values -}}
{{- $total := add 1024 (include "graft.mebibytes" $values.scratch.size | int) -}}
{{- if not (and (eq .verb "run") (or $values.cache.claim $values.cache.ephemeral)) -}}
{{- $total = add $total (include "graft.mebibytes" $values.cache.size | int) -}}
{{- end -}}
{{- printf "%dMi" (int $total) -}}
{{- end }}
