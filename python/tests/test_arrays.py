"""Operations on numpy and DLPack arrays: the C library's bits, and clear refusals."""

import gc
import weakref

import numpy as np
import pytest

import qdq
from conftest import NAMES, WITHOUT_IMPORTANCE, bits, from_bf16, importance_of, plainly, to_bf16, weights


def as_dtype(w, dtype):
    """The weights in a dtype of numpy's, and what they are in float32."""
    if dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        stored = to_bf16(w)
        return stored.view(ml_dtypes.bfloat16), from_bf16(stored)
    stored = w.astype(dtype)
    return stored, stored.astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", WITHOUT_IMPORTANCE)
def test_bits_are_the_plain_calls(name, dtype):
    w, values = as_dtype(np.clip(weights(6, 768), -6e4, 6e4), dtype)
    before = bits(w).copy()
    blocks, low = plainly(name, values)
    assert np.array_equal(qdq.quantize(w, name), blocks)
    got = qdq.roundtrip(w, name)
    assert got.dtype == np.float32 and got.shape == w.shape
    assert np.array_equal(bits(got), bits(low))
    assert np.array_equal(bits(qdq.dequantize(blocks, name)), bits(low))
    assert np.array_equal(bits(w), before)


@pytest.mark.parametrize("name", NAMES)
def test_importance_is_by_row(name):
    w, m = weights(5, 512), importance_of(512)
    blocks = qdq.quantize(w, name, importance=m)
    low = qdq.roundtrip(w, name, importance=m)
    assert np.array_equal(bits(qdq.dequantize(blocks, name)), bits(low))
    for k in range(len(w)):
        assert np.array_equal(qdq.quantize(w[k], name, importance=m), blocks[k])
    stats = qdq.error(w, name, importance=m)
    d = (w.astype("float64") - low) ** 2 * m
    assert stats.rmse == pytest.approx(np.sqrt(d.mean()), rel=1e-4)
    assert stats.count == w.size


@pytest.mark.parametrize("shape", [(32,), (1, 32), (3, 1, 2, 96), (2, 1, 1, 1, 1, 1, 1, 2, 1, 32), (7, 1056)])
def test_shapes(shape):
    w = weights(int(np.prod(shape)) // 32, 32).reshape(shape)
    blocks, low = plainly("q5_1", w)
    assert qdq.quantize(w, "q5_1").shape == (*shape[:-1], shape[-1] // 32 * 24)
    assert np.array_equal(qdq.quantize(w, "q5_1"), blocks)
    assert np.array_equal(bits(qdq.roundtrip(w, "q5_1")), bits(low))


def test_large_arrays_use_all_threads_and_the_same_bits():
    w = weights(1031, 4096)
    assert np.array_equal(bits(qdq.roundtrip(w, "q4_0")), bits(plainly("q4_0", w)[1]))


def test_views():
    w = weights(8, 1024)
    assert np.array_equal(qdq.quantize(w[3:5], "q4_0"), plainly("q4_0", w[3:5])[0])
    odd = np.frombuffer(b"x" + w.tobytes(), "uint8")[1:].view("float32").reshape(w.shape)
    assert not odd.flags.writeable and not odd.flags.aligned
    assert np.array_equal(qdq.quantize(odd, "q4_0"), plainly("q4_0", w)[0])
    with pytest.raises(ValueError, match=r"strides \(4096, 8\).*copy=True"):
        qdq.quantize(w[:, ::2], "q4_0")
    assert np.array_equal(qdq.quantize(w[:, ::2], "q4_0", copy=True), plainly("q4_0", w[:, ::2])[0])
    assert np.array_equal(bits(qdq.roundtrip(w.T[:, :0], "q4_0")), bits(np.empty((1024, 0), "float32")))


def test_read_only_inputs():
    w = weights(4, 256)
    expected = plainly("q4_K", w)[1]
    w.setflags(write=False)
    assert np.array_equal(bits(qdq.roundtrip(w, "q4_K")), bits(expected))
    with pytest.raises(ValueError, match="read-only"):
        qdq.roundtrip(w, "q4_K", out=w)


def test_in_place_and_out():
    w = weights(4, 256)
    expected = plainly("q4_K", w)[1]
    out = np.empty_like(w)
    assert qdq.roundtrip(w, "q4_K", out=out) is out
    assert np.array_equal(bits(out), bits(expected))
    assert qdq.roundtrip(w, "q4_K", out=w) is w
    assert np.array_equal(bits(w), bits(expected))


def test_overlap_is_refused_and_nothing_is_written():
    memory = weights(9, 256).reshape(-1)
    before = memory.copy()
    with pytest.raises(ValueError, match="overlap"):
        qdq.roundtrip(memory[:2048], "q4_0", out=memory[32:2080])
    assert np.array_equal(bits(memory), bits(before))


def test_empty_arrays():
    w = np.empty((0, 64), "float32")
    assert qdq.roundtrip(w, "q4_0").shape == (0, 64)
    assert qdq.quantize(w, "q4_0").shape == (0, 36)
    assert qdq.dequantize(np.empty((3, 0), "uint8"), "q4_0").shape == (3, 0)
    assert qdq.error(w, "q4_0").count == 0
    assert qdq.sensitivity(w, w, "q4_0").squared == 0


def test_error_and_sensitivity_of_several_formats():
    w = weights(6, 768)
    g = np.random.default_rng(5).standard_normal(w.shape).astype("float32")
    names = ["q4_0", "q4_K", "q8_0", "iq4_nl"]
    many = qdq.error(w, names)
    assert many == [qdq.error(w, n) for n in names]
    scores = qdq.sensitivity(w, g, names)
    assert scores == [qdq.sensitivity(w, g, n) for n in names]
    for n, e, s in zip(names, many, scores):
        low = plainly(n, w)[1].astype("float64")
        assert e.format == n and e.max_abs == pytest.approx(np.abs(w - low).max(), rel=1e-6)
        assert s.signed == pytest.approx((g * (low - w)).sum(), rel=1e-3, abs=1e-3)
        assert s.absolute == pytest.approx(np.abs(g * (low - w)).sum(), rel=1e-5)
        assert s.squared == pytest.approx(((g * (low - w)) ** 2).sum(), rel=1e-5)
        assert s.high == "source" and s.count == w.size
    two = qdq.sensitivity(w, g, "q4_0", "q8_0")
    d = plainly("q4_0", w)[1].astype("float64") - plainly("q8_0", w)[1]
    assert two.squared == pytest.approx(((g * d) ** 2).sum(), rel=1e-5) and two.high == "q8_0"
    assert qdq.error(np.zeros((1, 32), "float32"), "q4_0").snr_db == np.inf


@pytest.mark.parametrize(
    "call, exception, text",
    [
        (lambda w: qdq.roundtrip(w, "q4_9"), ValueError, 'no format "q4_9"; there are q4_0'),
        (lambda w: qdq.roundtrip(w, "q4_0,q8_0"), ValueError, 'no format "q4_0,q8_0"'),
        (lambda w: qdq.roundtrip(w, "q4k"), ValueError, "no format is called 'q4k'; did you mean q4_K"),
        (lambda w: qdq.roundtrip(w, "Q4_K_M"), ValueError, "is a mixture that llama-quantize makes"),
        (lambda w: qdq.roundtrip(w, 4), TypeError, 'a name as "q4_0"'),
        (lambda w: qdq.roundtrip(w.reshape(1, 256), "iq1_s"), NotImplementedError, "importance=, float32"),
        (
            lambda w: qdq.error(w.reshape(1, 256), ["q4_0", "iq2_xxs"]),
            NotImplementedError,
            "iq2_xxs needs an importance",
        ),
        (lambda w: qdq.roundtrip(w[:, :40].copy(), "q4_0"), ValueError, "40 elements.*32"),
        (lambda w: qdq.roundtrip(w.astype("float64"), "q4_0"), TypeError, "float64"),
        (lambda w: qdq.roundtrip(w.astype(">f4"), "q4_0"), TypeError, ">f4"),
        (lambda w: qdq.roundtrip(w.tolist(), "q4_0"), TypeError, "not list"),
        (lambda w: qdq.roundtrip(w.astype("uint8"), "q4_0"), TypeError, "uint8"),
        (lambda w: qdq.roundtrip(w[0, :1].reshape(()), "q4_0"), ValueError, "no dimensions"),
        (lambda w: qdq.roundtrip(w, "q4_0", dtype="float64"), ValueError, "float64"),
        (lambda w: qdq.roundtrip(w, "q4_0", out=np.empty(64, "float32")), ValueError, "must be float32 of shape"),
        (lambda w: qdq.roundtrip(w, "q4_0", importance=np.ones(3, "float32")), ValueError, "one weight a column"),
        (lambda w: qdq.roundtrip(w, "q4_0", importance=np.ones(64)), TypeError, "float64"),
        (lambda w: qdq.quantize(w, "q4_0", out=np.empty((4, 35), "uint8")), ValueError, "must be uint8 of shape"),
        (lambda w: qdq.dequantize(w, "q4_0"), TypeError, "must be uint8"),
        (lambda w: qdq.dequantize(np.zeros(17, "uint8"), "q4_0"), ValueError, "multiples of 18"),
        (lambda w: qdq.error(w, []), ValueError, "no formats"),
        (lambda w: qdq.error(w, ["q4_0"] * 65), ValueError, "64"),
        (lambda w: qdq.sensitivity(w, w[:2], "q4_0"), ValueError, "gradient's shape"),
        (lambda w: qdq.sensitivity(w, w, "q4_0", "q9"), ValueError, "q9"),
    ],
)
def test_refusals(call, exception, text):
    w = weights(4, 64)
    before = w.copy()
    with pytest.raises(exception, match=text):
        call(w)
    assert np.array_equal(bits(w), bits(before))


def test_library_refusals_are_qdq_errors():
    with pytest.raises(qdq.Error) as caught:
        qdq.roundtrip(weights(4, 256), "iq1_s")
    assert isinstance(caught.value, qdq.Unsupported) and "iq1_s" in str(caught.value)


class OnlyDlpack:
    """An array that has nothing but DLPack."""

    def __init__(self, array, versioned=True):
        self.array, self.versioned = array, versioned

    def __dlpack_device__(self):
        return (1, 0)

    def __dlpack__(self, **options):
        if not self.versioned and options:
            raise TypeError("no options are known")
        return self.array.__dlpack__(**options)

    def __array_namespace__(self):
        return np


@pytest.mark.parametrize("versioned", [True, False])
def test_dlpack(versioned):
    if versioned and tuple(map(int, np.__version__.split(".")[:2])) < (2, 1):
        pytest.skip("numpy before 2.1 has no versioned DLPack")
    w = weights(4, 256)
    got = qdq.roundtrip(OnlyDlpack(w, versioned), "q4_K")
    assert isinstance(got, np.ndarray)
    assert np.array_equal(bits(got), bits(plainly("q4_K", w)[1]))
    out = np.empty_like(w)
    qdq.roundtrip(OnlyDlpack(w, versioned), "q4_K", out=OnlyDlpack(out, versioned))
    assert np.array_equal(bits(out), bits(got))
    with pytest.raises(ValueError, match="not contiguous"):
        qdq.roundtrip(OnlyDlpack(w[:, ::2], versioned), "q4_0")
    with pytest.raises(TypeError, match="64 bits"):
        qdq.roundtrip(OnlyDlpack(w.astype("float64"), versioned), "q4_0")


def test_dlpack_memory_is_released():
    w = weights(4, 256)
    released = weakref.ref(w)
    qdq.roundtrip(OnlyDlpack(w, False), "q4_0")
    del w
    gc.collect()
    assert released() is None


def test_dlpack_read_only():
    w = weights(4, 256)
    w.setflags(write=False)
    try:
        w.__dlpack__(max_version=(1, 1))
    except (TypeError, BufferError):
        pytest.skip("this numpy does not export read-only arrays")
    assert np.array_equal(bits(qdq.roundtrip(OnlyDlpack(w), "q4_0")), bits(plainly("q4_0", w)[1]))
    with pytest.raises(ValueError, match="read-only"):
        qdq.roundtrip(w.copy(), "q4_0", out=OnlyDlpack(w))


def test_jax():
    jnp = pytest.importorskip("jax.numpy", reason="jax is not installed")
    w = weights(4, 256)
    got = qdq.roundtrip(jnp.asarray(w), "q4_K")
    assert type(got) is type(jnp.asarray(w))
    assert np.array_equal(bits(np.asarray(got)), bits(plainly("q4_K", w)[1]))


def test_memory_does_not_grow():
    """A thousand calls leave the resident set where a few left it, but for noise far under what one array takes."""
    resource = pytest.importorskip("resource")
    w = weights(64, 4096)  # 1 MiB

    def run(times):
        for _ in range(times):
            qdq.roundtrip(w, "q4_0")
            qdq.quantize(w, "q4_0")
            with pytest.raises(qdq.Error):
                qdq.roundtrip(w, "iq1_s")
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    first = run(20)
    assert run(500) - first < 32 * 1024  # KiB; each leaked call would add 1,024


def test_formats():
    assert len(qdq.formats()) >= 25
    q4 = qdq.format("Q4_K")
    assert q4.name == "q4_K" and q4.bits == 4.5 and q4.row_bytes(512) == 288 and q4.ggml_type == 12
    assert qdq.roundtrip(weights(1, 256), q4).shape == (1, 256)


def test_devices():
    found = {d.name.partition(":")[0]: d for d in qdq.devices()}
    assert found["cpu"].available and found["cpu"].memory > 0
