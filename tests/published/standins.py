"""Folders laid out as the published ones, at small widths: every listed file, in its own format.

Names and formats are those of the hub's folders stepfun-ai/Step-Audio-Tokenizer, -TTS-3B, -Chat,
-AQAA and -EditX, and of `speakers/` in the code repository stepfun-ai/Step-Audio. Ids, names and
vocabulary are the published ones. The numbers are random but for the language models: each says one
fixed answer, `SAID` and `SOUND`, whatever it is asked, so that a real engine's answers can be told.
What is not known of them is left out: Step-Audio-AQAA's vocoder, the number of shards.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from safetensors.torch import save
from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from step_audio.core.audio import read_audio
from step_audio.core.resampling import resample
from step_audio.core.types import TokenGroup
from step_audio.core.vocab import AUDIO_SIZE, Vocab
from step_audio.engine.step1 import Step1, Step1Config
from tests.tokenizer.golden import GOLDEN, SPEAKER, write_published
from vocoder.flow import FlowModel
from vocoder.flow_config import from_published
from vocoder.hift import HiftConfig, HiftGenerator

PUBLISHED_VOCAB: Final = 74752
"""Rows of the published models' embedding: text, sound, and a rest."""
NEWLINE: Final = 78
ASSISTANT: Final = 15886
"""Ids of the newline's byte and of " assistant" in the published text tokenizer."""
EOS: Final = 2
AUDIO_START, AUDIO_END = Vocab().size, Vocab().size + 1

COMMIT: Final = "a52b94d85d418cd5bc736d696d310c990befbc79"
"""Of the code repository whose recordings are fetched."""
RECORDINGS: Final = {
    "Tingting": ("那等我们到海洋馆之后，给妈妈买个礼物，好不好呀？", "zh_3", 44_100, 2),
    "TingtingRAP": ("（RAP）他说有福的人才会多吃亏", "en_1", 48_000, 2),
    "Tingting哼唱": ("（哼唱）刚好屋顶的雪化成雨飘落", "fr_4", 48_000, 3),
}
"""Name -> words, the clip that stands in, its rate, bytes a sample: as the published ones."""

_PIECES: Final[Any] = sentencepiece_model_pb2  # its classes are made at import
_TTS: Final = "stepfun-ai/Step-Audio-TTS-3B"
_WORDS: Final = (
    *("system", "human", "assistant", "tool", "input", "function_output", "tool_json_schemas"),
    *("it", "is", "noon", "in", "paris", "what", "time", "the", "hello", "user", "repeat"),
)
_CHINESE: Final = (
    "你好世界今天天气真的很吗我是谁请记录下所听到语音内容适配用户言简短口语化文字回答"
    "那等们到海洋馆之后给妈买个礼物不呀高兴生气悲伤撒娇中英韩日四川话粤广东慢快速哼唱"
    "，。！？、（）“”：；1234567890"
)


@cache
def text_tokenizer(*, markers: bool = False) -> bytes:
    """Return a `tokenizer.model` with the published ids where those are known.

    Special ids 0 to 4, bytes from 68 (so the newline is 78), " assistant" 15886, `<audio_N>` from
    65536 on; every other text id is unused or a word, a letter or a sign of these tests.

    Args:
        markers: name the first ids behind the sound `<audio_start>` and `<audio_end>`.
    """
    model = _PIECES.ModelProto()
    trainer, rule = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.byte_fallback = _PIECES.TrainerSpec.UNIGRAM, True
    trainer.unk_id, trainer.bos_id, trainer.eos_id, trainer.pad_id = 0, 1, 2, -1
    trainer.vocab_size = PUBLISHED_VOCAB
    rule.name, rule.add_dummy_prefix = "identity", True
    rule.remove_extra_whitespaces, rule.escape_whitespaces = False, True
    kinds = _PIECES.ModelProto.SentencePiece
    pieces: list[tuple[str, float, int]] = [
        (f"<unused_{n}>", 0.0, kinds.UNUSED) for n in range(PUBLISHED_VOCAB)
    ]
    pieces[0] = ("<unk>", 0.0, kinds.UNKNOWN)
    for number, name in ((1, "<s>"), (2, "</s>"), (3, "<|EOT|>"), (4, "<|BOT|>")):
        pieces[number] = (name, 0.0, kinds.CONTROL)
    for byte in range(256):
        pieces[68 + byte] = (f"<0x{byte:02X}>", 0.0, kinds.BYTE)
    signs = [chr(n) for n in range(0x21, 0x7F)] + sorted(set(_CHINESE) - set("1234567890"))
    words = [w for word in _WORDS for w in (word, f"\u2581{word}") if w != "\u2581assistant"]
    for at, piece in enumerate(["\u2581", *signs, *dict.fromkeys(words)], 324):
        pieces[at] = (piece, -10.0 if len(piece) == 1 else -2.0, kinds.NORMAL)
    pieces[ASSISTANT] = ("\u2581assistant", -2.0, kinds.NORMAL)
    for code in range(AUDIO_SIZE):
        pieces[Vocab().audio_base + code] = (f"<audio_{code}>", 0.0, kinds.USER_DEFINED)
    if markers:
        pieces[AUDIO_START] = ("<audio_start>", 0.0, kinds.USER_DEFINED)
        pieces[AUDIO_END] = ("<audio_end>", 0.0, kinds.USER_DEFINED)
    for piece, score, kind in pieces:
        model.pieces.add(piece=piece, score=score, type=kind)
    made: bytes = model.SerializeToString()
    return made


SOUND: Final = [TokenGroup((2 * n, 2 * n + 1), (3 * n, 3 * n + 1, 3 * n + 2)) for n in range(8)]
"""What every speaking stand-in says: each code once."""
SAID: Final = "（快速）今天真的很好。"
"""What Step-Audio-Chat's stand-in writes; -AQAA's writes it without the tag."""

LM: Final = Step1Config(
    vocab_size=PUBLISHED_VOCAB,
    hidden_size=64,
    intermediate_size=64,
    num_attention_heads=2,
    num_attention_groups=2,
    num_hidden_layers=2,
)
"""Heads of 32, the smallest that vLLM takes on CPUs."""


def _sizes() -> dict[str, int]:
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "num_attention_groups")
    sizes: dict[str, int] = {name: getattr(LM, name) for name in names}
    return sizes | {"num_hidden_layers": LM.num_hidden_layers, "vocab_size": LM.vocab_size}


def text_ids(text: str) -> list[int]:
    """Return the ids of text inside a turn."""
    encode = SentencePieceProcessor(model_proto=text_tokenizer()).encode
    return list(encode(f"\n{text}")[len(encode("\n")) :])


_SURE: Final = 40.0
"""Logit of the id that follows; every other has 0."""


@cache
def _state(said: str, *, speaks: bool) -> dict[str, torch.Tensor]:
    """Return weights whose every answer is `said`, then `SOUND`, then the end of the turn.

    The layers pass ids on untouched, and each id of the answer has a dimension of its own that
    points to the id behind it; so no id may stand in it twice. The answer begins behind a line's
    end, with which every prompt ends. Where a request allows sound alone, it begins with that.
    """
    model = Step1(LM)
    model.initialize(torch.Generator().manual_seed(1))
    state = {name: t.detach().to(torch.bfloat16) for name, t in model.state_dict().items()}
    sound = Vocab().ids(SOUND) if speaks else []
    chain = [NEWLINE, *text_ids(said), *sound, Vocab().eot]
    assert len(set(chain)) == len(chain) <= LM.hidden_size
    for name, weight in state.items():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
    embedding, head = state["model.embed_tokens.weight"].zero_(), state["lm_head.weight"].zero_()
    after_norm = LM.hidden_size**0.5
    for at, (token_id, following) in enumerate(pairwise(chain)):
        embedding[token_id, at] = 1.0
        head[following, at] = _SURE / after_norm
    if said and sound:
        head[sound[0], 0] = _SURE / 2 / after_norm
    return state


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()


def _shards(state: Mapping[str, torch.Tensor], count: int) -> dict[str, bytes]:
    """Return safetensors as published: `model-00001.safetensors`, without "-of-", and the index."""
    names, files, index = sorted(state), dict[str, bytes](), dict[str, str]()
    for number in range(count):
        file, own = f"model-{number + 1:05d}.safetensors", names[number::count]
        files[file] = save({name: state[name].contiguous() for name in own})
        index |= dict.fromkeys(own, file)
    size = sum(t.numel() * t.element_size() for t in state.values())
    return files | {
        "model.safetensors.index.json": _json(
            {"metadata": {"total_size": size}, "weight_map": index}
        )
    }


def _lm(
    state: Mapping[str, torch.Tensor],
    *,
    shards: int,
    tokenizer_config: Mapping[str, object],
    eos: object = 3,
) -> dict[str, bytes]:
    config = {
        "architectures": ["Step1ForCausalLM"],
        "auto_map": {
            "AutoConfig": "configuration_step1.Step1Config",
            "AutoModelForCausalLM": "modeling_step1.Step1ForCausalLM",
        },
        "model_type": "step1",
        "bos_token_id": 1,
        "pad_token_id": 0,
        "eos_token_id": eos,
        **_sizes(),
        "max_seq_len": 32768,
        "rms_norm_eps": 1e-5,
        "torch_dtype": "bfloat16",
    }
    return {
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": b"---\nlicense: apache-2.0\n---\n",
        "config.json": _json(config),
        "configuration_step1.py": b"raise SystemExit('code of a model folder was run')\n",
        "modeling_step1.py": b"raise SystemExit('code of a model folder was run')\n",
        "tokenizer.model": text_tokenizer(),
        "tokenizer_config.json": _json(tokenizer_config),
        **_shards(state, shards),
        **{
            f"lib/liboptimus_ths-{torch_}.cpython-310-x86_64-linux-gnu.so": b"\x7fELF"
            for torch_ in ("torch2.2-cu121", "torch2.3-cu121", "torch2.5-cu124")
        },
    }


_YAML: Final = """# set random seed, so that you may reproduce your result.
__set_seed1: !apply:random.seed [1986]
__set_seed2: !apply:numpy.random.seed [1986]
__set_seed3: !apply:torch.manual_seed [1986]

sample_rate: 22050
text_encoder_input_size: 512
llm_input_size: 1024
spk_embed_dim: 192

flow: !new:cosyvoice.flow.flow.MaskedDiffWithXvec
    input_size: 16
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: 5121
    input_frame_rate: 41.666
    only_mask_loss: True
    encoder: !new:cosyvoice.transformer.encoder.ConformerEncoder
        output_size: 16
        attention_heads: 2
        linear_units: 32
        num_blocks: 1
        dropout_rate: 0.1
        input_size: 16
        input_layer: 'linear'
    length_regulator: !new:cosyvoice.flow.length_regulator.InterpolateRegulator
        channels: 80
        sampling_ratios: [1, 1, 1, 1]
    decoder: !new:cosyvoice.flow.flow_matching.ConditionalCFM
        in_channels: 240
        n_spks: 1
        spk_emb_dim: 80
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: 0.7
                reg_loss_type: 'l1'
        estimator: !new:cosyvoice.flow.decoder.ConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [16, 16]
            dropout: 0.0
            attention_head_dim: 8
            n_blocks: 1
            num_mid_blocks: 1
            num_heads: 2
            act_fn: 'gelu'

hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
    in_channels: 80
    base_channels: 16
    nb_harmonics: 8
    sampling_rate: !ref <sample_rate>
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 8]
    upsample_kernel_sizes: [16, 16]
    istft_params:
        n_fft: 16
        hop_len: 4
    resblock_kernel_sizes: [3, 7, 11]
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    source_resblock_kernel_sizes: [7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: 80
        cond_channels: 16
"""


def _saved(state: Mapping[str, torch.Tensor]) -> bytes:
    out = io.BytesIO()
    torch.save(dict(state), out)
    return out.getvalue()


@cache
def _cosyvoice(seed: int) -> dict[str, bytes]:
    """Return the five files that the loader of a CosyVoice folder needs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = FlowModel(from_published(_YAML))
        hift = HiftGenerator(HiftConfig(base_channels=16, f0_channels=16))
    return {
        "cosyvoice.yaml": _YAML.encode(),
        "campplus.onnx": (SPEAKER / "campplus.onnx").read_bytes(),
        "speech_tokenizer_v1.onnx": _ear()["speech_tokenizer_v1.onnx"],
        "flow.pt": _saved(flow.state_dict()),
        "hift.pt": _saved(hift.state_dict()),
    }


@cache
def _ear() -> dict[str, bytes]:
    """Return Step-Audio-Tokenizer's files: Paraformer's folder, centroids, the semantic graph."""
    with TemporaryDirectory() as folder:
        recogniser = write_published(Path(folder))
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in Path(folder).rglob("*")
            if path.is_file()
        }
        inner = recogniser.relative_to(folder).as_posix()
    small = {".mdl": b"m", ".msc": b"m", ".mv": b"m", "README.md": b"FunASR", "seg_dict": b"a a\n"}
    small |= {"configuration.json": b"{}", "tokens.json": b"[]", "tokens.txt": b"<blank>\n"}
    small |= {"write_tokens_from_txt.py": b"raise SystemExit\n", "example/asr_example.wav": b"RIFF"}
    files |= {f"{inner}/{name}": content for name, content in small.items()}
    return files | {".gitattributes": b"lfs\n", "README.md": b"---\nlicense: apache-2.0\n---\n"}


def _in(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


_SETTINGS: Final = {
    "tokenizer_class": "LlamaTokenizer",
    "bos_token": "<s>",
    "eos_token": "<|EOT|>",
    "legacy": False,
    "padding_side": "left",
}


@cache
def repositories() -> dict[str, dict[str, bytes]]:
    """Return every hub folder: repository -> path -> content."""
    reads, writes = _state("", speaks=True), _state(SAID, speaks=False)
    settings = _SETTINGS | {"add_bos_token": True}
    aqaa = _lm(_spoken(), shards=3, tokenizer_config=settings, eos=[EOS, 3])
    return {
        "stepfun-ai/Step-Audio-Tokenizer": _ear(),
        _TTS: _lm(reads, shards=1, tokenizer_config=_SETTINGS)
        | _in("CosyVoice-300M-25Hz", _cosyvoice(1) | {"VERSION_Vq0206Vocoder_1202": b""})
        | _in("CosyVoice-300M-25Hz-Music", _cosyvoice(2)),
        "stepfun-ai/Step-Audio-Chat": _lm(
            writes,
            shards=2,
            tokenizer_config=settings
            | {"model_max_length": 65536, "chat_template": "{{ messages }}"},
        ),
        "stepfun-ai/Step-Audio-AQAA": aqaa | _multimodal(),
        "stepfun-ai/Step-Audio-EditX": _lm(reads, shards=1, tokenizer_config=_SETTINGS)
        | _in("CosyVoice-300M-25Hz", _editx()),
    }


def _spoken() -> dict[str, torch.Tensor]:
    """Return the language model of AQAA, which writes and speaks."""
    return _state(SAID.rpartition("）")[2], speaks=True)


def _multimodal() -> dict[str, bytes]:
    """Return what of AQAA's folder differs: the LM below a prefix, vision beside it."""
    state = {
        (f"language.{name}" if name.startswith("model.") else name): tensor
        for name, tensor in _spoken().items()
    }
    for tower in ("vit", "sam"):
        state[f"vision_model.{tower}.layers.0.self_attn.q_proj.weight"] = torch.zeros(8, 8)
    state["vit_large_projector.weight"] = torch.zeros(4, 4)
    config = {
        "architectures": ["MMGPTStep1ForCausalLMV2"],
        "model_type": "mmgpt_step1_v2",
        "image_token_id": 13,
        "bos_token_id": 1,
        "eos_token_id": [EOS, 3],
        "text_config": _sizes() | {"model_type": "step1", "max_seq_len": 32768},
        "vision_config": {"width": 8},
    }
    files = {"config.json": _json(config), "tokenizer.model": text_tokenizer(markers=True)}
    return files | _shards(state, 3)


def _editx() -> dict[str, bytes]:
    """Return EditX's vocoder: a CosyVoice 2 type, which this project cannot load."""
    yaml = (
        "sample_rate: 24000\ntoken_frame_rate: 25\ntoken_mel_ratio: 2\n"
        "flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec\n"
        "    input_size: 16\n    output_size: 80\n    vocab_size: 5121\n"
        "    input_frame_rate: 41.666\n    pre_lookahead_len: 3\n"
        "    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM\n"
        "        estimator: !new:cosyvoice.flow.DiT.dit.DiT\n            dim: 16\n"
    )
    return {
        "FLOW_VERSION": b"2",
        "campplus.onnx": (SPEAKER / "campplus.onnx").read_bytes(),
        "cosyvoice.yaml": yaml.encode(),
        "flow.pt": _saved({"decoder.estimator.transformer_blocks.0.attn.to_q.weight": _ONE}),
        "hift.pt": _saved({"conv_pre.bias": _ONE}),
    }


_ONE: Final = torch.zeros(1)


@cache
def recordings() -> dict[str, bytes]:
    """Return `speakers/` of the code repository: three recordings and what is said in them."""
    files: dict[str, bytes] = {}
    for name, (_, clip, rate_hz, width) in RECORDINGS.items():
        pcm, from_hz = read_audio(GOLDEN / "audio" / f"{clip}.wav")
        twice = resample(np.concatenate((pcm, pcm)), from_hz, rate_hz)  # long enough for a voice
        files[f"speakers/{name}_prompt.wav"] = _wav(twice, rate_hz, width)
    words = {name: text for name, (text, *_) in RECORDINGS.items()}
    return files | {"speakers/speakers_info.json": _json(words)}


def listing(path: Path) -> Path:
    """Write the list of these recordings, with their digests, in the form of the shipped one."""
    files = recordings()
    listed: dict[str, Any] = {
        "repository": "stepfun-ai/Step-Audio",
        "commit": COMMIT,
        "licence": "Apache-2.0 for the repository; nothing is said on the recordings",
        "words": _entry("speakers/speakers_info.json", files),
        "speakers": {
            "Tingting": {
                "": _entry("speakers/Tingting_prompt.wav", files),
                "RAP": _entry("speakers/TingtingRAP_prompt.wav", files),
                "哼唱": _entry("speakers/Tingting哼唱_prompt.wav", files),
            }
        },
    }
    path.write_bytes(_json(listed))
    return path


def _entry(path: str, files: Mapping[str, bytes]) -> dict[str, object]:
    content = files[path]
    digest = hashlib.sha256(content).hexdigest()
    return {"path": path, "bytes": len(content), "sha256": digest}


def _wav(pcm: np.ndarray[Any, np.dtype[np.float32]], rate_hz: int, width: int) -> bytes:
    full = 2 ** (8 * width - 1) - 1
    numbers = np.round(pcm * full).astype("<i4")
    raw = numbers.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(width)
        file.setframerate(rate_hz)
        file.writeframes(raw)
    return out.getvalue()


class CodeHost:
    """A host of raw files on loopback: `/stepfun-ai/Step-Audio/COMMIT/PATH`, with ranges.

    Attributes:
        address: where it listens.
        files: path in the repository -> content.
        asked: (path, Range header) of each request.
        cut: path -> bytes after which the next answer breaks off, once.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files, self.address = dict(files), ""
        self.asked: list[tuple[str, str | None]] = []
        self.cut: dict[str, int] = {}


@contextmanager
def code_host(files: Mapping[str, bytes] | None = None) -> Iterator[CodeHost]:
    """Serve recordings until the end of the block."""
    host = CodeHost(recordings() if files is None else files)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            begins = f"/stepfun-ai/Step-Audio/{COMMIT}/"
            asked = urlsplit(self.path).path
            path = unquote(asked.removeprefix(begins))
            host.asked.append((path, self.headers["Range"]))
            content = host.files.get(path)
            if not asked.startswith(begins) or content is None or not asked.isascii():
                self.send_error(404)
                return
            begin = int((self.headers["Range"] or "bytes=0-")[6:-1])
            sent = content[begin:]
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent[: host.cut.pop(path, len(sent))])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    host.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
