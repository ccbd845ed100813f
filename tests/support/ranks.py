"""Runs a function on several gloo ranks of this machine. Each call but the first takes a second or two.

The ranks are forked from a server process that has imported the libraries and initialised nothing (multiprocessing's
"forkserver"). A fork of the test process itself would inherit accelerate's singletons and autograd's threads.
"""

import multiprocessing
import multiprocessing.connection
import os
import pickle
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

from ports import free_port


_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    ["passk_trl.trainer", "peft", "deepspeed", "transformers.models.qwen2.modeling_qwen2", "torch.distributed.fsdp"]
)


def run_ranks(
    function: Callable[..., Any],
    *args: Any,
    world_size: int = 2,
    environment: dict[str, str] | None = None,
    timeout: float = 120,
) -> list[Any]:
    """
    Calls `function(*args)` on every rank and returns the results, that of rank 0 first.

    `function` must be importable (not a lambda, and not local to a test). Arguments and results must be picklable.
    The variables of `environment`, and those that torchrun sets, are set before the call. If a rank raises, dies or
    takes longer than `timeout` seconds, all ranks are killed, and a RuntimeError says what happened, with the rank's
    own traceback.
    """
    port = free_port()
    processes, results = [], {}
    for rank in range(world_size):
        receiving, sending = _CONTEXT.Pipe(duplex=False)
        variables = {
            **(environment or {}),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        process = _CONTEXT.Process(target=_run_rank, args=(sending, variables, function, args), daemon=True)
        process.start()
        sending.close()  # so that the pipe ends when the rank dies
        processes.append((process, receiving))
    deadline = time.monotonic() + timeout
    try:
        while len(results) < world_size:
            waiting = {pipe: rank for rank, (_, pipe) in enumerate(processes) if rank not in results}
            ready = multiprocessing.connection.wait(waiting, timeout=max(0, deadline - time.monotonic()))
            if not ready:
                raise RuntimeError(f"ranks {sorted(waiting.values())} did not finish within {timeout} s")
            for pipe in ready:
                results[waiting[pipe]] = _receive(waiting[pipe], *processes[waiting[pipe]])
    finally:
        for process, pipe in processes:
            process.kill()
            process.join()
            pipe.close()
    return [results[rank] for rank in range(world_size)]


def _run_rank(pipe, variables: dict[str, str], function: Callable[..., Any], args: tuple) -> None:
    os.environ.update(variables)
    torch.set_num_threads(1)
    try:
        answer = pickle.dumps((True, function(*args)))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()  # rank 0 has the store, which the others need until they end
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    pipe.send_bytes(answer)


def _receive(rank: int, process, pipe) -> Any:
    try:
        succeeded, value = pickle.loads(pipe.recv_bytes())
    except EOFError:
        process.join()
        raise RuntimeError(f"rank {rank} died with exit code {process.exitcode}") from None
    if not succeeded:
        raise RuntimeError(f"rank {rank} failed:\n{value}")
    return value
