{{/* The default of each value. Generated from values.yaml by `make generate`. */}}
{{- define "graft.defaults" -}}
launch: run
settings: {}
run:
  again: ''
  attempt: ''
schedule:
  cron: 0 3 * * *
  timeZone: Etc/UTC
  startingDeadlineSeconds: 3600
  concurrencyPolicy: Forbid
  suspend: false
  successfulJobsHistoryLimit: 10
  failedJobsHistoryLimit: 10
image:
  repository: graft
  tag: ''
  digest: ''
  pullPolicy: IfNotPresent
imagePullSecrets: []
job:
  retries: 3
  activeDeadlineSeconds: 86400
  ttlSecondsAfterFinished: null
  terminationGracePeriodSeconds: 120
store:
  endpoint: ''
  region: ''
credentials:
  secret: ''
  format: file
  podIdentity: false
caBundle:
  configMap: ''
  key: ca.crt
webhook:
  secret: ''
  key: secret
proxy:
  http: ''
  https: ''
  noProxy: ''
cache:
  claim: ''
  ephemeral: false
  storageClass: ''
  size: 20Gi
scratch:
  size: 10Gi
requestNodeDisk: true
workers: 1
gpus:
  count: 0
  resource: nvidia.com/gpu
  sharedMemory: 2Gi
  toleration: null
resources:
  requests:
    cpu: '1'
    memory: 4Gi
  limits:
    memory: 8Gi
runtimeClassName: ''
architecture: amd64
nodeSelector: {}
affinity: {}
tolerations: []
topologySpreadConstraints: []
priorityClassName: ''
schedulerName: ''
queue: ''
istio: disabled
podLabels: {}
podAnnotations: {}
jobLabels: {}
jobAnnotations: {}
commonLabels: {}
commonAnnotations: {}
initContainers: []
extraContainers: []
dnsConfig: {}
hostAliases: []
podSecurityContext: {}
containerSecurityContext: {}
runAs:
  user: null
  group: null
  fsGroup: null
serviceAccount:
  create: true
  name: ''
  annotations: {}
extraEnv: []
extraEnvFrom: []
extraVolumes: []
extraVolumeMounts: []
networkPolicy:
  enabled: false
  metricsFrom: []
  extraEgress: []
podMonitor:
  enabled: false
  interval: 15s
  scrapeTimeout: ''
  labels:
    release: kube-prometheus-stack
  relabelings: []
  metricRelabelings: []
prometheusRule:
  enabled: false
  scope: release
  labels:
    release: kube-prometheus-stack
  pendingSeconds: 1800
  stalledSeconds: 1800
  severity: warning
  runbookUrl: ''
dashboard:
  enabled: false
  labels:
    grafana_dashboard: '1'
  annotations: {}
test:
  gpu: false
extraObjects: []
nameOverride: ''
fullnameOverride: ''
global:
  imageRegistry: ''
  imagePullSecrets: []
{{- end }}
