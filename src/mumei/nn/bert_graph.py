"""BERT's encoder as an ONNX graph, written node by node from a folder's weights: for OpenVINO and ONNX Runtime.

Network: Devlin et al. 2019, "BERT"; weights in Hugging Face's names. No exporter is traced: the graph has what inference
needs and no more, in the form that both runtimes recognise and fuse.

Departures from the usual export:

- No mask: a batch holds texts of one length, so there is nothing to hide and the attention's scores are left as they are.
- The 1/sqrt(d) is folded into the query's weights, the segment's embedding into the position's.
- Pooling is part of the graph; its output is one vector a text.
- 8-bit products (`Products`): weights are int8 with one scale a column, attention stays in floating point. "static" has one
  range of activations a product, measured beforehand (`ranges`); "dynamic" measures it at each call.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mumei.core.errors import DataError, MissingExtraError
from mumei.nn.bert_shape import BertShape

if TYPE_CHECKING:
    import numpy as np

VERSION = 1  # raised when the graph changes: graphs kept on disk are then made anew
OPSET = 20  # the first with Gelu
POOLINGS = ("mean", "cls")
Products = Literal["float", "static", "dynamic"]


def bert_onnx(
    folder: Path,
    *,
    pooling: str = "mean",
    products: Products = "float",
    ranges: Mapping[str, tuple[float, float]] | None = None,
    extra: str = "onnxruntime",
) -> bytes:
    """Return the graph as a serialised ONNX model: ids int64 (texts, length) to "vectors" float32 (texts, width).

    Parameters
    ----------
    folder : Path
        A Hugging Face folder with `config.json` and `model.safetensors`.
    pooling : {"mean", "cls"}
    products : {"float", "static", "dynamic"}
        The number type of the dense layers' products.
    ranges : mapping of a dense layer's name to (smallest, largest) input
        Needed by "static"; `probe_onnx` measures it.
    extra : str
        The extra that a missing package is reported with.
    """
    graph = _Graph(folder, products, ranges or {}, extra)
    return graph.finish({"vectors": graph.pool(graph.encode(), pooling)})


def probe_onnx(folder: Path, *, extra: str = "openvino") -> tuple[list[str], bytes]:
    """Return the dense layers' names and a graph that gives their inputs' "ranges", float32 (layers, 2)."""
    graph = _Graph(folder, "float", {}, extra)
    graph.encode()
    return list(graph.inputs), graph.finish({"ranges": graph.input_ranges()})


class _Graph:
    """Nodes and constants in the making."""

    def __init__(self, folder: Path, products: Products, ranges: Mapping[str, tuple[float, float]], extra: str):
        try:
            import onnx  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(f"the {extra} runtime", "onnx", extra) from error
        from safetensors.numpy import load_file

        self.folder, self.shape = folder, BertShape.read(folder)
        self.weights = {k.removeprefix("bert."): v for k, v in load_file(folder / "model.safetensors").items()}
        self.products, self.ranges = products, ranges
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: dict[str, str] = {}  # a dense layer's name -> the node that feeds it

    def finish(self, outputs: dict[str, str]) -> bytes:
        from onnx import TensorProto, helper

        made = [helper.make_node("Identity", [node], [name]) for name, node in outputs.items()]
        graph = helper.make_graph(
            [*self.nodes, *made],
            "bert",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "length"])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        return model.SerializeToString()

    def constant(self, value: np.ndarray) -> str:
        import numpy as np
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def integers(self, *values: int) -> str:
        import numpy as np

        return self.constant(np.array(values, dtype=np.int64))

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        from onnx import helper

        names = [f"{kind}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, name: str) -> np.ndarray:
        import numpy as np

        if name not in self.weights:
            raise DataError(f"{self.folder}/model.safetensors has no {name!r}: it is not a BERT encoder's weights.")
        return self.weights[name].astype(np.float32)

    def encode(self) -> str:
        """Add everything up to the last layer; return the node of the token vectors (texts, length, width)."""
        places = self.weight("embeddings.position_embeddings.weight")
        places = places + self.weight("embeddings.token_type_embeddings.weight")[0]
        words = self.op("Gather", self.constant(self.weight("embeddings.word_embeddings.weight")), "ids")
        length = self.op("Shape", "ids", start=1, end=2)
        zero = self.integers(0)
        x = self.norm(self.op("Add", words, self.op("Slice", self.constant(places), zero, length, zero)), "embeddings.")
        for i in range(self.shape.layers):
            at = f"encoder.layer.{i}."
            mixed = self.attend(x, at + "attention.self.")
            mixed = self.linear(mixed, at + "attention.output.dense")
            x = self.norm(self.op("Add", x, mixed), at + "attention.output.")
            up = self.op("Gelu", self.linear(x, at + "intermediate.dense"))
            x = self.norm(self.op("Add", x, self.linear(up, at + "output.dense")), at + "output.")
        return x

    def norm(self, x: str, at: str) -> str:
        scale, shift = (self.constant(self.weight(f"{at}LayerNorm.{part}")) for part in ("weight", "bias"))
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=self.shape.epsilon)

    def attend(self, x: str, at: str) -> str:
        size = self.shape.width // self.shape.heads
        split, join = self.integers(0, 0, self.shape.heads, size), self.integers(0, 0, self.shape.width)

        def heads(name: str, order: list[int], scale: float = 1.0) -> str:
            return self.op("Transpose", self.op("Reshape", self.linear(x, at + name, scale), split), perm=order)

        query, key = heads("query", [0, 2, 1, 3], size**-0.5), heads("key", [0, 2, 3, 1])
        weights = self.op("Softmax", self.op("MatMul", query, key), axis=-1)
        mixed = self.op("MatMul", weights, heads("value", [0, 2, 1, 3]))
        return self.op("Reshape", self.op("Transpose", mixed, perm=[0, 2, 1, 3]), join)

    def linear(self, x: str, name: str, scale: float = 1.0) -> str:
        """Add y = scale (x W^T + b) in the chosen number type."""
        import numpy as np

        self.inputs[name] = x
        weight = self.weight(f"{name}.weight").T * np.float32(scale)  # (in, out)
        bias = self.constant(self.weight(f"{name}.bias") * np.float32(scale))
        product = {"float": self._float, "static": self._static, "dynamic": self._dynamic}[self.products]
        return self.op("Add", product(x, weight, name), bias)

    def _float(self, x: str, weight: np.ndarray, name: str) -> str:
        return self.op("MatMul", x, self.constant(weight))

    def _static(self, x: str, weight: np.ndarray, name: str) -> str:
        import numpy as np

        low, high = (min(self.ranges[name][0], 0.0), max(self.ranges[name][1], 0.0))
        step = max(high - low, 1e-6) / 255
        step_node = self.constant(np.array(step, dtype=np.float32))
        zero = self.constant(np.array(np.clip(round(-low / step), 0, 255), dtype=np.uint8))
        quantised = self.op("QuantizeLinear", x, step_node, zero)
        x = self.op("DequantizeLinear", quantised, step_node, zero)
        integers, steps = quantise_columns(weight)
        whole = self.constant(np.zeros(len(steps), dtype=np.int8))
        return self.op(
            "MatMul", x, self.op("DequantizeLinear", self.constant(integers), self.constant(steps), whole, axis=1)
        )

    def _dynamic(self, x: str, weight: np.ndarray, name: str) -> str:
        import numpy as np
        from onnx import TensorProto

        integers, steps = quantise_columns(weight)
        quantised, step, zero = self.op("DynamicQuantizeLinear", x, outputs=3)
        whole = self.constant(np.zeros(len(steps), dtype=np.int8))
        product = self.op("MatMulInteger", quantised, self.constant(integers), zero, whole)
        return self.op(
            "Mul", self.op("Cast", product, to=TensorProto.FLOAT), self.op("Mul", step, self.constant(steps))
        )

    def pool(self, x: str, pooling: str) -> str:
        if pooling == "mean":
            return self.op("ReduceMean", x, self.integers(1), keepdims=0)
        if pooling == "cls":
            return self.op("Squeeze", self.op("Slice", x, *(self.integers(v) for v in (0, 1, 1))), self.integers(1))
        raise DataError(f"{self.folder}: pooling {pooling!r} is not one of {', '.join(POOLINGS)}.")

    def input_ranges(self) -> str:
        """Add the smallest and largest value of each dense layer's input, (layers, 2)."""
        one = self.integers(1)
        ends = [
            self.op("Reshape", self.op(kind, x, keepdims=0), one)
            for x in self.inputs.values()
            for kind in ("ReduceMin", "ReduceMax")
        ]
        return self.op("Reshape", self.op("Concat", *ends, axis=0), self.integers(-1, 2))


def quantise_columns(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int8 (in, out) and float32 steps (out,): weight is about integers times steps, each column with its own step.

    Examples
    --------
    >>> import numpy as np
    >>> integers, steps = quantise_columns(np.array([[1.0, -4.0], [0.5, 2.0]], dtype=np.float32))
    >>> integers.tolist(), (integers * steps).round(1).tolist()
    ([[127, -127], [64, 64]], [[1.0, -4.0], [0.5, 2.0]])
    """
    import numpy as np

    steps = np.maximum(np.abs(weight).max(axis=0), 1e-12).astype(np.float32) / np.float32(127)
    return np.clip(np.rint(weight / steps), -127, 127).astype(np.int8), steps
