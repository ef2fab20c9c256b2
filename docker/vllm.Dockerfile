# vLLM with the plugin that knows Step1's attention and the rules of speech tokens.
#
#   docker build -f docker/vllm.Dockerfile -t step-audio-vllm .
#
# 0.24.0 is the version that `make test-vllm` runs; another one may lack what the plugin relies on.
ARG VLLM_IMAGE=vllm/vllm-openai:v0.24.0
FROM ${VLLM_IMAGE}
# As upstream's image: its caches of compiled kernels are root's. Nobody but the gateway reaches it.
# hadolint ignore=DL3002
USER 0
WORKDIR /opt/step-audio
COPY pyproject.toml LICENSE ./
COPY step_audio ./step_audio
COPY tokenizer ./tokenizer
COPY vocoder ./vocoder
COPY server ./server
# Without dependencies: the image has its own torch, and the plugin needs no more than vLLM does.
RUN python3 -m pip install --no-deps --no-cache-dir --no-build-isolation .
EXPOSE 8000
# `step-audio engine` starts `vllm serve` with the flags that Step1 needs, and prints them.
ENTRYPOINT ["python3", "-m", "step_audio", "engine"]
CMD ["--help"]
