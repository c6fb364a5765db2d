"""Two processes train one prepared model, on CPUs through gloo: their gradients are those of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch import distributed, nn  # noqa: E402

import qdq.torch as qt  # noqa: E402

if not distributed.is_available() or not distributed.is_gloo_available():
    pytest.skip("torch has no gloo", allow_module_level=True)


def made():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(40, 256), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 32))
    done = qt.prepare(model, {"^0": "q8_0", "^1": "q4_K", "^3": "q4_0"})
    assert len(done.formats) == 3
    return model, torch.randint(0, 40, (4, 12), generator=torch.Generator().manual_seed(1))


def loss_of(model, ids):
    return model(ids).square().mean()


def alone():
    model, ids = made()
    loss_of(model, ids).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    return gradients, [p.detach() for p in model.parameters()]


def whole(t):
    return t.full_tensor() if hasattr(t, "full_tensor") else t


def worker(kind, rank):
    """What each of the two does; what differs ends it with an error."""
    torch.set_num_threads(1)
    gradients, weights = alone()
    model, ids = made()
    if kind == "ddp":
        model = nn.parallel.DistributedDataParallel(model)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh("cpu", (2,))
        for k in (1, 3):
            fully_shard(model[k], mesh=mesh)
        fully_shard(model, mesh=mesh)
        assert all(p.to_local().shape[0] * 2 == p.shape[0] for p in model.parameters())
    loss_of(model, ids[2 * rank : 2 * rank + 2]).backward()
    for p, expected in zip(model.parameters(), gradients):
        torch.testing.assert_close(whole(p.grad), expected, rtol=1e-5, atol=1e-7)
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    for p, expected in zip(model.parameters(), weights):
        torch.testing.assert_close(whole(p.detach()), expected, rtol=1e-5, atol=1e-7)
    # And on: the weights that were stepped are those that are quantized next.
    loss_of(model, ids[2 * rank : 2 * rank + 2]).backward()


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes(kind, tmp_path):
    if kind == "fsdp":
        pytest.importorskip("torch.distributed.fsdp")
        from torch.distributed import fsdp

        if not hasattr(fsdp, "fully_shard"):
            pytest.skip("torch has no fully_shard")
    environment = dict(os.environ, **({"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}))
    words = [sys.executable, __file__, kind, str(tmp_path / "meeting")]
    running = [
        subprocess.Popen([*words, str(r)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for r in range(2)
    ]
    try:
        told = [p.communicate(timeout=600)[0] for p in running]
    finally:
        for p in running:
            p.kill()
    assert [p.returncode for p in running] == [0, 0], "\n".join(told)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    kind, meeting, rank = sys.argv[1:]
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2)
    worker(kind, int(rank))
    distributed.destroy_process_group()
