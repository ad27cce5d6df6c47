"""Tensors of the CPU that claim to lie on several devices, and refuse to be used together when these differ.

Nothing is computed otherwise than on the CPU. What PyTorch would refuse on two GPUs is refused here: operands on
different devices, other than single numbers of the host, and indices that are neither there nor on the host.
"""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

HOST = torch.device("cpu")
FIRST, SECOND = torch.device("cpu:0"), torch.device("cpu:1")
_NAME = "claimed_device"


def claim(tensor, device):
    """Let a tensor say that it lies on a device."""
    setattr(tensor, _NAME, torch.device(device))
    return tensor


def claimed(tensor):
    """The device that a tensor says it lies on."""
    return getattr(tensor, _NAME, HOST)


class FakeDevices(TorchFunctionMode):
    """In force inside ``with FakeDevices() as found: …``; ``found.moves`` counts moves by ``(from, to)``."""

    def __init__(self):
        super().__init__()
        self.moves = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if func == torch.Tensor.device.__get__:
            return claimed(args[0])
        if func is torch.Tensor.to:
            return self._to(*args, **kwargs)
        if func is torch.Tensor.cpu:
            return self._moved(args[0], HOST)
        if func is torch.Tensor.numpy and claimed(args[0]) != HOST:
            raise TypeError(f"can't convert a tensor on {claimed(args[0])} to numpy")
        wanted = kwargs.get("device")
        if wanted is not None:
            kwargs["device"] = HOST
        result = func(*args, **kwargs)
        if name == "copy_":
            return args[0]
        device = torch.device(wanted) if wanted is not None else self._device(name, args, kwargs)
        return tree_map(lambda each: claim(each, device) if isinstance(each, torch.Tensor) else each, result)

    def _to(self, tensor, *args, **kwargs):
        device, dtype, *_ = torch._C._nn._parse_to(*args, **{k: v for k, v in kwargs.items() if k != "copy"})
        if args and isinstance(args[0], torch.Tensor):
            device = claimed(args[0])
        found = tensor if dtype is None else claim(tensor.to(dtype=dtype), claimed(tensor))
        return found if device is None else self._moved(found, torch.device(device))

    def _moved(self, tensor, device):
        if claimed(tensor) == device:
            return tensor
        way = str(claimed(tensor)), str(device)
        self.moves[way] = self.moves.get(way, 0) + 1
        copy = tensor.detach().clone()
        if isinstance(tensor, torch.nn.Parameter):
            copy = torch.nn.Parameter(copy, requires_grad=False)
        return claim(copy, device)

    def _device(self, name, args, kwargs):
        """The one device of all operands."""
        if name in ("__getitem__", "__setitem__", "index_select"):
            first, *others = (each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor))
            wrong = [claimed(each) for each in others if each.dim() and claimed(each) not in (claimed(first), HOST)]
            if wrong:
                raise RuntimeError(f"{name}: a tensor on {claimed(first)} and one on {wrong[0]}")
            return claimed(first)
        operands = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        found = {claimed(each) for each in operands if each.dim() or claimed(each) != HOST}
        if len(found) > 1:
            raise RuntimeError(f"{name}: expected all tensors on one device, found {', '.join(map(str, found))}")
        return found.pop() if found else HOST


def spread(model, device_of):
    """Lay the modules of a model on fake devices as accelerate lays them on real ones.

    Parameters
    ----------
    device_of
        By name of a module its device; inside :class:`FakeDevices`.
    """
    from accelerate.hooks import attach_align_device_hook_on_blocks

    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        claim(tensor, next((place for path, place in device_of.items() if name.startswith(f"{path}.")), FIRST))
    attach_align_device_hook_on_blocks(
        model,
        execution_device={"": FIRST} | device_of,
        offload=dict.fromkeys(device_of, False),
        skip_keys=model._skip_keys_device_placement,
    )
