{{/* The environment of the pod: `root` and the number of `gpus`. Every name occurs once. */}}
{{- define "graft.env" -}}
{{- $root := .root -}}
{{- range $name, $value := include "graft.variables" . | fromJson }}
- name: {{ $name }}
  value: {{ $value | toJson }}
{{- end }}
{{- if and $root.Values.credentials.secret (eq $root.Values.credentials.format "keys") }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $root.Values.credentials.secret }}
      key: {{ . }}
      optional: {{ eq . "AWS_SESSION_TOKEN" }}
{{- end }}
{{- end }}
{{- with $root.Values.webhook.secret }}
- name: GRAFT_TELEMETRY_WEBHOOK_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $root.Values.webhook.key }}
{{- end }}
{{- with $root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
Who the workers are, and which of them a pod is, for TensorFlow. A pod of an Indexed Job is named after the Job and its
index; only the cluster knows the name of a Job that is made from a template, so the pod's labels say it.
*/}}
{{- define "graft.workers" -}}
{{- $service := include "graft.workersName" . -}}
{{- $addresses := list -}}
{{- range $index := until (int .Values.workers) -}}
{{- $addresses = append $addresses (printf "$(JOB_NAME)-%d.%s:2222" $index $service | quote) -}}
{{- end -}}
- name: JOB_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['batch.kubernetes.io/job-name']
- name: JOB_COMPLETION_INDEX
  valueFrom:
    fieldRef:
      fieldPath: metadata.annotations['batch.kubernetes.io/job-completion-index']
# Kubernetes puts in the variables above; it knows only those that stand before.
- name: TF_CONFIG
  value: '{"cluster": {"worker": [{{ join ", " $addresses }}]}, "task": {"type": "worker", "index": $(JOB_COMPLETION_INDEX)}}'
{{- end }}

{{/*
The plain variables as a JSON object, so that a later one replaces an earlier one: `root` and the number of `gpus`.
*/}}
{{- define "graft.variables" -}}
{{- $root := .root -}}
{{- $gpus := int .gpus -}}
{{- $values := $root.Values -}}
{{- $all := dict
  "GRAFT_NAME" (include "graft.fullname" $root)
  "GRAFT_AGAIN" $values.run.again
  "HOME" "/tmp"
  "AWS_ENDPOINT_URL_S3" $values.store.endpoint
  "AWS_DEFAULT_REGION" $values.store.region
  "AWS_CA_BUNDLE" (ternary (printf "/etc/graft/ca/%s" $values.caBundle.key) "" (ne $values.caBundle.configMap ""))
  "HTTP_PROXY" $values.proxy.http
  "HTTPS_PROXY" $values.proxy.https
  "NO_PROXY" $values.proxy.noProxy
-}}
{{- if and $values.credentials.secret (eq $values.credentials.format "file") -}}
{{- $_ := set $all "AWS_SHARED_CREDENTIALS_FILE" "/etc/graft/aws/credentials" -}}
{{- end -}}
{{- $all = mergeOverwrite $all (include "graft.settings" $root | fromJson) -}}
{{- $_ := set $all "GRAFT_CACHE_DIR" "/cache" -}}
{{- $_ := set $all "GRAFT_CACHE_LIMIT" (include "graft.cacheLimit" $values.cache.size) -}}
{{- if $gpus -}}
{{- $_ := set $all "GRAFT_DEVICES_GPUS" (toString $gpus) -}}
{{- $_ := set $all "CUDA_CACHE_PATH" "/cache/cuda" -}}
{{- else -}}
{{/* An image may ask for every GPU of its node; a pod that was given none must not see them. */}}
{{- $_ := set $all "NVIDIA_VISIBLE_DEVICES" "void" -}}
{{- end -}}
{{- range $name, $value := $all -}}
{{/* Kubernetes replaces $(NAME) by another variable, and $$ by one $: a value means what it says. */}}
{{- $_ := set $all $name (replace "$" "$$" $value) -}}
{{- if eq $value "" }}{{ $_ := unset $all $name }}{{ end -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{/*
The tree of settings as variables, in a JSON object: settings.training.batch_size is GRAFT_TRAINING_BATCH_SIZE. An
empty one is as if it were not there.
*/}}
{{- define "graft.settings" -}}
{{- $all := dict -}}
{{- range $group, $value := .Values.settings -}}
{{- range $key, $leaf := ternary $value (dict "" $value) (kindIs "map" $value) -}}
{{- with include "graft.text" $leaf -}}
{{- $_ := set $all (list "GRAFT" $group $key | compact | join "_" | upper) . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $all -}}
{{- end }}

{{/*
One value as the text of a variable. Helm holds a million of a values file as the float 1e+06: JSON writes it out.
*/}}
{{- define "graft.text" -}}
{{- if kindIs "invalid" . -}}
{{- else if kindIs "string" . -}}
{{- . -}}
{{- else if kindIs "slice" . -}}
{{- join "," . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end }}

{{/* Nine tenths of a size such as 20Gi, in bytes. */}}
{{- define "graft.cacheLimit" -}}
{{- div (mul (include "graft.mebibytes" .) 1048576 9) 10 -}}
{{- end }}

{{/* A size such as 20Gi in units of 1Mi. */}}
{{- define "graft.mebibytes" -}}
{{- $units := dict "Mi" 1 "Gi" 1024 "Ti" 1048576 -}}
{{- mul (regexFind "^[0-9]+" .) (get $units (regexFind "[A-Za-z]+$" .)) -}}
{{- end }}
