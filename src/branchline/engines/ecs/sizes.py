"""The sizes that Fargate sells."""

from __future__ import annotations

from branchline.errors import ConfigurationError

_MEMORY: dict[int, range | tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: range(1024, 4096 + 1, 1024),
    1024: range(2048, 8192 + 1, 1024),
    2048: range(4096, 16_384 + 1, 1024),
    4096: range(8192, 30_720 + 1, 1024),
    8192: range(16_384, 61_440 + 1, 4096),
    16_384: range(32_768, 122_880 + 1, 8192),
}
"""The amounts of memory, in MiB, that each number of processor units goes with.
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html#task_size"""


def check_fargate_size(cpu: int, memory: int) -> None:
    """Returns if Fargate sells a task of so many processor units and so much memory (in MiB).

    Raises:
        ConfigurationError: it doesn't; names what goes with the cpu, and the cpu that goes with the memory.
    """
    fitting = _MEMORY.get(cpu, ())
    if memory in fitting:
        return
    offered = ", ".join(map(str, fitting)) if len(fitting) <= 4 else f"{fitting[0]} to {fitting[-1]}"
    step = f" in steps of {fitting[1] - fitting[0]}" if len(fitting) > 4 else ""
    others = [str(units) for units, amounts in _MEMORY.items() if memory in amounts]
    raise ConfigurationError(
        f"branchline.toml: ecs.memory: Fargate has no task with cpu = {cpu} and memory = {memory}",
        remedy=f"with that cpu, memory may be {offered}{step}"
        + (f"; that memory goes with cpu = {', '.join(others)}" if others else ""),
    )
