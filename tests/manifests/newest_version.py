"""What MLServer runs for a model of `triton/`: the highest number, as Triton takes it.

It is imported by MLServer in its own environment, and never by us.
"""

from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class NewestVersion(MLModel):
    """Answers with the `model.onnx` that had the highest number when it was loaded."""

    async def load(self) -> bool:
        """Open the file. MLServer asks for it again when it is told to load the model."""
        folder = Path(self.settings.parameters.uri)
        newest = max(folder.iterdir(), key=lambda path: int(path.name))
        self.newest = newest.name
        self.session = onnxruntime.InferenceSession(newest / "model.onnx")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the network on the tensors of a request."""
        given = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        (probabilities,) = self.session.run(["probabilities"], given)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.newest,
            outputs=[NumpyCodec.encode_output("probabilities", probabilities)],
        )
