"""What the graph of a SavedModel may do, looked at before it is loaded.

A graph is a program. TensorFlow has operations that read and write files, and a graph that holds
them uses them when it is loaded or called. Ours hold only those that save and restore variables, in
functions that nothing calls. So a graph is taken for one of ours by its operations alone.
"""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from job.errors import ReleaseError
from job.plurals import format_count

# Every operation in the SavedModels of all backbones, head and poolings. Tests derive it again.
COMPUTING_OPERATIONS = """
    AddV2 All Any ArgMax AvgPool BiasAdd BitwiseAnd Cast ConcatV2 Const Conv2D DecodeImage
    DecodeJpeg DecodePng DecodeRaw DepthwiseConv2dNative EnsureShape Equal Erfc ExpandDims
    ExtractJpegShape FloorDiv FloorMod GatherV2 Greater GreaterEqual Identity IdentityN Less
    LessEqual LogicalAnd LogicalOr MatMul Max MaxPool Maximum Mean Min Minimum Mul Neg NoOp NotEqual
    Pack Pad PadV2 PartitionedCall Placeholder Prod ReadVariableOp RealDiv Relu Relu6 Reshape
    ReverseV2 Rsqrt ScaleAndTranslate SelectV2 Shape Sigmoid Size Softmax Sqrt Square
    SquaredDifference Squeeze StatefulPartitionedCall StatelessIf StatelessWhile StaticRegexReplace
    StopGradient StridedSlice StringJoin StringLength Sub Substr Sum TensorListFromTensor
    TensorListGetItem TensorListReserve TensorListSetItem TensorListStack Tile Transpose Unpack
    VarHandleOp Where
"""
# In the two functions that save and restore the variables. TensorFlow writes them into every
# SavedModel, and loading one calls neither.
SAVING_OPERATIONS = """
    AssignVariableOp DisableCopyOnRead MergeV2Checkpoints RestoreV2 SaveV2 Select ShardedFilename
    StaticRegexFullMatch
"""
COMPUTING = frozenset(COMPUTING_OPERATIONS.split())
SAVING = COMPUTING.union(SAVING_OPERATIONS.split())
# What a function names itself, so that TensorFlow may put it in place of another one.
STAND_IN_ATTRIBUTES = ("api_implements", "_implements", "api_preferred_device")
# The kinds of objects that loading makes of our SavedModels, and the names of plain ones.
OBJECTS = frozenset(
    {"user_object", "variable", "bare_concrete_function", "captured_tensor", "constant"}
)
PLAIN_OBJECTS = frozenset({"_generic_user_object", "trackable_list_wrapper", "signature_map"})
# What a constant is registered as: the statistics in EfficientNet's preprocessing are some.
CONSTANT = "tf.TrackableConstant"

GRAPH = "saved_model.pb"
# Without the weights, which are in files of their own, the largest of ours has 12 MB.
MOST_BYTES = 256 << 20
# Numbers in a constant, which a graph can claim in a few bytes.
MOST_NUMBERS = 1 << 24
# An error names so many operations.
NAMED = 10


def require_known_operations(folder: Path) -> None:
    """Refuse a SavedModel that may do more than compute.

    Args:
        folder: holds saved_model.pb.

    Raises:
        ReleaseError: its graph holds something that no export of ours does, or cannot be read.
    """
    foreign = sorted(set(_find_foreign_parts(folder)))
    if foreign:
        count = len(foreign)
        raise ReleaseError(
            f"{folder / GRAPH} may do more than compute, such as write files. Received "
            f"{format_count(count, 'part')} that no model of Graft has; expected none.",
            "If you know who made this release and trust them, give --trust. A champion is never "
            "trusted: promote another release.",
            tuple(foreign[:NAMED]),
        )


def _find_foreign_parts(folder: Path) -> Iterator[str]:
    meta = _read_graph(folder)
    library = meta.graph_def.library
    called = set(_list_called_functions(library))
    called.update(meta.object_graph_def.concrete_functions)
    for node in meta.object_graph_def.nodes:
        called.add(node.bare_concrete_function.concrete_function_name)
    for function in library.function:
        name = function.signature.name
        takes_place = any(attribute in function.attr for attribute in STAND_IN_ATTRIBUTES)
        allowed = COMPUTING if name in called or takes_place else SAVING
        yield from _find_foreign_operations(function.node_def, allowed)
    # This graph is not loaded where there is an object graph, and others may load it.
    yield from _find_foreign_operations(meta.graph_def.node, COMPUTING)
    for node in meta.object_graph_def.nodes:
        kind = node.WhichOneof("kind")
        is_registered = node.registered_name and node.registered_name != CONSTANT
        if kind not in OBJECTS or is_registered or node.registered_saver:
            yield f"an object of kind {kind} {node.registered_name}".rstrip()
        elif kind == "user_object" and node.user_object.identifier not in PLAIN_OBJECTS:
            yield f"an object {node.user_object.identifier}"


def _read_graph(folder: Path) -> Any:
    """The one meta graph of a SavedModel."""
    # Imported here, because TensorFlow takes seconds.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    path = folder / GRAPH
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        saved.ParseFromString(path.read_bytes())
        if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].HasField("object_graph_def"):
            raise ValueError("it holds another number of graphs than one, or no objects")
    except (OSError, ValueError, DecodeError) as error:
        raise ReleaseError(
            f"{path} is not a SavedModel of Graft: {error}.", "Promote an intact release."
        ) from error
    return saved.meta_graphs[0]


def _list_called_functions(library: Any) -> Iterator[str]:
    """The functions that another function calls, in an attribute or as an operation."""
    for function in library.function:
        for node in function.node_def:
            # A function is called by its name too, in place of an operation of that name.
            yield node.op
            for value in node.attr.values():
                yield value.func.name
                yield from (each.name for each in value.list.func)
    for gradient in library.gradient:
        yield from (gradient.function_name, gradient.gradient_func)


def _find_foreign_operations(nodes: Iterable[Any], allowed: frozenset[str]) -> Iterator[str]:
    for node in nodes:
        if node.op not in allowed:
            yield f"the operation {node.op}"
        if node.op == "Const":
            shape = node.attr["value"].tensor.tensor_shape
            if math.prod(dimension.size for dimension in shape.dim) > MOST_NUMBERS:
                yield f"a constant of more than {MOST_NUMBERS:,} numbers"
