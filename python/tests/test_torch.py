"""torch: bits, autograd's rule, compilation, and modules that are prepared in place."""

import copy
import gc
import os
import pickle
import threading
import weakref

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import numpy as np  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import qdq  # noqa: E402
import qdq.torch as qt  # noqa: E402
from conftest import NAMES, WITHOUT_IMPORTANCE, bits, importance_of, plainly, weights  # noqa: E402

torch.set_num_threads(1)


def tensor(rows, columns, seed=0):
    return torch.from_numpy(weights(rows, columns, seed))


def same_bits(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
    )


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


# ---- Arrays ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", WITHOUT_IMPORTANCE)
def test_bits_are_the_plain_calls(name, dtype):
    w = tensor(6, 768).clamp(-6e4, 6e4).to(dtype)
    blocks, low = plainly(name, w.float().numpy())
    assert np.array_equal(qdq.quantize(w, name).numpy(), blocks)
    got = qdq.roundtrip(w, name)
    assert got.dtype == torch.float32 and np.array_equal(bits(got.numpy()), bits(low))
    assert same_bits(torch.ops.qdq.roundtrip(w, name), got)
    assert same_bits(torch.ops.qdq.quantize(w, name), qdq.quantize(w, name))
    assert same_bits(torch.ops.qdq.dequantize(torch.from_numpy(blocks), name), got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["q4_0", "q6_K", "iq4_nl"])
def test_narrow_results_are_rounded_to_nearest_even(name, dtype):
    w = normal(16, 512).to(dtype)
    expected = qdq.roundtrip(w, name).to(dtype)
    assert same_bits(qdq.roundtrip(w, name, dtype=dtype), expected)
    assert same_bits(qt.fake_quantize(w, name), expected)
    blocks = qdq.quantize(w, name)
    assert same_bits(qdq.dequantize(blocks, name, dtype=dtype), expected)


def test_views_and_gradients_are_read():
    w = tensor(8, 512).requires_grad_()
    assert same_bits(qdq.roundtrip(w[2:4], "q4_K"), torch.from_numpy(plainly("q4_K", w[2:4].detach().numpy())[1]))
    with pytest.raises(ValueError, match=r"strides \(1, 512\)"):
        qdq.roundtrip(w.t(), "q8_0", out=None)
    with pytest.raises(ValueError, match="strides"):
        qdq.roundtrip(w[:, ::2], "q4_0")
    assert same_bits(qdq.roundtrip(w[:, ::2], "q4_0", copy=True), qdq.roundtrip(w[:, ::2].contiguous(), "q4_0"))


@pytest.mark.parametrize(
    "make, exception",
    [
        (lambda: torch.zeros(4, 32, dtype=torch.float64), TypeError),
        (lambda: torch.zeros(4, 32, dtype=torch.int8), TypeError),
        (lambda: torch.zeros(4, 32, device="meta"), ValueError),
        (lambda: torch.zeros(4, 32).to_sparse(), TypeError),
        (lambda: torch.zeros(()), ValueError),
    ],
)
def test_tensors_that_are_refused(make, exception):
    with pytest.raises(exception):
        qdq.roundtrip(make(), "q4_0")


def test_numpy_importance_with_a_tensor():
    w, m = tensor(4, 256), importance_of(256)
    assert same_bits(qdq.roundtrip(w, "iq2_s", importance=m), qdq.roundtrip(w, "iq2_s", importance=torch.from_numpy(m)))


# ---- Operations ----


@pytest.mark.parametrize("name, dtype", [("q4_0", torch.float32), ("q4_K", torch.bfloat16), ("iq4_xs", torch.float16)])
def test_opcheck(name, dtype):
    w = normal(8, 256).to(dtype).requires_grad_()
    m = torch.from_numpy(importance_of(256))
    torch.library.opcheck(torch.ops.qdq.roundtrip.default, (w, name))
    torch.library.opcheck(torch.ops.qdq.roundtrip.default, (w, name, m, dtype))
    torch.library.opcheck(torch.ops.qdq.roundtrip_again.default, (w.detach(), w.detach(), name, None, dtype))
    torch.library.opcheck(torch.ops.qdq.quantize.default, (w.detach(), name))
    torch.library.opcheck(torch.ops.qdq.dequantize.default, (qdq.quantize(w.detach(), name), name))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradient_is_straight_through(dtype):
    w = normal(4, 64).to(dtype).requires_grad_()
    slope = normal(4, 64, seed=3).to(dtype)
    (qt.fake_quantize(w, "q4_0") * slope).sum().backward()
    assert same_bits(w.grad, slope)


def linear_gradients(w, x, bias, y):
    """Of a plain linear layer at given weights."""
    leaves = [t.clone().requires_grad_() for t in (x, w, bias)]
    F.mse_loss(F.linear(leaves[0], leaves[1], leaves[2]), y).backward()
    return [t.grad for t in leaves]


@pytest.mark.parametrize("shape", [(5,), (3, 7), ()])
def test_linear_has_the_gradients_of_a_layer_at_the_quantized_weights(shape):
    w, bias = normal(48, 256), normal(48, seed=1)
    x, y = normal(*shape, 256, seed=2), normal(*shape, 48, seed=3)
    expected = linear_gradients(qdq.roundtrip(w, "q4_K"), x, bias, y)
    leaves = [t.clone().requires_grad_() for t in (x, w, bias)]
    F.mse_loss(qt.linear(leaves[0], leaves[1], leaves[2], "q4_K"), y).backward()
    for got, want in zip([t.grad for t in leaves], expected):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-9)


def test_linear_keeps_no_second_copy_of_the_weights():
    w, x = normal(64, 256).requires_grad_(), normal(9, 256, seed=2).requires_grad_()
    kept = []

    def pack(t):
        kept.append(t)
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = qt.linear(x, w, None, "q4_0")
    assert {t.data_ptr() for t in kept} == {x.data_ptr(), w.data_ptr()}
    y.sum().backward()
    assert w.grad is not None


def test_embedding_quantizes_the_rows_that_are_looked_up():
    w = normal(1000, 64).requires_grad_()
    ids = torch.tensor([[3, 3, 999], [0, 7, 3]])
    got = qt.embedding(ids, w, "q4_0")
    assert same_bits(got.detach(), F.embedding(ids, qdq.roundtrip(w.detach(), "q4_0")))
    got.sum().backward()
    assert w.grad[3, 0] == 3 and w.grad[1].abs().sum() == 0


def test_refusals_name_the_cause():
    with pytest.raises(ValueError, match="no format"):
        qt.fake_quantize(normal(4, 64), "q4_9")
    with pytest.raises(ValueError, match="multiple of the block"):
        qt.fake_quantize(normal(4, 40), "q4_0")
    with pytest.raises(NotImplementedError, match="importance"):
        qt.fake_quantize(normal(4, 256), "iq1_s")


# ---- Models ----


class Block(nn.Module):
    """Everything that is prepared, in small: an embedding with a tied head, layers, a norm, a stack of experts."""

    def __init__(self, columns=64, vocabulary=40):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, columns)
        self.up = nn.Linear(columns, 2 * columns)
        self.norm = nn.LayerNorm(2 * columns)
        self.experts = Experts(2, columns, 2 * columns)
        self.odd = nn.Linear(columns, 24, bias=False)
        self.back = nn.Linear(24, columns, bias=False)
        self.head = nn.Linear(columns, vocabulary, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids):
        x = self.embed(ids)
        x = x + self.experts(self.norm(F.silu(self.up(x))))
        return self.head(x + self.back(self.odd(x)))


class Experts(nn.Module):
    def __init__(self, n, out, columns):
        super().__init__()
        self.down = nn.Parameter(torch.randn(n, out, columns) * 0.1)

    def forward(self, x):
        return sum(F.linear(x, w) for w in self.down) / len(self.down)


def block(seed=0):
    torch.manual_seed(seed)
    return Block()


IDS = torch.tensor([[1, 5, 39, 2, 0, 7, 7, 3]])


def test_prepare_computes_with_round_trips_and_keeps_names():
    model = block()
    before = {n: id(p) for n, p in model.named_parameters()}
    keys = list(model.state_dict())
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for name in ("embed.weight", "up.weight", "experts.down", "odd.weight"):
            p = reference.get_parameter(name)
            p.copy_(qdq.roundtrip(p.detach(), "q4_0"))
    done = qt.prepare(model, "q4_0")
    assert set(done.formats) == {"embed.weight", "up.weight", "experts.down", "odd.weight"}
    assert [s.name for s in done.skipped] == ["back.weight"] and "24" in done.skipped[0].reason
    assert {n: id(p) for n, p in model.named_parameters()} == before and list(model.state_dict()) == keys
    assert (
        isinstance(model.up, nn.Linear) and isinstance(model.embed, nn.Embedding) and isinstance(model.experts, Experts)
    )
    assert same_bits(model(IDS), reference(IDS))
    with qt.enabled(model, False):
        assert same_bits(model(IDS), block()(IDS))
    assert same_bits(model(IDS), reference(IDS))
    qt.convert(model)
    assert type(model.up) is nn.Linear and type(model.experts) is Experts and "_qdq" not in vars(model.up)
    assert same_bits(model(IDS), reference(IDS))
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), reference.parameters()))


def test_prepare_by_patterns_and_again():
    model = block()
    qt.prepare(model, "q4_0")
    done = qt.prepare(model, {r"^up\.": "q8_0", r"experts": None, r"embed|odd": "q5_1"})
    assert done.formats == {"embed.weight": "q5_1", "up.weight": "q8_0", "odd.weight": "q5_1"}
    assert type(model.experts) is Experts
    low = block()
    with torch.no_grad():
        for name, f in done.formats.items():
            low.get_parameter(name).copy_(qdq.roundtrip(low.get_parameter(name).detach(), f))
    assert same_bits(model(IDS), low(IDS))


@pytest.mark.parametrize(
    "spec, text",
    [
        ("q4_9", "no format"),
        ({"nowhere": "q4_0"}, "matches no parameter"),
        ({"up": "q4_K"}, "no multiple of q4_K's block"),
        ({"back": "q4_0"}, "back.weight in q4_0"),
        ({"down": "iq1_s"}, "importance|multiple"),
    ],
)
def test_prepare_refuses_and_changes_nothing(spec, text):
    model = block()
    with pytest.raises(ValueError, match=text):
        qt.prepare(model, spec)
    assert all("_qdq" not in vars(m) for m in model.modules()) and type(model.up) is nn.Linear
    with pytest.raises(ValueError, match="not prepared"):
        qt.convert(model)


def test_importance_is_used_and_not_saved():
    model = block()
    m = torch.from_numpy(importance_of(64))
    qt.prepare(model, {"up": "q4_0"}, importance={"up.weight": m})
    assert list(model.state_dict()) == list(block().state_dict())
    x = normal(3, 64)
    assert same_bits(
        model.up(x), F.linear(x, qdq.roundtrip(model.up.weight.detach(), "q4_0", importance=m), model.up.bias)
    )
    with pytest.raises(ValueError, match="importance of shape"):
        qt.prepare(model, {"up": "q4_0"}, importance={"up.weight": m[:3]})


def test_copies_and_pickles():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32))
    qt.prepare(model, "q4_0")
    x = normal(3, 64)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same_bits(other(x), model(x))
        qt.enabled(other, False)
        assert not same_bits(other(x), model(x))
    big = block()
    qt.prepare(big, "q4_0")
    assert same_bits(copy.deepcopy(big)(IDS), big(IDS))


def test_checkpoints_load_into_a_prepared_model():
    a, b = block(1), block(2)
    qt.prepare(b, "q4_0")
    b.load_state_dict(a.state_dict())
    qt.prepare(a, "q4_0")
    assert same_bits(a(IDS), b(IDS))


def test_training_lowers_the_quantized_loss():
    model = block()
    qt.prepare(model, "q4_0")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    target = torch.roll(IDS, 1)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(IDS).flatten(0, 1), target.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
    assert all(p.grad is not None for p in model.parameters())


def test_autocast_quantizes_the_masters_and_then_casts():
    model = nn.Linear(256, 48)
    w = model.weight.detach().clone()
    qt.prepare(model, "q4_K")
    x = normal(5, 256)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
        plain = F.linear(x, qdq.roundtrip(w, "q4_K"), model.bias)
    assert y.dtype == torch.bfloat16 and same_bits(y, plain)
    y.float().sum().backward()
    assert model.weight.grad.dtype == torch.float32 and torch.isfinite(model.weight.grad).all()


def test_bfloat16_inputs_with_float32_masters():
    model = nn.Linear(64, 16)
    qt.prepare(model, "q8_0")
    x = normal(4, 64).bfloat16()
    low = qdq.roundtrip(model.weight.detach(), "q8_0").bfloat16()
    y = model(x)
    assert same_bits(y, F.linear(x, low, model.bias.bfloat16()))
    y.sum().backward()
    assert model.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant):
    def gradients(run):
        model = block()
        qt.prepare(model, "q4_0")
        x = normal(3, 64, seed=4).requires_grad_()
        run(lambda v: model.odd(F.silu(model.up(v)[..., :64])), x).sum().backward()
        return [x.grad, model.up.weight.grad, model.odd.weight.grad]

    plain = gradients(lambda f, x: f(x))
    again = gradients(lambda f, x: checkpoint(f, x, use_reentrant=reentrant))
    assert all(same_bits(a, b) for a, b in zip(plain, again))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_is_eager(backend):
    def run(compiled):
        model = block()
        qt.prepare(model, {r"up|odd|experts|embed": "q4_0"})
        call = torch.compile(model, backend=backend, fullgraph=True) if compiled else model
        y = call(IDS)
        y.square().sum().backward()
        return [y.detach(), *(p.grad for p in model.parameters())]

    torch._dynamo.reset()
    for got, want in zip(run(True), run(False)):
        torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)


def test_compiled_keeps_no_second_copy_of_the_weights():
    """What the compiled forward pass hands to the backward pass has the sizes of inputs, never that of W_low."""
    from torch._dynamo.backends.common import aot_autograd
    from functorch.compile import make_boxed_func, min_cut_rematerialization_partition

    outputs = []

    def forward(graph, inputs):
        values = next(n for n in graph.graph.nodes if n.op == "output").args[0]
        outputs.extend(v for v in values if hasattr(v, "op") and v.op != "placeholder")
        return make_boxed_func(graph.forward)

    def backward(graph, inputs):
        assert any("roundtrip_again" in str(n.target) for n in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    backend = aot_autograd(fw_compiler=forward, bw_compiler=backward, partition_fn=min_cut_rematerialization_partition)
    model = nn.Sequential(nn.Linear(64, 96, bias=False), nn.ReLU(), nn.Linear(96, 32, bias=False))
    qt.prepare(model, "q4_0")
    torch._dynamo.reset()
    torch.compile(model, backend=backend, fullgraph=True)(normal(5, 64)).sum().backward()
    assert outputs and not any(tuple(v.meta["val"].shape) in ((96, 64), (32, 96)) for v in outputs)


def inductor_works():
    try:
        torch._dynamo.reset()
        torch.compile(lambda x: x + 1)(torch.ones(2))
        return True
    except Exception:
        return False


@pytest.mark.skipif(os.environ.get("QDQ_TEST_INDUCTOR") != "1", reason="slow: set QDQ_TEST_INDUCTOR=1")
def test_inductor_is_eager():
    if not inductor_works():
        pytest.skip("inductor does not work here: no C++ compiler")
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32))
    qt.prepare(model, "q4_0")
    x = normal(5, 64)
    y = torch.compile(model, fullgraph=True)(x)
    y.sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    torch.testing.assert_close(y, model(x), rtol=1e-6, atol=1e-7)
    model(x).sum().backward()
    for a, p in zip(got, model.parameters()):
        torch.testing.assert_close(a, p.grad, rtol=1e-5, atol=1e-6)


# ---- Processes and threads ----


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, k):
        return qdq.roundtrip(tensor(64, 1024, seed=k), "q4_0")


def test_data_loader_workers_that_fork():
    qdq.roundtrip(tensor(512, 1024), "q4_0")  # the parent has a device, and its threads
    loader = torch.utils.data.DataLoader(
        Rows(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
    )
    for k, got in enumerate(loader):
        assert same_bits(got, qdq.roundtrip(tensor(64, 1024, seed=k), "q4_0"))


def test_threads():
    expected = [qdq.quantize(tensor(16, 1024, seed=k), "q4_K") for k in range(8)]
    failed = []

    def work(k):
        for _ in range(10):
            if not same_bits(qdq.quantize(tensor(16, 1024, seed=k), "q4_K"), expected[k]):
                failed.append(k)
            try:
                qdq.quantize(tensor(1, 256), "iq1_s" if k % 2 else "iq2_xxs")
            except qdq.Unsupported as error:
                if ("iq1_s" if k % 2 else "iq2_xxs") not in str(error):
                    failed.append(str(error))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed


def test_memory_is_released():
    model = block()
    qt.prepare(model, "q4_0")
    model(IDS).sum().backward()
    gone = [weakref.ref(p) for p in model.parameters()]
    w = normal(4, 64)
    gone.append(weakref.ref(w))
    qdq.roundtrip(w, "q4_0")
    del model, w
    gc.collect()
    assert all(r() is None for r in gone)


def test_every_format_can_be_prepared():
    m = torch.from_numpy(importance_of(256))
    for name in NAMES:
        layer = nn.Linear(256, 8, bias=False)
        w = layer.weight.detach().clone()
        holder = nn.ModuleDict({"a": layer})
        qt.prepare(holder, name, importance={"a.weight": m})
        x = normal(2, 256)
        assert same_bits(holder["a"](x), F.linear(x, qdq.roundtrip(w, name, importance=m)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_in_place_of_each_dtype(dtype):
    w = normal(8, 256).to(dtype)
    expected = qdq.roundtrip(w, "q4_K", dtype=dtype)
    assert qdq.roundtrip(w, "q4_K", dtype=dtype, out=w) is w and same_bits(w, expected)
    with pytest.raises(ValueError, match="must be"):
        qdq.roundtrip(w, "q4_K", dtype=torch.float16 if dtype != torch.float16 else torch.float32, out=w)


def test_convert_refuses_what_is_not_in_memory():
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64, device="meta"))
    qt.prepare(model, "q4_0")
    before = model[0].weight.detach().clone()
    with pytest.raises(ValueError, match="1.weight is not whole"):
        qt.convert(model)
    assert torch.equal(model[0].weight, before) and isinstance(model[0], qt.FakeQuantizedLinear)
