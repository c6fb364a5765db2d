"""torch on CUDA: the CPU's bits, in order on the caller's stream, without waiting."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import qdq  # noqa: E402
import qdq.torch as qt  # noqa: E402
from conftest import NAMES, WITHOUT_IMPORTANCE, importance_of, weights  # noqa: E402

if not torch.cuda.is_available():
    pytest.skip("torch has no CUDA device", allow_module_level=True)
if not any(d.available and d.name.startswith("cuda") for d in qdq.devices()):
    pytest.skip("qdq has no CUDA device: " + qdq.devices()[0].description, allow_module_level=True)


def tensor(rows, columns, seed=0):
    return torch.from_numpy(weights(rows, columns, seed))


def same_bits(a, b):
    a, b = a.cpu().contiguous(), b.cpu().contiguous()
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", WITHOUT_IMPORTANCE)
def test_bits_are_the_cpus(name, dtype):
    w = tensor(7, 1280).clamp(-6e4, 6e4).to(dtype)
    on = w.cuda()
    blocks = qdq.quantize(on, name)
    assert blocks.is_cuda and same_bits(blocks, qdq.quantize(w, name))
    assert same_bits(qdq.roundtrip(on, name), qdq.roundtrip(w, name))
    assert same_bits(qdq.roundtrip(on, name, dtype=dtype), qdq.roundtrip(w, name, dtype=dtype))
    assert same_bits(qdq.dequantize(blocks, name), qdq.roundtrip(w, name))
    g = tensor(7, 1280, seed=3).clamp(-6e4, 6e4).to(dtype)
    assert qdq.error(on, name) == qdq.error(w, name)
    assert qdq.sensitivity(on, g.cuda(), name) == qdq.sensitivity(w, g, name)


@pytest.mark.parametrize("name", NAMES)
def test_importance(name):
    w, m = tensor(5, 512), torch.from_numpy(importance_of(512))
    assert same_bits(qdq.quantize(w.cuda(), name, importance=m.cuda()), qdq.quantize(w, name, importance=m))
    with pytest.raises(ValueError, match="one device"):
        qdq.quantize(w.cuda(), name, importance=m)


def test_work_is_queued_on_the_current_stream_and_not_waited_for():
    w = tensor(64, 4096).cuda()
    side, done = torch.cuda.Stream(), torch.cuda.Event()
    with torch.cuda.stream(side):
        qdq.roundtrip(w * 2, "q4_0").clone()  # what kernels there are is loaded, which waits
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(2_000_000_000)
        scaled = w * 2
        low = qdq.roundtrip(scaled, "q4_0")
        last = low.clone()
        done.record()
        assert not done.query(), "the call waited for the stream"
    done.synchronize()
    assert same_bits(last, qdq.roundtrip(w.cpu() * 2, "q4_0"))


def test_memory_stays_level():
    w = tensor(256, 4096).cuda()

    def level(times):
        for _ in range(times):
            qt.fake_quantize(w, "q4_K")
            qdq.error(w, "q4_0")
        torch.cuda.synchronize()
        return torch.cuda.mem_get_info()[0]

    first = level(20)
    assert first - level(1000) < 8 << 20


def test_training_on_cuda_is_the_cpus_function():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(256, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32))
    qt.prepare(model, {"0": "q4_K", "2": "q4_0"})
    x = torch.randn(16, 256)
    expected = model(x)
    expected.square().sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.cuda()
    got = model(x.cuda())
    got.square().sum().backward()
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-4, atol=1e-5)
    for p, g in zip(model.parameters(), gradients):
        torch.testing.assert_close(p.grad.cpu(), g, rtol=1e-3, atol=1e-4)
    with torch.autocast("cuda", torch.bfloat16):
        assert model(x.cuda()).dtype == torch.bfloat16


def test_sensitivity_on_cuda():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(32, 64), torch.nn.Linear(64, 64), torch.nn.Linear(64, 32))
    ids = torch.randint(0, 32, (4, 16))
    loss = lambda m, s: m(s["input_ids"]).square().sum()  # noqa: E731
    here = qt.sensitivity(model, [ids], ["q4_0", "q8_0"], loss=loss, progress=False)
    there = qt.sensitivity(model.cuda(), [ids], ["q4_0", "q8_0"], loss=loss, progress=False)
    for name, by_format in here.tensors.items():
        for f, s in by_format.items():
            assert there.tensors[name][f].squared == pytest.approx(s.squared, rel=1e-3)


def test_cuda_array_interface():
    cupy = pytest.importorskip("cupy", reason="cupy is not installed")
    w = tensor(4, 256)
    got = qdq.roundtrip(cupy.asarray(w.numpy()), "q4_K")
    assert isinstance(got, cupy.ndarray) and same_bits(torch.from_numpy(cupy.asnumpy(got)), qdq.roundtrip(w, "q4_K"))
