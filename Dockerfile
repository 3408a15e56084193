# Graft's image, with GPU libraries (VARIANT=gpu), without (VARIANT=cpu), or without TensorFlow (VARIANT=launcher).
# `make image` builds it. docs/decisions/0022-the-image.md and 0041-something-to-pull.md say why it is built like this.
#
# Any Linux with glibc, a shell and Python 3.11 to 3.13 with ensurepip is a base.
ARG BASE=python:3.11-slim-bookworm
ARG VARIANT=gpu
# A folder of the build context, for KERAS_HOME/models. COPY wants something that is there: this file means none.
ARG WEIGHTS=pyproject.toml


# The base, less what a running job has no use for and what somebody else might have.
FROM ${BASE} AS base
# Debian's python3-venv, if that is where Python comes from, then files that no package accounts for.
RUN if command -v dpkg; then dpkg --purge python3-venv python3.11-venv python3-pip-whl python3-setuptools-whl; fi \
 && stdlib=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
 && rm -rf "$stdlib"/ensurepip "$stdlib"/site-packages/* /usr/local/bin/pip* /etc/apt/sources.list* \
      /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/include /usr/local/include /root/.cache \
 && find / -xdev -type f \( -name '*.h' -o -name '*.a' \) -delete \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && find / -xdev -type d -perm -0002 ! -path /tmp -exec chmod o-w {} + \
 && python3 -m compileall -q -f --invalidation-mode unchecked-hash "$stdlib"
# A user of group 0 by whatever number keeps images, weights and features here, where no volume does.
RUN mkdir -m 0775 /cache


# A virtual environment of the lock's wheels and nothing else: pip has one of its own, which stays behind.
FROM ${BASE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /installer && python3 -m venv --without-pip /opt/graft
ARG VARIANT
COPY requirements/${VARIANT}.txt /requirements.txt
# The registry to use, its credentials and its certificate authority are the builder's own and stay outside: as secrets.
# Without them pip uses its default. NVIDIA's libraries go apart, if any: gigabytes that another version of any other
# wheel must not ship again.
RUN --mount=type=secret,id=pip.conf,target=/run/secrets/pip.conf \
    --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    PIP_CONFIG_FILE=/run/secrets/pip.conf /installer/bin/pip --python /opt/graft/bin/python install --quiet \
      --no-cache-dir --no-compile --require-hashes --only-binary :all: --requirement /requirements.txt \
 && site=$(echo /opt/graft/lib/python3.*/site-packages) && mkdir -p /cuda"$site" \
 && if [ -d "$site"/nvidia ]; then mv "$site"/nvidia /cuda"$site"; fi
# Headers, static libraries and Clang serve who builds programs. kubernetes.aio is that client a second time, and botocore
# describes 400 services beside S3 and those that give credentials. What XLA and cuDNN translate with at run time stays
# (ptxas, libdevice, nvJitLink, NVRTC). Byte code holds whatever the files' dates, since nobody edits them here.
RUN site=$(echo /opt/graft/lib/python3.*/site-packages) \
 && rm -rf "$site"/tensorflow/include /cuda"$site"/nvidia/*/include "$site"/clang/native "$site"/kubernetes/aio \
 && find "$site" -mindepth 3 -maxdepth 3 -type d -path "$site/boto*/data/*" ! -name s3 ! -name sts ! -name sso \
      ! -name sso-oidc ! -name signin -exec rm -rf {} + \
 && find "$site" /cuda -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.a' \) -delete \
 && python3 -m compileall -q --invalidation-mode unchecked-hash "$site" \
 && python3 -m compileall -q -s /cuda --invalidation-mode unchecked-hash /cuda


# Graft itself, apart: its layer is small and the only one that most changes touch.
FROM dependencies AS code
COPY pyproject.toml README.md LICENSE /source/
COPY job /source/job
RUN /installer/bin/pip --python /opt/graft/bin/python install --quiet --no-index --no-deps --no-build-isolation \
      --no-compile --prefix /code/opt/graft /source \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /code


# The bill of materials, to lie beside the image: `--target inventory --output type=local,dest=build`.
FROM dependencies AS listing
ARG VARIANT
COPY tools/image/cyclonedx.txt pyproject.toml /source/
RUN --mount=type=secret,id=pip.conf,target=/run/secrets/pip.conf \
    --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    python3 -m venv /cyclonedx \
 && PIP_CONFIG_FILE=/run/secrets/pip.conf /cyclonedx/bin/pip install --quiet --no-cache-dir \
      --require-hashes --only-binary :all: --requirement /source/cyclonedx.txt \
 && mkdir /list && /cyclonedx/bin/cyclonedx-py environment --validate --output-reproducible \
      --pyproject /source/pyproject.toml --output-file /list/graft-${VARIANT}.cdx.json /opt/graft/bin/python
FROM scratch AS inventory
COPY --from=listing /list /


FROM base AS weights
ARG WEIGHTS
COPY ${WEIGHTS} /weights/
RUN rm -f /weights/pyproject.toml


# From nothing, so that what was removed above is in no layer either.
FROM scratch

# HOME is the one place, beside the cache, that is writable under a read-only root. NVIDIA_VISIBLE_DEVICES is never set
# here: a pod without GPUs would see every GPU of its node. Every address: a container with a terminal (`docker run -it`)
# is watched from outside of it too.
ENV PATH=/opt/graft/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    KERAS_HOME=/opt/keras \
    GRAFT_CACHE_DIR=/cache \
    GRAFT_TELEMETRY_HOST=* \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

COPY --from=base / /
COPY --from=dependencies /cuda /
COPY --from=dependencies /opt/graft /opt/graft
COPY --from=weights /weights /opt/keras/models
COPY --from=code /code /

# A number satisfies `runAsNonRoot`; any other in group 0 does as well.
USER 65532:0
EXPOSE 8000
ENTRYPOINT ["graft"]
CMD ["--help"]

# Version, revision and source belong to the build: `make image` gives them as options. (As build arguments they would be
# yesterday's, wherever buildah finds this step in its cache.)
LABEL org.opencontainers.image.title="Graft" \
      org.opencontainers.image.description="Transfer learning of image classifiers as one containerised Kubernetes Job" \
      org.opencontainers.image.licenses="Apache-2.0"
