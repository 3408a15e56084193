{{/* Stop with everything that cannot work, each with its cure, so that nobody corrects one problem to meet the next. */}}
{{- define "graft.validate" -}}
{{- $problems := concat
  (include "graft.problems.addresses" . | fromJsonArray)
  (include "graft.problems.owned" . | fromJsonArray)
  (include "graft.problems.environment" . | fromJsonArray)
  (include "graft.problems.identity" . | fromJsonArray)
  (include "graft.problems.gpus" . | fromJsonArray)
  (include "graft.problems.workers" . | fromJsonArray)
  (include "graft.problems.volumes" . | fromJsonArray)
  (include "graft.problems.watching" . | fromJsonArray)
-}}
{{- if $problems -}}
{{- fail (printf "\n\nThese values cannot work together:\n\n  - %s\n" (join "\n  - " $problems)) -}}
{{- end -}}
{{- end }}

{{/* Where data comes from and where the release goes. */}}
{{- define "graft.problems.addresses" -}}
{{- $problems := list -}}
{{- $values := .Values -}}
{{- $given := include "graft.settings" . | fromJson -}}
{{- range $name := list "dataset.uri" "output.uri" "backbone.weights" "backbone.mirror" -}}
{{- $uri := default "" (get $given (printf "GRAFT_%s" (replace "." "_" $name | upper))) | trimPrefix "release:" -}}
{{- if and (not $uri) (hasSuffix ".uri" $name) -}}
{{- $problems = append $problems (printf "settings.%s is not set. Set it to an address such as s3://bucket/prefix." $name) -}}
{{- else if or (hasPrefix "file://" $uri) (hasPrefix "/" $uri) -}}
{{- $path := trimPrefix "file://" $uri -}}
{{- $mounts := ternary (list "/cache") list (ne $values.cache.claim "") -}}
{{- range $values.extraVolumeMounts }}{{ $mounts = append $mounts .mountPath }}{{ end -}}
{{- $mounted := false -}}
{{- range $mounts -}}
{{- if or (eq $path .) (hasPrefix (printf "%s/" (trimSuffix "/" .)) $path) -}}
{{- $mounted = true -}}
{{- end -}}
{{- end -}}
{{- if not $mounted -}}
{{- $problems = append $problems (printf "settings.%s is %s, and nothing is mounted there. Mount a volume with extraVolumes and extraVolumeMounts, or use s3://." $name $uri) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{/* Settings that follow from other values. */}}
{{- define "graft.problems.owned" -}}
{{- $problems := list -}}
{{- $cures := dict
  "GRAFT_AGAIN" "Set run.again instead of settings.again."
  "GRAFT_CACHE_DIR" "Remove settings.cache.dir: the chart mounts the cache where the job looks for it."
  "GRAFT_CACHE_LIMIT" "Set cache.size instead of settings.cache.limit."
  "GRAFT_DEVICES_GPUS" "Set gpus.count instead of settings.devices.gpus."
  "GRAFT_TELEMETRY_WEBHOOK_SECRET" "Name a Secret in webhook.secret instead of settings.telemetry.webhook_secret."
-}}
{{- $given := include "graft.settings" . | fromJson -}}
{{- range $name, $cure := $cures -}}
{{- if get $given $name -}}
{{- $problems = append $problems (printf "%s is set by the chart. %s" $name $cure) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{/* The name of a variable occurs once: of two, one would be lost in silence. */}}
{{- define "graft.problems.environment" -}}
{{- $problems := list -}}
{{- $seen := include "graft.variables" (dict "root" . "gpus" .Values.gpus.count) | fromJson -}}
{{- if and .Values.credentials.secret (eq .Values.credentials.format "keys") -}}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" -}}
{{- $_ := set $seen . "" -}}
{{- end -}}
{{- end -}}
{{- if gt (int .Values.workers) 1 -}}
{{- range list "JOB_NAME" "JOB_COMPLETION_INDEX" "TF_CONFIG" -}}
{{- $_ := set $seen . "" -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "GRAFT_" .name -}}
{{- $problems = append $problems (printf "extraEnv has %s. Set it under settings, where it is checked." .name) -}}
{{- else if hasKey $seen .name -}}
{{- $problems = append $problems (printf "extraEnv has %s, which is set already. Remove it there, or the value that sets it." .name) -}}
{{- end -}}
{{- $_ := set $seen .name "" -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{/* One identity before the store, one owner for what is annotated. */}}
{{- define "graft.problems.identity" -}}
{{- $problems := list -}}
{{- $role := get .Values.serviceAccount.annotations "eks.amazonaws.com/role-arn" -}}
{{- if and .Values.credentials.secret $role -}}
{{- $problems = append $problems "credentials.secret and the role in serviceAccount.annotations are two identities. Remove one of them." -}}
{{- end -}}
{{- if and .Values.credentials.secret .Values.credentials.podIdentity -}}
{{- $problems = append $problems "credentials.secret and credentials.podIdentity are two identities. Remove one of them." -}}
{{- end -}}
{{- if and .Values.serviceAccount.annotations (not .Values.serviceAccount.create) -}}
{{- $problems = append $problems "serviceAccount.annotations need an account to annotate. Set serviceAccount.create, or annotate your own account yourself." -}}
{{- end -}}
{{- $cures := dict "sidecar.istio.io/inject" " and set istio" "kueue.x-k8s.io/queue-name" " and set queue" -}}
{{- $reserved := keys $cures (include "graft.ownLabels" . | fromYaml) | uniq -}}
{{- $reserved = append $reserved "app.kubernetes.io/component" -}}
{{- range $value := list "podLabels" "jobLabels" "commonLabels" -}}
{{- range $label, $_ := get $.Values $value -}}
{{- if has $label $reserved -}}
{{- $problems = append $problems (printf "%s has %s, which the chart sets. Remove it%s." $value $label (default "" (get $cures $label))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "graft.problems.gpus" -}}
{{- $problems := list -}}
{{- $asked := concat (keys (default dict .Values.resources.limits)) (keys (default dict .Values.resources.requests)) | uniq -}}
{{- range $asked -}}
{{- if or (eq . $.Values.gpus.resource) (hasPrefix "nvidia.com/" .) -}}
{{- $problems = append $problems (printf "resources asks for %s, which the job would not be told. Set gpus.count and gpus.resource instead." .) -}}
{{- end -}}
{{- end -}}
{{- if and (gt (int .Values.gpus.count) 1) (contains "/mig-" .Values.gpus.resource) -}}
{{- $problems = append $problems (printf "gpus.count is %d and gpus.resource is %s. A process sees one slice of a GPU alone. Set gpus.count to 1, or raise workers." (int .Values.gpus.count) .Values.gpus.resource) -}}
{{- end -}}
{{- if and .Values.gpus.count (regexMatch "^(amd\\.com|gpu\\.intel\\.com)/" .Values.gpus.resource) -}}
{{- $problems = append $problems (printf "gpus.resource is %s, and TensorFlow is here with the libraries of NVIDIA alone. Use an NVIDIA GPU, or set gpus.count to 0." .Values.gpus.resource) -}}
{{- end -}}
{{- if and .Values.test.gpu (not .Values.gpus.count) -}}
{{- $problems = append $problems "test.gpu asks for the run's GPUs, and gpus.count is 0. Raise gpus.count, or leave test.gpu out." -}}
{{- end -}}
{{- $cpus := include "graft.logicalCpus" . | int -}}
{{- if and (gt $cpus 1) .Values.gpus.count -}}
{{- $problems = append $problems "settings.devices.logical_cpus is a rehearsal without GPUs, and gpus.count is not 0. Leave one of them out." -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "graft.logicalCpus" -}}
{{- $given := include "graft.settings" . | fromJson -}}
{{- default "1" (get $given "GRAFT_DEVICES_LOGICAL_CPUS") -}}
{{- end }}

{{/* Several workers are several hosts. */}}
{{- define "graft.problems.workers" -}}
{{- $problems := list -}}
{{- if gt (int .Values.workers) 1 -}}
{{- if gt (include "graft.logicalCpus" . | int) 1 -}}
{{- $problems = append $problems "settings.devices.logical_cpus is a rehearsal on one machine, and workers is above 1. Leave one of them out." -}}
{{- end -}}
{{- if contains "." (include "graft.fullname" .) -}}
{{- $problems = append $problems (printf "the name %s has a dot, which no host name of a worker may have. Set fullnameOverride." (include "graft.fullname" .)) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "graft.problems.volumes" -}}
{{- $problems := list -}}
{{- if and .Values.cache.claim .Values.cache.ephemeral -}}
{{- $problems = append $problems "cache.claim and cache.ephemeral are two volumes for one cache. Remove one of them." -}}
{{- end -}}
{{- if and .Values.cache.storageClass (not .Values.cache.ephemeral) -}}
{{- $problems = append $problems "cache.storageClass needs a volume to make. Set cache.ephemeral, or remove it." -}}
{{- end -}}
{{- range concat .Values.initContainers .Values.extraContainers -}}
{{- if eq .name "graft" -}}
{{- $problems = append $problems "initContainers or extraContainers have a second container named graft. Give it another name." -}}
{{- end -}}
{{- end -}}
{{- $names := list "cache" "scratch" "shared-memory" "credentials" "ca-bundle" -}}
{{- range .Values.extraVolumes -}}
{{- if has .name $names -}}
{{- $problems = append $problems (printf "extraVolumes has a second volume named %s. Give it another name." .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $extra := list -}}
{{- range .Values.extraVolumes }}{{ $extra = append $extra .name }}{{ end -}}
{{- $paths := list "/cache" "/tmp" "/dev/shm" "/etc/graft/aws" "/etc/graft/ca" -}}
{{- range .Values.extraVolumeMounts -}}
{{- if not (has .name $extra) -}}
{{- $problems = append $problems (printf "extraVolumeMounts mounts %s, which is not among extraVolumes. Add it there." .name) -}}
{{- end -}}
{{- if has (trimSuffix "/" .mountPath) $paths -}}
{{- $problems = append $problems (printf "extraVolumeMounts has a second mount at %s. Mount it elsewhere." .mountPath) -}}
{{- end -}}
{{- $paths = append $paths (trimSuffix "/" .mountPath) -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{- define "graft.problems.watching" -}}
{{- $problems := list -}}
{{- if and .Values.podMonitor.enabled (not (include "graft.port" .)) -}}
{{- $problems = append $problems "podMonitor.enabled needs metrics, and settings.telemetry.port is 0. Leave one of them out." -}}
{{- end -}}
{{- if and .Values.prometheusRule.enabled (eq .Values.prometheusRule.scope "release") (not .Values.podMonitor.enabled) (include "graft.port" .) -}}
{{- $problems = append $problems "prometheusRule.enabled watches what the PodMonitor of this release collects. Set podMonitor.enabled too, or prometheusRule.scope to cluster." -}}
{{- end -}}
{{- if and .Values.webhook.secret (not (get (include "graft.settings" . | fromJson) "GRAFT_TELEMETRY_WEBHOOK_URL")) -}}
{{- $problems = append $problems "webhook.secret signs what settings.telemetry.webhook_url gets, and that is not set. Set it, or leave webhook.secret out." -}}
{{- end -}}
{{- if and (hasKey .Values "enabled") (kindIs "bool" .Values.enabled) (not .Values.enabled) .Chart.IsRoot -}}
{{- $problems = append $problems "enabled is for the condition of a parent chart and stops nothing here. Leave it out." -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}
