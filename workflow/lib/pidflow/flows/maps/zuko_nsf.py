"""Maps ``zuko-nsf``: one autoregressive flow of the library zuko for each block, all three trained on one loss.

Conditioner networks need more rows than ``product``; docs/flows.md compares the two. Flows of a stack are trained one
after another.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field

from pidflow.flows.maps._maps import Maps
from pidflow.plugins import settings


class Settings(settings.Settings):
    """Shape of the flows, and what of their schedule networks need otherwise."""

    flow: Literal["NSF", "MAF", "NAF", "UNAF", "SOSPF", "BPF"] = Field(
        default="NSF", description="Class of zuko.flows; those that are autoregressive on the whole real space."
    )
    transforms: settings.Whole = Field(default=3, ge=1, le=64, description="Autoregressive transforms of a block.")
    hidden: settings.Whole = Field(default=32, ge=1, le=4096, description="Units in each of two hidden layers.")
    learning_rate: float = Field(default=0.003, gt=0, le=1, description="Step size of Adam.")
    max_steps: settings.Whole = Field(default=400, ge=1, le=100_000, description="Adam steps at most.")
    batch_size: settings.Whole = Field(default=256, ge=1, le=1_000_000, description="Rows in a step.")
    patience: settings.Whole = Field(
        default=4, ge=1, le=100_000, description="Evaluations without improvement after which a flow stops."
    )


def _flows(dims: Any, chosen: Settings, dtype: Any, device: Any = "cpu") -> Any:
    """Untrained flows, one for each block; a block of no columns has None."""
    import torch
    import zuko

    make = getattr(zuko.flows, chosen.flow)
    hidden = (chosen.hidden, chosen.hidden)
    flows = [
        make(d, 0, transforms=chosen.transforms, hidden_features=hidden) if d else torch.nn.Identity() for d in dims
    ]
    return torch.nn.ModuleList(flows).to(device=device, dtype=dtype)


def _forward(flows: Any, dims: Any, x: Any) -> tuple[Any, Any]:
    """Latents ``(D, n)`` and log-determinants ``(n,)`` of columns ``(D, n)``."""
    import torch

    out, volume = [], x.new_zeros(x.shape[1])
    for flow, part in zip(flows, torch.split(x, list(dims)), strict=True):
        if len(part):
            z, log_det = flow().transform.call_and_ladj(part.T)
            part, volume = z.T, volume + log_det
        out.append(part)
    return torch.cat(out), volume


def train(
    x: Any,
    weight: Any,
    x_held: Any,
    weight_held: Any,
    *,
    layout: Any,
    config: Any,
    seed: int,
    progress: Callable | None,
) -> Any:
    """Flows fitted to `x` and stopped on `x_held`, one after another.

    Parameters and errors are those of :func:`pidflow.flows.training.train_stack`.
    """
    import torch

    from pidflow.flows.training import TrainedStack, refuse_untrained

    chosen = Settings.checked(config.map_settings, where="flow map_settings")
    found = []
    for s, dims in enumerate(layout.dims):
        own = layout.valid[s]
        parts = [c[s][own][:, w[s] > 0] for c, w in ((x, weight), (x_held, weight_held))]
        found.append(_train_one(*parts, dims=dims, chosen=chosen, config=config, seed=seed))
        if progress is not None:
            progress(found[-1][3], len(layout.dims) - s - 1)
    states, curves, best, run = zip(*found, strict=True)
    names = sorted(set().union(*states))
    curves = torch.stack(curves, dim=1).to(torch.float64)
    refuse_untrained(curves)
    return TrainedStack(
        {name: [state.get(name) for state in states] for name in names},
        (torch.arange(curves.shape[2]) * config.evaluate_every).clamp(max=chosen.max_steps),
        curves[0],
        curves[1],
        torch.tensor(best),
        torch.tensor(run),
        torch.tensor(run) < chosen.max_steps,
        chosen.batch_size,
    )


def _train_one(x: Any, x_held: Any, *, dims: Any, chosen: Settings, config: Any, seed: int) -> tuple:
    """Weights at the best held-out loss, losses ``(2, E)`` relative to the start, best step and steps run."""
    import torch

    from pidflow.errors import NumericsError
    from pidflow.flows.training import held_out_loss, profile_loss

    valid = torch.ones(1, len(x), dtype=torch.bool, device=x.device)
    ones = [c.new_ones(1, c.shape[1]) for c in (x, x_held)]

    def losses() -> Any:
        with torch.no_grad():
            (z, volume), (z_held, volume_held) = (_forward(flows, dims, c) for c in (x, x_held))
            held = held_out_loss(z_held[None], volume_held[None], ones[1], z[None], ones[0], valid)
            return torch.cat([profile_loss(z[None], volume[None], ones[0], valid), held])

    def state() -> dict:
        return {name: value.detach().clone().cpu() for name, value in flows.state_dict().items()}

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flows = _flows(dims, chosen, x.dtype, x.device)
        optimizer = torch.optim.Adam(flows.parameters(), lr=chosen.learning_rate)
        start, best, best_step, kept, stale, done = losses(), 0.0, 0, state(), 0, 0
        if not start.isfinite().all():
            raise NumericsError(
                "flows of zuko cannot start: the loss of their columns is not finite; drop copied columns"
            )
        curves = torch.full((2, 1 + -(-chosen.max_steps // config.evaluate_every)), float("nan"))
        curves[:, 0] = 0
        for evaluation in range(1, curves.shape[1]):
            while done < min(chosen.max_steps, evaluation * config.evaluate_every):
                rows = torch.randperm(x.shape[1])[: max(chosen.batch_size, 4 * len(x))].to(x.device)
                optimizer.zero_grad()
                z, volume = _forward(flows, dims, x[:, rows])
                profile_loss(z[None], volume[None], ones[0][:, rows], valid).sum().backward()
                torch.nn.utils.clip_grad_norm_(flows.parameters(), 1.0)
                optimizer.step()
                done += 1
            curves[:, evaluation] = (losses() - start).cpu()
            held = curves[1, evaluation].item()
            stale = 0 if held < best else stale + 1
            if held < best:
                best, best_step, kept = held, done, state()
            if stale == chosen.patience:
                break
    return kept, curves, best_step, done


def stored(parameters: Mapping[str, Any], columns: Any, config: Any) -> dict[str, Any]:
    """The weights of one layer's flows by their names in zuko."""
    import torch

    return {f"flow.{name}": torch.stack(v).contiguous() for name, v in parameters.items() if v[0] is not None}


def opened(weights: Mapping[str, Any], fold: int, settings: Mapping[str, Any]) -> Maps:
    """The stored flows of one fold, built from stored settings."""
    import torch

    dims = weights["dims"].tolist()
    with torch.random.fork_rng(devices=[]):
        flows = _flows(dims, Settings.checked(dict(settings), where="stored maps"), torch.float64)
    flows.load_state_dict({k.removeprefix("flow."): v[fold] for k, v in weights.items() if k.startswith("flow.")})

    def inverse(z: Any) -> Any:
        parts = zip(flows, torch.split(z, dims), strict=True)
        with torch.no_grad():
            return torch.cat([flow().transform.inv(part.T).T if len(part) else part for flow, part in parts])

    def forward(x: Any) -> Any:
        with torch.no_grad():
            return _forward(flows, dims, x)[0]

    return Maps(forward, inverse)
