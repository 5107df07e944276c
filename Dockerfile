# An image that starts training under ma2l: docker build --build-arg BASE_IMAGE=<your Ascend image> -t my-job .
#
#   BASE_IMAGE   what the training needs: CANN, a framework, Python. The default is enough for mock runs on a laptop.
#   PYTHON       interpreter of ma2l's own environment, 3.9 or newer with venv. The training may use another one.
#   RUN_AS       the user of the finished image. Any user works, given here or at start.
#   EXTRAS       what ma2l can do besides: obs (uploads to the object store), stacks (Python frames of hanging ranks).
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_TRUSTED_HOST   package index, where it is not pip's default.
#   Secrets pip.conf and ca.pem (--secret id=pip.conf,src=FILE): pip's configuration and the index's CA certificates;
#   they are there during the build only.

ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
ARG BASE_IMAGE
ARG PYTHON=python3
ARG EXTRAS
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
USER root
RUN stop() { echo "cannot build ma2l into $BASE_IMAGE: $1; $2" >&2; exit 1; }; \
    choose='pass --build-arg PYTHON=<path of a Python 3.9 or newer>'; \
    command -v "$PYTHON" >/dev/null || stop "it has no $PYTHON" "$choose, or add Python to the base image"; \
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || stop "its $PYTHON is older than 3.9" "$choose"; \
    "$PYTHON" -c 'import venv, ensurepip' || stop "its $PYTHON lacks venv" "add it to the base image (Debian, Ubuntu: python3-venv), or $choose"
COPY pyproject.toml README.md /usr/src/ma2l/
COPY ma2l /usr/src/ma2l/ma2l
# The script `ma2l` gets -I too: PYTHONPATH and the user's own packages are the training's business.
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=ca.pem \
    if [ -f /run/secrets/pip.conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip.conf; fi; \
    if [ -f /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi; \
    unset PYTHONPATH PYTHONHOME; \
    "$PYTHON" -m venv /opt/ma2l \
    && /opt/ma2l/bin/python -m pip install --no-cache-dir --no-compile --disable-pip-version-check "/usr/src/ma2l${EXTRAS:+[$EXTRAS]}" \
    && /opt/ma2l/bin/python -m pip uninstall --yes --quiet --disable-pip-version-check setuptools pip \
    && /opt/ma2l/bin/python -I -m compileall -q -f --invalidation-mode unchecked-hash /opt/ma2l/lib \
    && sed -i '1s/$/ -I/' /opt/ma2l/bin/ma2l
COPY entrypoint /opt/ma2l/entrypoint
# Our hook is there to be copied beside a boot file; in pre-start.d it would set log levels for everybody.
COPY ma-pre-start.sh /opt/ma2l/
RUN chmod -R a+rX,go-w /opt/ma2l && chmod a+x /opt/ma2l/entrypoint/ma2l-entrypoint && mkdir -p /opt/ma2l/pre-start.d

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG RUN_AS=root
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="ma2l" \
      org.opencontainers.image.description="Starts a training command once per Ascend NPU, with everything each rank needs" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER root
COPY --from=build /opt/ma2l /opt/ma2l
# ModelArts starts containers as 1000:100. In Ascend images 1000 is HwHiAiUser, which owns files there and stays.
RUN mkdir -p /usr/local/bin \
    && ln -sf /opt/ma2l/bin/ma2l /opt/ma2l/entrypoint/ma2l-entrypoint /usr/local/bin/ \
    && if ! grep -q '^[^:]*:[^:]*:1000:' /etc/passwd && command -v useradd >/dev/null; then \
           grep -q '^[^:]*:[^:]*:100:' /etc/group || groupadd --gid 100 ma-group; \
           useradd --no-log-init --create-home --uid 1000 --gid 100 ma-user; \
       fi
USER ${RUN_AS}
ENTRYPOINT ["ma2l-entrypoint"]
CMD ["--help"]
