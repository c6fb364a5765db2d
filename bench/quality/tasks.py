"""The models of the comparison: what is measured, and the gradients and importance matrices that plans are made from.

Each task has `path` (the weights), `evaluate(weights)` (a tuple, the damage first), and from calibration text:
`rms_gradients` at the weights, `gradients_at` quantized ones, and `second_moments` of what the matrices multiply.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn import functional as F

TINY = Path(__file__).resolve().parents[2] / "examples" / "tiny"
sys.path.insert(0, str(TINY))

import corpus  # noqa: E402
import model as tiny_model  # noqa: E402


def column_moments(model, run):
    """Means of x^2 by column, of every linear layer's input, by the weight's name; the sums run over all positions."""
    sums, counts, hooks = {}, {}, []

    def hook(name):
        def add(module, inputs):
            x = inputs[0].detach().flatten(0, -2).double()
            sums[name] = sums.get(name, 0) + x.square().sum(0)
            counts[name] = counts.get(name, 0) + len(x)

        return add

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            hooks.append(module.register_forward_pre_hook(hook(f"{name}.weight")))
    with torch.no_grad():
        run()
    for h in hooks:
        h.remove()
    return {name: (sums[name] / counts[name]).float() for name in sums}


def mean_squares(model, samples, scalar):
    """Root of the mean over samples of squared gradients of scalar(sample)."""
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    for sample in samples:
        model.zero_grad()
        scalar(sample).backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                total[name] += p.grad.double().square()
    return {name: (t / len(samples)).sqrt().float() for name, t in total.items() if t.any()}


class Tiny:
    """The example: KL(source || quantized) in nats a byte on held-out text, and the loss on the same."""

    measure, unit = "KL divergence in nats per byte", 1e-3
    second = "loss in nats per byte"
    EVALUATED, CALIBRATED = 64, 64  # windows of 256 bytes

    def __init__(self, text):
        self.path = TINY / "model.safetensors"
        self.model = tiny_model.load(self.path)
        train, held = corpus.split(corpus.read_text(text))
        length = self.model.config.max_position_embeddings
        windows = corpus.windows(held, length)
        self.held = windows[:: len(windows) // self.EVALUATED][: self.EVALUATED]
        windows = corpus.windows(train, length)[:, :-1]
        self.calibration = windows[:: len(windows) // self.CALIBRATED][: self.CALIBRATED]
        with torch.no_grad():
            self.reference = F.log_softmax(self.model(self.held[:, :-1]), -1)

    def quantized(self, weights):
        model = tiny_model.load(self.path)
        model.load_state_dict(weights)
        return model

    @torch.no_grad()
    def evaluate(self, weights):
        log_q = F.log_softmax(self.quantized(weights)(self.held[:, :-1]), -1)
        kl = F.kl_div(log_q.flatten(0, 1), self.reference.flatten(0, 1), log_target=True, reduction="batchmean")
        return kl.item(), F.nll_loss(log_q.flatten(0, 1), self.held[:, 1:].flatten()).item()

    def rms_gradients(self):
        """Of the log-likelihood of bytes drawn from the model itself: the root of the Fisher information's diagonal."""

        def scalar(window):
            logits = self.model(window[None])[0]
            drawn = torch.multinomial(logits.detach().softmax(-1), 1)[:, 0]
            return F.cross_entropy(logits, drawn, reduction="sum")

        return mean_squares(self.model, self.calibration, scalar)

    def gradients_at(self, weights):
        """Of the mean KL divergence, at quantized weights."""
        model = self.quantized(weights)
        with torch.no_grad():
            log_p = F.log_softmax(self.model(self.calibration), -1).flatten(0, 1)
        log_q = F.log_softmax(model(self.calibration), -1).flatten(0, 1)
        F.kl_div(log_q, log_p, log_target=True, reduction="batchmean").backward()
        return {name: p.grad for name, p in model.named_parameters()}

    def second_moments(self):
        return column_moments(self.model, lambda: self.model(self.calibration))


class Bert:
    """BERT's encoder over a dictionary of weights."""

    HEADS, EPSILON = 12, 1e-12

    def __init__(self, weights):
        self.weights = {name: w.float().requires_grad_() for name, w in weights.items() if w.is_floating_point()}
        self.layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layer."))
        self.moments = None  # name -> (sum of x^2, rows), while they are gathered

    def named_parameters(self):
        return self.weights.items()

    def zero_grad(self):
        for w in self.weights.values():
            w.grad = None

    def linear(self, x, name):
        if self.moments is not None:
            flat = x.detach().flatten(0, -2).double()
            sums, rows = self.moments.get(f"{name}.weight", (0, 0))
            self.moments[f"{name}.weight"] = sums + flat.square().sum(0), rows + len(flat)
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def norm(self, x, name):
        w = self.weights[f"{name}.weight"]
        return F.layer_norm(x, w.shape, w, self.weights[f"{name}.bias"], self.EPSILON)

    def attention(self, x, name):
        q, k, v = (
            self.linear(x, f"{name}.self.{part}").unflatten(-1, (self.HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.norm(x + self.linear(out, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def __call__(self, ids):
        """Last hidden states [batch, length, width] of sentences of equal length."""
        w, e = self.weights, "embeddings."
        x = F.embedding(ids, w[f"{e}word_embeddings.weight"]) + w[f"{e}token_type_embeddings.weight"][0]
        x = self.norm(x + w[f"{e}position_embeddings.weight"][: ids.shape[1]], f"{e}LayerNorm")
        for i in range(self.layers):
            name = f"encoder.layer.{i}"
            x = self.attention(x, f"{name}.attention")
            inner = F.gelu(self.linear(x, f"{name}.intermediate.dense"))
            x = self.norm(x + self.linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        return x


class MiniLM:
    """all-MiniLM-L6-v2: 1 - cosine between a sentence's embeddings, the mean over sentences."""

    measure, unit = "1 - cosine of embeddings", 1e-3
    second = "the largest 1 - cosine of a sentence"
    EVALUATED, CALIBRATED, LENGTH = 256, 128, 32

    def __init__(self, folder, text):
        self.path = Path(folder) / "model.safetensors"
        self.model = Bert(load_file(self.path))
        tokens = self.tokens(Path(folder), text)
        self.held, self.calibration = tokens[: self.EVALUATED], tokens[self.EVALUATED :]
        with torch.no_grad():
            self.reference = self.embed(self.model, self.held)

    def tokens(self, folder, text):
        """Verses of at least LENGTH tokens, cut to it; kept, since that needs the package `tokenizers`."""
        kept = folder / f"tokens-{self.LENGTH}.pt"
        if not kept.exists():
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            tokenizer.no_padding()
            tokenizer.enable_truncation(self.LENGTH)
            ids = (tokenizer.encode(line).ids for line in corpus.read_text(text).decode().split("\n"))
            ids = [i for i in ids if len(i) == self.LENGTH]
            torch.save(torch.tensor(ids[:: len(ids) // (self.EVALUATED + self.CALIBRATED) + 1]), kept)
        tokens = torch.load(kept)
        return tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(1611))]

    @staticmethod
    def embed(model, ids):
        return F.normalize(model(ids).mean(1), dim=-1)

    @torch.no_grad()
    def evaluate(self, weights):
        cosine = (self.embed(Bert(weights), self.held) * self.reference).sum(-1)
        return (1 - cosine).mean().item(), (1 - cosine).max().item()

    def rms_gradients(self):
        """Of the embedding in random directions: the diagonal of J'J, and 1 - cosine is half the squared distance."""

        def scalar(sentence):
            e = self.embed(self.model, sentence[None])
            return (e * torch.randn_like(e)).sum()

        return mean_squares(self.model, self.calibration, scalar)

    def gradients_at(self, weights):
        """Of the mean of 1 - cosine, at quantized weights."""
        model = Bert(weights)
        with torch.no_grad():
            reference = self.embed(self.model, self.calibration)
        (1 - (self.embed(model, self.calibration) * reference).sum(-1)).mean().backward()
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    def second_moments(self):
        self.model.moments = {}
        with torch.no_grad():
            self.embed(self.model, self.calibration)
        moments, self.model.moments = self.model.moments, None
        return {name: (sums / rows).float() for name, (sums, rows) in moments.items()}
