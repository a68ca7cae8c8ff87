"""Who works on a study: processes of this computer, or an existing dask cluster."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib import import_module

from chipctl.errors import ChipctlError
from chipctl.memory.answers import Answer, Spread, Task
from chipctl.runs.log import configure

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Each worker is one thread: the cores are shared by workers, not within them."""

_CONNECT_SECONDS = 10


@contextmanager
def processes(count: int | None = None) -> Iterator[Spread]:
    """`count` processes of this computer, as many as it has cores by default.

    They end with the block, and with this process, however that ends.
    """
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    others = set(multiprocessing.active_children())
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count or os.cpu_count(), context, _mind_the_parent)
    try:
        yield _spread_over(pool, BrokenExecutor)
        pool.shutdown()
    finally:
        for child in set(multiprocessing.active_children()) - others:
            child.terminate()
        pool.shutdown(cancel_futures=True)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def cluster(address: str) -> Iterator[Spread]:
    """The workers of the dask scheduler at `address`; they must have this version of chipctl installed.

    Raises:
        ValueError: dask is not installed, or no scheduler answers there.
    """
    try:
        distributed = import_module("distributed")
    except ImportError:
        raise ValueError("--cluster needs dask: pip install 'chipctl[dask]'") from None
    try:
        # A client of an address that is none would be closed by the garbage collector, in 20 s
        import_module("distributed.comm.addressing").resolve_address(address)
        client = distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"no dask scheduler answers at {address}: {error}") from None
    with client, client.get_executor(pure=False) as pool:
        try:
            yield _spread_over(pool, distributed.KilledWorker)
        finally:
            pool.shutdown(wait=False)


def _spread_over(pool: Executor, died: type[Exception]) -> Spread:
    def spread(function: Callable[[Task], Answer], tasks: Sequence[Task]) -> Iterator[Answer]:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            yield from (future.result() for future in as_completed(futures))
        except died as error:
            raise ChipctlError(
                "a worker died, of too little memory perhaps; the answers so far are kept: say the same "
                "again to go on, with fewer workers"
            ) from error

    return spread


def _mind_the_parent() -> None:
    """Ctrl-C is the parent's to answer, as stdout is; without a parent there is nobody to work for."""
    configure()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
