"""GPUs and networks: figures of data sheets, and what a training step reaches of them."""

from dataclasses import dataclass

from hybrid_dist.errors import UserError, nearest

GIB = 2**30


@dataclass(frozen=True)
class Reached:
    """Measured shares of what a card's data sheet promises, and least times."""

    forward: float
    backward: float
    """Of `Card.training` in the passes of a training step."""
    compiled_forward: float
    compiled_backward: float
    """The same with train.compile."""
    embedding: float
    """Of `Card.training` in embedding for an evaluation."""
    loss: float
    search: float
    """Of `Card.fp32` in the loss and in the evaluator's products."""
    update: float
    """Bytes that clipping and AdamW move for each parameter, at the bandwidth of the memory."""
    forward_launches: float
    backward_launches: float
    """Seconds that a layer takes at least, however few tokens a chunk has: the host launches its
    kernels."""


ON_H100 = Reached(
    forward=0.334,  # 83.8 and 207.1 ms for 27.7 and 55.4 TFLOP
    backward=0.270,
    compiled_forward=0.358,  # 78.3 and 161.0 ms
    compiled_backward=0.348,
    embedding=0.343,  # 603,570 tokens in 1.078 s
    loss=0.651,  # 65,536 pairs of 1,024 numbers in 606 ms, 43.6 TFLOP/s
    search=0.736,  # 49.3 TFLOP/s
    update=85.6,  # 14.3 ms for 560 million parameters
    # chunks of 64 pairs took 57.8 ms forward, and 121 ms recomputed and backward, in 24 layers
    forward_launches=2.4e-3,
    backward_launches=2.6e-3,
)
"""XLM-R large in bf16, 256 pairs of 174 tokens, 44,573 tokens a chunk, from
benchmarks/results/h100-2026-11-26."""


@dataclass(frozen=True)
class Card:
    """A GPU."""

    name: str
    memory: float
    """GiB, as drivers report it."""
    training: float
    """Dense TFLOP/s of products in the precision of training: on GPUs, bf16 with fp32 sums."""
    fp32: float
    """TFLOP/s in fp32, without TF32."""
    bandwidth: float
    """GB/s of its memory."""
    peers: float
    """GB/s in one direction to the other cards of a machine: NVLink, or 16 lanes of PCIe."""
    reached: Reached = ON_H100


CARDS = {
    "h100": Card("NVIDIA H100 SXM 80 GB", 79.6, 989, 67, 3350, 450),
    "h200": Card("NVIDIA H200 SXM 141 GB", 140.4, 989, 67, 4800, 450),
    "a100-80": Card("NVIDIA A100 SXM 80 GB", 79.3, 312, 19.5, 2039, 300),
    "a100-40": Card("NVIDIA A100 SXM 40 GB", 39.5, 312, 19.5, 1555, 300),
    "l40s": Card("NVIDIA L40S 48 GB", 44.5, 362, 91.6, 864, 32),
    "l4": Card("NVIDIA L4 24 GB", 22.5, 121, 30.3, 300, 32),
    "a10": Card("NVIDIA A10 24 GB", 22.5, 125, 31.2, 600, 32),
    "rtx4090": Card("NVIDIA RTX 4090 24 GB", 24.0, 165, 82.6, 1008, 32),
    "rtx3090": Card("NVIDIA RTX 3090 24 GB", 24.0, 71, 35.6, 936, 32),
}
"""Data sheets of NVIDIA. All are taken to reach the shares of an H100."""

LINKS = {
    "ib400": 50.0,
    "ib200": 25.0,
    "ib100": 12.5,
    "eth100": 12.5,
    "eth25": 3.125,
    "eth10": 1.25,
}
"""GB/s of a network adapter in one direction: InfiniBand NDR, HDR and EDR, and Ethernet."""


def card(name: str) -> Card:
    if name not in CARDS:
        raise UserError(f"--gpu: unknown card {name!r}{nearest(name, CARDS)}; {_known(CARDS)}")
    return CARDS[name]


def link(name: str) -> float:
    """Bytes per second of a network adapter."""
    if name not in LINKS:
        raise UserError(f"--link: unknown network {name!r}{nearest(name, LINKS)}; {_known(LINKS)}")
    return LINKS[name] * 1e9


def _known(names: dict[str, Card] | dict[str, float]) -> str:
    return f"known are {', '.join(names)}"


@dataclass(frozen=True)
class Cluster:
    """Equal machines with equal cards."""

    card: Card
    gpus: int
    """Cards of each machine."""
    nodes: int = 1
    link: float = 0.0
    """Bytes per second of a machine's adapters together, in one direction."""

    @property
    def world(self) -> int:
        return self.gpus * self.nodes

    def seconds(self, size: float) -> float:
        """To reduce-scatter or all-gather `size` bytes by rings at line rate: within machines, and
        then between them."""
        inside = (self.gpus - 1) / self.gpus * size / (self.card.peers * 1e9)
        outside = (self.nodes - 1) / self.nodes * size / self.link if self.nodes > 1 else 0.0
        return inside + outside
