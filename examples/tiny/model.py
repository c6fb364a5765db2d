"""A small LLaMA whose parameters carry Hugging Face's names, so that its files open in transformers as well."""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent


def linear(n_in, n_out):
    return nn.Linear(n_in, n_out, bias=False)


def rotary(length, head_dim, theta):
    """Cosines and sines of rotary positions, [length, head_dim], the two halves of a head alike."""
    frequency = theta ** (-torch.arange(0, head_dim, 2) / head_dim)
    angle = torch.outer(torch.arange(length), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


class Attention(nn.Module):
    """Causal attention whose key and value heads are each shared by several query heads."""

    def __init__(self, c):
        super().__init__()
        self.head_dim = c.head_dim
        self.q_proj = linear(c.hidden_size, c.num_attention_heads * c.head_dim)
        self.k_proj = linear(c.hidden_size, c.num_key_value_heads * c.head_dim)
        self.v_proj = linear(c.hidden_size, c.num_key_value_heads * c.head_dim)
        self.o_proj = linear(c.num_attention_heads * c.head_dim, c.hidden_size)

    def forward(self, x, cos, sin):
        q, k, v = (
            p(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        shared = q.shape[1] // k.shape[1]
        k = rotate(k, cos, sin).repeat_interleave(shared, dim=1)
        v = v.repeat_interleave(shared, dim=1)
        out = F.scaled_dot_product_attention(rotate(q, cos, sin), k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c.hidden_size, c.intermediate_size)
        self.up_proj = linear(c.hidden_size, c.intermediate_size)
        self.down_proj = linear(c.intermediate_size, c.hidden_size)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = MLP(c)
        self.input_layernorm = nn.RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """Maps tokens [batch, length] to logits [batch, length, vocabulary]."""

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.model = nn.ModuleDict(
            {
                "embed_tokens": nn.Embedding(c.vocab_size, c.hidden_size),
                "layers": nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers)),
                "norm": nn.RMSNorm(c.hidden_size, c.rms_norm_eps),
            }
        )
        self.lm_head = linear(c.hidden_size, c.vocab_size)

    def forward(self, tokens):
        cos, sin = rotary(tokens.shape[1], self.config.head_dim, self.config.rope_theta)
        x = self.model["embed_tokens"](tokens)
        for layer in self.model["layers"]:
            x = layer(x, cos, sin)
        return self.lm_head(self.model["norm"](x))


def load_config(path=HERE / "config.json"):
    return SimpleNamespace(**json.loads(Path(path).read_text()))


def load(path):
    """Return the model with the weights of the safetensors file `path`, computing in float32."""
    model = Llama(load_config())
    model.load_state_dict(load_file(path))  # copies into float32 parameters
    return model.eval()


def save(tensors, path, metadata):
    """Write a safetensors file. The library shuffles the metadata from run to run; here equal input gives equal bytes."""
    content = to_bytes(tensors)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps({"__metadata__": metadata} | json.loads(content[8:end]), separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    Path(path).write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
