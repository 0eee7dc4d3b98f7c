"""The loads that are compared, and how each is asked for: of the server and of ``estimate``."""

from dataclasses import dataclass

from tests.benchmarks.engine.packages import BUILD, GEMMA3, SMOLLM2


@dataclass(frozen=True, slots=True)
class Load:
    """``outputs`` is None for one a slot: more of them come with guessed tokens to verify."""

    model: tuple[str, tuple[str, ...]]
    ctx: int
    slots: int = 1
    unified: bool = False
    flash_attn: bool = True
    kv_type: str = "f16"
    ubatch: int = 512
    outputs: int | None = None
    swa_full: bool = False

    @property
    def words(self) -> str:
        """Say what is asked, in one line."""
        said = [f"ctx {self.ctx}", f"ubatch {self.ubatch}", f"KV {self.kv_type}"]
        said.append(f"flash attention {'on' if self.flash_attn else 'off'}")
        if self.slots > 1:
            said.append(f"{self.slots} slots {'unified' if self.unified else 'split'}")
        if self.outputs:
            said.append(f"{self.outputs} outputs")
        if self.swa_full:
            said.append("whole windows")
        return ", ".join(said)

    def server_options(self) -> list[str]:
        """Return llama-server's options."""
        options = [*self._common("-c", "-ub", "-np", "-fa"), "-b", str(max(self.ubatch, 512))]
        options += ["-ctk", self.kv_type, "-ctv", self.kv_type]
        options.append("-kvu" if self.unified else "-no-kvu")
        if self.swa_full:
            options.append("--swa-full")
        if self.outputs:
            guessed = self.outputs // self.slots - 1
            options += ["--spec-type", "ngram-simple", "--spec-ngram-simple-size-m", str(guessed)]
        return options

    def estimate_options(self) -> list[str]:
        """Return the options of ``manage.py estimate``, for a machine without a GPU."""
        names = ("--ctx", "--ubatch-size", "--parallel", "--flash-attn")
        options = [*self._common(*names), "--batch-size", str(max(self.ubatch, 512))]
        options += ["--kv-type", self.kv_type, "--engine", f"b{BUILD}", "--gpus", "0"]
        if self.unified:
            options.append("--unified-kv")
        if self.swa_full:
            options.append("--swa-full")
        if self.outputs:
            options += ["--outputs", str(self.outputs)]
        return options

    def _common(self, ctx: str, ubatch: str, slots: str, flash_attn: str) -> list[str]:
        """Return what both are asked alike, by their names."""
        switch = "on" if self.flash_attn else "off"
        given = {ctx: self.ctx, ubatch: self.ubatch, slots: self.slots, flash_attn: switch}
        return [str(word) for pair in given.items() for word in pair]


LOADS = (
    Load(SMOLLM2, ctx=2048),
    Load(SMOLLM2, ctx=8192, flash_attn=False),
    Load(SMOLLM2, ctx=8192, kv_type="q8_0"),
    Load(SMOLLM2, ctx=8192, slots=4, unified=True, ubatch=128),
    Load(SMOLLM2, ctx=4096, slots=2, outputs=512),
    Load(GEMMA3, ctx=4096),
    Load(GEMMA3, ctx=32768, kv_type="q4_0", ubatch=1024),
    Load(GEMMA3, ctx=8192, flash_attn=False, ubatch=256),
    Load(GEMMA3, ctx=8192, slots=4, kv_type="q8_0"),
    Load(GEMMA3, ctx=8192, slots=4, unified=True, swa_full=True, kv_type="bf16"),
)
