"""GPT-2 in and out: Hugging Face's models and folders, ONNX, GGUF."""

from gptlib.hub.export import export_run
from gptlib.hub.gguf_read import from_gguf
from gptlib.hub.pretrained import from_pretrained, import_run
from gptlib.hub.weights import from_hf, to_hf

__all__ = ["export_run", "from_gguf", "from_hf", "from_pretrained", "import_run", "to_hf"]
