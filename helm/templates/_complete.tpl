{{/*
Put the default in the place of each value that is missing or null, so that templates never read nothing. Helm removes a
key whose value is null, also where the chart has a default for it. Every template calls this first.
*/}}
{{- define "graft.complete" -}}
{{- include "graft.fill" (dict "values" .Values "defaults" (include "graft.defaults" . | fromYaml)) -}}
{{- end }}

{{/* Fill `values` from `defaults`, group by group. A part of `resources` or `labels` that is missing was left out. */}}
{{- define "graft.fill" -}}
{{- range $key, $default := .defaults -}}
{{- $value := get $.values $key -}}
{{- if or (not (hasKey $.values $key)) (kindIs "invalid" $value) -}}
{{- $_ := set $.values $key $default -}}
{{- else if and (kindIs "map" $default) (kindIs "map" $value) (not (has $key (list "resources" "labels"))) -}}
{{- include "graft.fill" (dict "values" $value "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end }}
