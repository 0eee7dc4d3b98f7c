"""What llama.cpp's ``--fit`` chooses where a model does not fit: common/fit.cpp.

First the context shrinks, where it was not asked for. Then devices are filled with whole layers
from the last to the first; of a mixture of experts with what is no expert first, and with experts
from the first device on, as far as they go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from labdash.planner.memory.caches import CELL_PADDING
from labdash.planner.memory.estimate import measure
from labdash.planner.model import Model
from labdash.planner.settings import ALL_LAYERS, HOST, Settings

# llama.cpp, --fit-ctx: what a context is not cut below.
LEAST_CTX = 4096
EXPERTS = r"ffn_(up|down|gate_up|gate)_(ch|)exps"
# What moves away of the first layer that lies on a device in part.
PARTS = {
    "attention": r"ffn_(gate|up|gate_up|down).*",
    "up": r"ffn_(gate|gate_up|down).*",
    "gate": r"ffn_down.*",
    "experts": EXPERTS,
}


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was chosen. ``gpu_layers`` is -1 where every layer is offloaded without a choice."""

    settings: Settings
    ctx: int
    gpu_layers: int
    tensor_split: tuple[float, ...] | None
    experts_on_cpu: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Layers of a device: ``partial`` of them, the last ones, without ``part`` or experts."""

    layers: int = 0
    partial: int = 0
    part: str = "experts"
    # Where the first partial layer's rest goes: the host, or the next device.
    rest: int = HOST

    @property
    def whole(self) -> int:
        """Layers with all that belongs to them."""
        return self.layers - self.partial


type Shares = tuple[Share, ...]
type Grow = Callable[[Shares, int, int], Shares]


def fit(
    model: Model, settings: Settings, *, margin_bytes: int | Sequence[int], ctx_is_free: bool
) -> Fitted:
    """Choose as the engine does. GPUs without a size are taken as endless.

    ``margin_bytes`` is one for all GPUs, or one for each.
    """
    margins = [margin_bytes] * len(settings.gpus) if isinstance(margin_bytes, int) else margin_bytes
    return _Fitter(model, settings, margins, ctx_is_free=ctx_is_free).run()


class _Fitter:
    def __init__(
        self, model: Model, settings: Settings, margins: Sequence[int], *, ctx_is_free: bool
    ) -> None:
        self._model = model
        self._given = settings
        self._settings = replace(settings, dry_run=True)
        self._ctx_is_free = ctx_is_free
        self._units = len(model.shape.layers) + 1
        self._last = len(settings.gpus) - 1
        self._targets = [
            (1 << 62) if gpu.free_bytes is None else gpu.free_bytes - margin
            for gpu, margin in zip(settings.gpus, margins, strict=True)
        ]

    def run(self) -> Fitted:
        if self._ctx_is_free:
            streams = 1 if self._given.unified_kv else self._given.parallel
            ctx = self._model.shape.ctx_train * streams
            self._settings = replace(self._settings, ctx=ctx)
        used = self._used(self._settings)
        if not self._given.gpus or self._within(used):
            return self._done(None)
        if self._ctx_is_free and self._shrinks_context(used):
            return self._done(None)
        fixed = self._given.tensor_split or self._given.cpu_override
        if fixed or self._given.gpu_layers != ALL_LAYERS:
            return self._done(None)
        shares = self._fill_back_to_front()
        if self._model.shape.experts and self._rest_fits():
            shares = self._fill_experts(shares)
        return self._done(shares)

    # -- what is measured

    def _used(self, settings: Settings) -> list[int]:
        """Measure the GPUs, without overhead, which the engine does not know."""
        buffers = measure(self._model, settings)
        parts = zip(buffers.weights, buffers.kv, buffers.compute, strict=True)
        return [sum(part) for part in parts][: len(settings.gpus)]

    def _within(self, used: Sequence[int]) -> bool:
        return all(u <= target for u, target in zip(used, self._targets, strict=True))

    def _measure(self, shares: Shares) -> list[int]:
        return self._used(self._with(shares))

    def _with(self, shares: Shares) -> Settings:
        """Set layers, split and what moves to the host."""
        total = sum(share.layers for share in shares)
        split = tuple(float(share.layers) for share in shares) if len(shares) > 1 else None
        return replace(
            self._settings,
            gpu_layers=total,
            tensor_split=split if total else None,
            moves=tuple(self._moves(shares, self._units - total)),
        )

    def _moves(self, shares: Shares, first: int) -> list[tuple[str, int]]:
        moves = []
        for share in shares:
            first += share.whole
            for layer in range(first, first + share.partial):
                part, home = (share.part, share.rest) if layer == first else ("experts", HOST)
                moves.append((rf"blk\.{layer}\.{PARTS[part]}", home))
            first += share.partial
        return moves

    # -- the context

    def _shrinks_context(self, used: Sequence[int]) -> bool:
        """Cut the context by what is missing. True where that alone is taken to be enough."""
        streams = 1 if self._given.unified_kv else self._given.parallel
        most, least = self._settings.ctx, LEAST_CTX * streams
        target = sum(self._targets)
        if sum(used) <= target or most <= least:
            return False
        if self._last:
            target -= self._waste()
        self._settings = replace(self._settings, ctx=least)
        least_used = sum(self._used(self._settings))
        if target <= least_used:
            return False
        ctx = least + (most - least) * (target - least_used) // (sum(used) - least_used)
        ctx -= ctx % (CELL_PADDING * streams)
        self._settings = replace(self._settings, ctx=max(ctx, least))
        return not self._last

    def _waste(self) -> int:
        """Reckon what whole layers leave unused on several devices."""
        weights = sum(measure(self._model, self._settings).weights[:-1])
        a_layer = weights // (self._units - 1)
        return (len(self._targets) + 1) * a_layer // (6 if self._model.shape.experts else 2)

    # -- the layers

    def _rest_fits(self) -> bool:
        """Tell whether everything but the experts fits."""
        moved = replace(self._settings, moves=((rf"blk\.\d+\.{EXPERTS}", HOST),))
        return sum(self._used(moved)) < sum(self._targets)

    def _fill_back_to_front(self) -> Shares:
        shares: Shares = (Share(),) * len(self._targets)
        for device in range(self._last, -1, -1):
            rest = self._units - sum(share.layers for share in shares)
            shares = self._most(device, shares, rest, self._grown)
        return shares

    def _grown(self, shares: Shares, device: int, count: int) -> Shares:
        """Give a device more layers, without their experts. The output layer is always whole."""
        share = shares[device]
        partial = 0
        if self._model.shape.experts:
            takes_output = device == self._last and share.layers == 0
            partial = count - 1 if takes_output else count
        return _replaced(
            shares, device, Share(share.layers + count, share.partial + partial, share.part)
        )

    def _fill_experts(self, shares: Shares) -> Shares:
        first_dense = next(i for i, share in enumerate(shares) if share.layers)
        for device in range(len(shares)):
            if device > first_dense:
                break
            convertible = sum(share.partial for share in shares if share.part == "experts")
            shares = self._most(device, shares, convertible, self._converted)
            first_dense = next(
                (i for i, s in enumerate(shares) if s.partial and s.part == "experts"), self._last
            )
            shares = self._with_part(device, shares, first_dense)
        return shares

    def _converted(self, shares: Shares, device: int, count: int) -> Shares:
        """Turn the first partial layers into whole ones of a device."""
        for source in range(len(shares)):
            moved = min(count, shares[source].partial) if shares[source].part == "experts" else 0
            if not moved:
                continue
            lent = shares[source]
            shares = _replaced(shares, source, Share(lent.layers - moved, lent.partial - moved))
            given = shares[device]
            shares = _replaced(
                shares, device, Share(given.layers + moved, given.partial, given.part, given.rest)
            )
            count -= moved
        return shares

    def _with_part(self, device: int, shares: Shares, source: int) -> Shares:
        """Try to place a part of one more layer, its rest on the next device or the host."""
        lent = shares[source]
        if lent.partial < 1 or lent.layers <= (0 if device < self._last else 1):
            return shares
        lessened = _replaced(shares, source, Share(lent.layers - 1, lent.partial - 1))
        rest = device + 1 if device < self._last else HOST
        best = shares
        for part in ("up", "gate"):
            tried = self._parted(lessened, device, part, rest)
            if not self._part_fits(tried, device):
                break
            best = tried
        if best is shares:
            tried = self._parted(lessened, device, "attention", rest)
            best = tried if self._part_fits(tried, device) else shares
        return best

    @staticmethod
    def _parted(shares: Shares, device: int, part: str, rest: int) -> Shares:
        share = shares[device]
        return _replaced(shares, device, Share(share.layers + 1, share.partial + 1, part, rest))

    def _part_fits(self, shares: Shares, device: int) -> bool:
        used = self._measure(shares)
        touched = (device, device + 1) if device < self._last else (device,)
        return all(used[index] < self._targets[index] for index in touched)

    def _most(self, device: int, shares: Shares, most: int, grow: Grow) -> Shares:
        """Find how many layers a device takes, by false position as the engine does."""
        if most < 1:
            return shares
        low, low_used = 0, self._measure(shares)[device]
        high = most
        target = self._targets[device]
        high_used = self._measure(grow(shares, device, high))[device]
        if high_used <= target:
            return grow(shares, device, high)
        while high - low > 1:
            gap = high - low
            step = int(gap * (target - low_used) / (high_used - low_used))
            step = min(max(step, 1), gap - 1)
            used = self._measure(grow(shares, device, low + step))[device]
            if used <= target:
                low, low_used = low + step, used
            else:
                high, high_used = low + step, used
        return grow(shares, device, low) if low else shares

    def _done(self, shares: Shares | None) -> Fitted:
        settings = self._settings if shares is None else self._with(shares)
        on_cpu: list[int] = []
        if shares is not None:
            first = self._units - sum(share.layers for share in shares)
            for share in shares:
                first += share.whole
                elsewhere = 1 if share.partial and share.rest != HOST else 0
                on_cpu.extend(range(first + elsewhere, first + share.partial))
                first += share.partial
        return Fitted(
            settings=replace(settings, dry_run=self._given.dry_run),
            ctx=settings.ctx,
            gpu_layers=settings.gpu_layers,
            tensor_split=settings.tensor_split,
            # The engine's patterns reach one block too far.
            experts_on_cpu=tuple(block for block in on_cpu if block < self._units - 1),
        )


def _replaced(shares: Shares, device: int, share: Share) -> Shares:
    return (*shares[:device], share, *shares[device + 1 :])
