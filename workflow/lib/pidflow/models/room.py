"""How many questions a GPU has room for at once, found by asking one and two."""

from collections.abc import Callable, Sequence

import torch

MOST = 256
_SHARE = 0.85  # of the free memory; the rest is for what fragments and for longer prompts than those asked


def free_memory(devices: Sequence[torch.device]) -> list[int] | None:
    """Bytes that each device has left for what is computed; None where that is not known or no bound."""
    if any(device.type != "cuda" for device in devices):
        return None
    kept = [torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) for device in devices]
    return [torch.cuda.mem_get_info(device)[0] + each for device, each in zip(devices, kept, strict=True)]


def peak_of(work: Callable[[], object], devices: Sequence[torch.device]) -> list[int]:
    """Bytes that some work takes at most on each device, beside what was held before."""
    before = [torch.cuda.memory_allocated(device) for device in devices]
    for device in devices:
        torch.cuda.reset_peak_memory_stats(device)
    work()
    for device in devices:
        torch.cuda.synchronize(device)
    return [torch.cuda.max_memory_allocated(device) - each for device, each in zip(devices, before, strict=True)]


def fitting(one: int, two: int, *, free: int, most: int = MOST) -> int:
    """The largest batch that there is room for.

    Parameters
    ----------
    one, two
        Bytes that batches of one and of two take.
    free
        Bytes there are.
    most
        A batch is no larger than this.
    """
    each = max(two - one, 1)
    return int(min(most, max(1, 1 + (_SHARE * free - one) // each)))
