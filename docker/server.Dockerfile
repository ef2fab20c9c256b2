# The gateway: websocket and REST server with tokenizer, vocoder and, for nano, the LM.
#
#   docker build -f docker/server.Dockerfile -t step-audio .
#
# The locks' torch carries CUDA's libraries and serves both kinds of machine. VARIANT=cpu leaves out
# what only GPUs use; TORCH_INDEX names an index with PyTorch's CPU builds, which are smaller still.
# Whisper, a profile's `transcriber`, is in the image for GPUs; WHISPER=1 puts it into the other.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG VARIANT=cpu
ARG TORCH_INDEX=
ARG WHISPER=
WORKDIR /opt/step-audio
COPY requirements ./requirements
COPY docker/steps ./docker/steps
RUN docker/steps/install-packages /opt/venv
COPY pyproject.toml LICENSE ./
COPY step_audio ./step_audio
COPY tokenizer ./tokenizer
COPY vocoder ./vocoder
COPY server ./server
COPY web ./web
RUN docker/steps/install-project /opt/venv && mkdir /data

FROM ${BASE}
# One layer each: dependencies change seldom, the project often.
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/step-audio /opt/step-audio
COPY --from=build --chown=10001:10001 /data /data
# Nothing is written to the root file system: voices people add and Python's caches go to volumes.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    NUMBA_CACHE_DIR=/tmp \
    STEP_AUDIO__SERVER__HOST=0.0.0.0 \
    STEP_AUDIO__SERVER__PORT=8000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
# SIGTERM: sentences are finished, new sessions refused (docs/operations.md).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["/opt/step-audio/docker/steps/healthcheck"]
ENTRYPOINT ["step-audio"]
CMD ["serve", "--profile", "nano"]
