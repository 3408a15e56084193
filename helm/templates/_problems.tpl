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
{{- range $name := list "dataset" "output" -}}
{{- $uri := dig $name "uri" "" $values.settings -}}
{{- if not $uri -}}
{{- $problems = append $problems (printf "settings.%s.uri is not set. Set it to an address such as s3://bucket/prefix." $name) -}}
{{- else if hasPrefix "file://" $uri -}}
{{- $mounted := false -}}
{{- range $values.extraVolumeMounts -}}
{{- if or (eq (trimPrefix "file://" $uri) .mountPath) (hasPrefix (printf "%s/" (trimSuffix "/" .mountPath)) (trimPrefix "file://" $uri)) -}}
{{- $mounted = true -}}
{{- end -}}
{{- end -}}
{{- if not $mounted -}}
{{- $problems = append $problems (printf "settings.%s.uri is %s, and nothing is mounted there. Mount a volume with extraVolumes and extraVolumeMounts, or use s3://." $name $uri) -}}
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
{{- $reserved := keys (include "graft.selector" . | fromYaml) | concat (list "sidecar.istio.io/inject") -}}
{{- range $label, $_ := .Values.podLabels -}}
{{- if has $label $reserved -}}
{{- $problems = append $problems (printf "podLabels has %s, which the chart sets. Remove it%s." $label (ternary " and set istio" "" (eq $label "sidecar.istio.io/inject"))) -}}
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
{{- if and .Values.test.gpu (not .Values.gpus.count) -}}
{{- $problems = append $problems "test.gpu asks for the run's GPUs, and gpus.count is 0. Raise gpus.count, or leave test.gpu out." -}}
{{- end -}}
{{- $cpus := dig "devices" "logical_cpus" 1 .Values.settings | int -}}
{{- if and (gt $cpus 1) .Values.gpus.count -}}
{{- $problems = append $problems "settings.devices.logical_cpus is a rehearsal without GPUs, and gpus.count is not 0. Leave one of them out." -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}

{{/* Several workers are several hosts. */}}
{{- define "graft.problems.workers" -}}
{{- $problems := list -}}
{{- if gt (int .Values.workers) 1 -}}
{{- if gt (dig "devices" "logical_cpus" 1 .Values.settings | int) 1 -}}
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
{{- if and (hasKey .Values "enabled") (not .Values.enabled) .Chart.IsRoot -}}
{{- $problems = append $problems "enabled is for the condition of a parent chart and stops nothing here. Leave it out." -}}
{{- end -}}
{{- toJson $problems -}}
{{- end }}
