"""The random numbers of one process: what dropout and its kin would draw next."""

import random
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of all generators, as JSON can hold them."""
    name, words, *rest = np.random.get_state(legacy=True)
    states = {
        "python": random.getstate(),
        "numpy": [name, np.asarray(words).tolist(), *rest],
        "torch": _hex(torch.get_rng_state()),
    }
    if device.type == "cuda":
        states["cuda"] = _hex(torch.cuda.get_rng_state(device))
    return states


def set_random_state(states: dict[str, Any], device: torch.device) -> None:
    """Let all generators go on from states that were read from JSON."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    name, words, *rest = states["numpy"]
    np.random.set_state((name, np.array(words, dtype=np.uint32), *rest))
    torch.set_rng_state(_tensor(states["torch"]))
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(_tensor(states["cuda"]), device)


def state_problem(states: Any, device: torch.device) -> str | None:
    """Why generators cannot go on from what was read; none where they can. Changes none of them."""
    try:
        version, words, gauss = states["python"]
        random.Random().setstate((version, tuple(words), gauss))
        name, words, *rest = states["numpy"]
        np.random.RandomState().set_state((name, np.array(words, dtype=np.uint32), *rest))
        torch.Generator().set_state(_tensor(states["torch"]))
        if device.type == "cuda" and "cuda" in states:
            torch.Generator(device).set_state(_tensor(states["cuda"]))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        return f"cannot be taken up ({type(error).__name__}: {error})"
    return None


def _hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _tensor(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
