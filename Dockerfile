# Steersman in a container. CPU:  docker build -t steersman .
#                           CUDA: docker build -t steersman:cuda --build-arg TORCH=cuda .
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE CHANGELOG.md constraints.txt ./
COPY release ./release
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
ARG TORCH=cpu
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
# The index of CPU builds spares gigabytes of CUDA libraries; the ordinary one has them.
RUN version="$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' /tmp/constraints.txt)" \
    && if [[ "$TORCH" == "cpu" ]]; then \
         pip install --index-url https://download.pytorch.org/whl/cpu "torch==${version}"; \
       else \
         pip install "torch==${version}"; \
       fi \
    && grep -v '^torch==' /tmp/constraints.txt > /tmp/others.txt \
    && pip install -c /tmp/others.txt "$(ls /wheels/*.whl)[studio,serve,export,tensorboard]" \
    && rm -r /wheels /tmp/constraints.txt /tmp/others.txt \
    && useradd --create-home --uid 1000 steersman
USER steersman
WORKDIR /home/steersman/work
EXPOSE 8000
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s CMD ["steersman", "--help"]
ENTRYPOINT ["steersman"]
CMD ["--help"]
