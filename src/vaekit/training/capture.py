"""Record a step as a list of operations, and replay it without building an autograd graph.

A small network spends as much time on the graph of a step as on its arithmetic. All steps with one batch size do the
same operations in the same order. So the first one is recorded below autograd, and later ones replay it: the same
kernels on tensors of the same shapes and types, with bitwise equal results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Tape"]


class Tape:
    """The recorded operations from the inputs of a function to its outputs."""

    def __init__(self, run: Callable[..., tuple[Tensor, ...]]) -> None:
        self._run = run

    @staticmethod
    def record(
        function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor]
    ) -> tuple[tuple[Tensor, ...], Tape | None]:
        """Return the result of ``function`` for ``inputs``, and a tape that repeats it.

        The tape is None if the function depends on values of tensors, because it may then do something else the next
        time. Other tensors that the function reads must stay in place; their values may change.
        """
        with _Recorder() as recorder:
            outputs = function(*inputs)
        program = _Program(inputs)
        for operation in recorder.operations:
            if not program.add(operation):
                return outputs, None
        return outputs, Tape(program.compiled(outputs))

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the function's outputs for inputs of the recorded shapes."""
        return self._run(*inputs)


class _Operation(NamedTuple):
    """A call below autograd. Only torch knows the types of its arguments and result."""

    function: OpOverload
    args: tuple[object, ...]
    kwargs: dict[str, object]
    result: object


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[_Operation] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing needs the compiler, whose import takes a second

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[object, ...] = (), kwargs: dict[str, object] | None = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.lift_fresh.default:  # a constant: created anew, because it may be changed in place
            func, args = torch.ops.aten.clone.default, (result.clone(),)
        self.operations.append(_Operation(func, args, kwargs or {}, result))
        return result


class _Program:
    """Python source with one line per operation; every tensor is freed after its last use."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.parameters = [f"x{number}" for number in range(len(inputs))]
        self.names = {id(tensor): name for name, tensor in zip(self.parameters, inputs, strict=True)}
        self.constants: dict[str, object] = {}
        self.lines: list[tuple[list[str], str, set[str]]] = []  # results, source line, names that it reads
        self.kept: list[object] = []  # keeps tensors alive, because ids must not be reused
        self.used: set[str] = set()

    def add(self, operation: _Operation) -> bool:
        """Record an operation; return whether it can be replayed."""
        func, args, kwargs, result = operation
        results: list[object] = [*result] if isinstance(result, (tuple, list)) else [result]
        if not results or not all(isinstance(each, Tensor) or each is None for each in results):
            return False
        if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
            return False
        self.kept.append(result)
        if func is torch.ops.aten.detach.default:
            self.names[id(result)] = self._text(args[0])
            return True
        self.used = set()
        given = [self._text(value) for value in args] + [f"{key}={self._text(v)}" for key, v in kwargs.items()]
        if func.is_view and not self.used:  # a view of a tensor that stays in place
            return True
        call = f"{self._constant(func)}({', '.join(given)})"
        names = [f"t{len(self.lines)}_{i}" for i in range(len(results))]
        self.names |= {id(each): name for each, name in zip(results, names, strict=True)}
        target = ", ".join(names) + ("," if isinstance(result, (tuple, list)) else "")
        self.lines.append((names, f"{target} = {call}", self.used))
        return True

    def compiled(self, outputs: Sequence[Tensor]) -> Callable[..., tuple[Tensor, ...]]:
        """Compile the program to a function of its inputs."""
        returned = [self._text(tensor) for tensor in outputs]
        needed, body = set(returned) | set(self.parameters), []
        for names, line, used in reversed(self.lines):
            last = sorted((used | set(names)) - needed)
            body += [f"del {', '.join(last)}"] if last else []
            body.append(line)
            needed |= used
        body = [f"    {line}" for line in reversed(body)]
        source = [f"def run({', '.join(self.parameters)}):", *body, f"    return ({', '.join(returned)},)"]
        exec("\n".join(source), self.constants)
        return cast(Callable[..., tuple[Tensor, ...]], self.constants["run"])

    def _text(self, value: object) -> str:
        """Return the source text of an argument."""
        if isinstance(value, (list, tuple)):
            return f"[{', '.join(self._text(each) for each in value)}]"
        if value is None or isinstance(value, (bool, int)):
            return repr(value)
        name = self.names.get(id(value)) if isinstance(value, Tensor) else None
        if name is None:
            return self._constant(value)
        if not name.startswith("c"):
            self.used.add(name)
        return name

    def _constant(self, value: object) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        if isinstance(value, Tensor):
            self.names[id(value)] = name
        return name
