"""Files of the amdgpu and amdkfd drivers and of processes, after the kernel's documentation."""

from collections.abc import Mapping
from pathlib import Path


def make_card(root: Path, number: int, files: Mapping[str, str], *, pci_id: str = "") -> None:
    """Make a card with these files in its device's folder."""
    device = root / "devices" / (pci_id or f"0000:0{number}:00.0")
    for name, text in files.items():
        write(device / name, text)
    card = root / f"class/drm/card{number}"
    card.mkdir(parents=True)
    (card / "device").symlink_to(device)


def open_card(root: Path, pid: int, fd: int, **told: object) -> None:
    """Let a process have a card open, of which the kernel tells lines of ``drm-``."""
    folder = root / f"proc/{pid}/fd"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(fd)).symlink_to("/dev/dri/renderD128")
    lines = [f"drm-{key.replace('_', '-')}:\t{value}\n" for key, value in told.items()]
    write(root / f"proc/{pid}/fdinfo/{fd}", f"pos:\t0\nino:\t1050\n{''.join(lines)}")


def make_compute_node(root: Path, number: int, *, gpu_id: int, **facts: int) -> None:
    """Make a node of amdkfd: a processor where ``gpu_id`` is 0."""
    folder = root / f"class/kfd/kfd/topology/nodes/{number}"
    write(folder / "gpu_id", str(gpu_id))
    write(folder / "properties", "".join(f"{name} {value}\n" for name, value in facts.items()))


def compute(root: Path, pid: int, *, gpu_id: int, used_bytes: int) -> None:
    """Let a process hold memory of a card through amdkfd."""
    write(root / f"class/kfd/kfd/proc/{pid}/vram_{gpu_id}", str(used_bytes))


def write(path: Path, text: str) -> None:
    """Write a file as the kernel does, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
