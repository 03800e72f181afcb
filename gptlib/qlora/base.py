"""The model that is tuned: a causal language model in NF4, frozen, with an adapter beside it.

One job: `load_base`, `add_adapter`, and what an adapter is in a folder. The same code runs on a GPU
with an 8B model and on a CPU with a tiny one. On a CPU it computes in float32, the same on every
kind of processor: where one has units for bfloat16, bitsandbytes would repack the weights at the
first forward pass without a gradient and read them in bfloat16 from then on, so that a model could
neither be trained on nor merged exactly after it had been looked at once. That is switched off.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor

from gptlib import runtime
from gptlib.errors import CheckpointError, ConfigError
from gptlib.hub.new_folder import new_folder
from gptlib.paths import user_path
from gptlib.qlora.config import QLoRAConfig
from gptlib.qlora.libraries import qlora_libraries, quiet

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ADAPTER = "adapter_model.safetensors"


def load_base(
    name: str | Path, four_bit: bool = True, device: str = "auto", dtype: str = "auto"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal language model to tune, and its tokenizer.

    Args:
        name: a folder that `save_pretrained` wrote, or a name on Hugging Face's hub, which is
            fetched. four_bit: matrices of the blocks in NF4 with double quantization; else as they
            are, in `dtype`. Tables, head and norms are never quantized.
        device, dtype: as `Runtime.detect` has them; the dtype is what is computed in.

    Returns:
        (model in evaluation mode, tokenizer).

    Raises:
        ConfigError: a package is missing, or bitsandbytes would misread the model's rows here.
        CheckpointError: no such model, or none to be had now.
        DeviceError: this machine lacks the device or the number type.
    """
    transformers, _, bitsandbytes = qlora_libraries()
    here = runtime.Runtime.detect(device, dtype)
    computed = runtime.DTYPES[here.dtype]
    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computed,
    )  # fmt: skip
    with _opening(name) as place:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place, dtype=computed, device_map={"": here.device},
            quantization_config=quantization if four_bit else None,
        )  # fmt: skip
    folder = user_path(name)
    for layer, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False
            _check_width(layer, module.in_features, here.kind)
    model.name_or_path = folder.name if folder.is_dir() else str(name)  # no path goes out
    model.config._name_or_path = model.name_or_path
    return model.eval(), tokenizer


def look_at_base(name: str | Path) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """The config and the tokenizer of such a model, whose weights are neither read nor fetched.

    Raises:
        ConfigError: a package is missing. CheckpointError: no such model, or none to be had now.
    """
    transformers, _, _ = qlora_libraries()
    with _opening(name) as place:
        config = transformers.AutoConfig.from_pretrained(place)
        return config, transformers.AutoTokenizer.from_pretrained(place)


@contextmanager
def _opening(name: str | Path) -> Generator[str]:
    """What transformers is to open, without a word; its errors as one of ours."""
    folder = user_path(name)
    try:
        with quiet(bars=not folder.is_dir()):
            yield str(folder) if folder.is_dir() else str(name)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{str(name)[:200]} is no folder of a causal language model and cannot be fetched as "
            f"one ({str(error).splitlines()[0][:150]}); give a folder that save_pretrained wrote, "
            "or a name on the hub that this machine can reach and your account may read"
        ) from error


def _check_width(layer: str, width: int, kind: str) -> None:
    """Refuse rows that bitsandbytes 0.50 reads with the scale of another block, on a CPU that has
    AVX-512; refused on all of them, so that none is silently wrong."""
    if kind == "cpu" and width % 16 == 0 and width % 64:
        raise ConfigError(
            f"{layer} has rows of {width} weights, which bitsandbytes misreads in four bits on a "
            "CPU; give a model whose widths are multiples of 64, or load it with four_bit=False"
        )


def save_base(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> Path:
    """Write a model and its tokenizer as a new folder that `load_base` and transformers read.

    Raises:
        DataError: the folder is there already, or cannot be written.
    """
    qlora_libraries()
    with new_folder(folder) as temporary, quiet():
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    return user_path(folder)


def add_adapter(model: PreTrainedModel, config: QLoRAConfig) -> PeftModel:
    """Freeze a model and put an untrained adapter beside each target, in place.

    peft's `prepare_model_for_kbit_training` would also copy tables and head to float32, 2.1 GB for
    a Llama-3.1-8B; here the logits alone are float32, when the loss is made.

    Raises:
        ConfigError: the model has no layer of these names.
    """
    _, peft, _ = qlora_libraries()
    model.requires_grad_(False)
    lora = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout,
        target_modules=list(config.targets), task_type="CAUSAL_LM",
    )  # fmt: skip
    runtime.seed_everything(config.seed)
    try:
        with quiet():
            tuned = peft.get_peft_model(model, lora)
    except ValueError as error:
        raise ConfigError(
            f"no layer of the model is called {', '.join(config.targets)}; name some of its linear "
            "layers as targets"
        ) from error
    if config.recompute:
        with quiet():  # transformers 5.0 knows it by this name alone, later ones warn of it
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.config.use_cache = False  # what is made anew has no use for it; `answer` asks for it
    return tuned


def adapter_weights(model: PeftModel) -> dict[str, Tensor]:
    """The adapter's tensors by peft's names for them in a file, on the CPU."""
    _, peft, _ = qlora_libraries()
    found = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}


def put_adapter(model: PeftModel, weights: dict[str, Tensor]) -> None:
    """Put such tensors into the adapter.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    _, peft, _ = qlora_libraries()
    own = {name: tensor.shape for name, tensor in adapter_weights(model).items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if wrong := sorted(name for name in own.keys() | found if own.get(name) != found.get(name)):
        raise CheckpointError(
            f"the adapter does not fit the model: {wrong[0]} is {found.get(wrong[0], 'missing')} "
            f"there and {own.get(wrong[0], 'unknown')} here; take the rank, the targets and the "
            "base that it was trained with"
        )
    peft.set_peft_model_state_dict(model, weights)


def save_adapter(model: PeftModel, folder: str | Path) -> None:
    """Write the adapter as a new folder that peft reads; it appears whole or not at all.

    Raises:
        DataError: the folder is there already, or cannot be written.
    """
    settings: Any = copy.copy(model.peft_config["default"])
    settings.inference_mode = True
    settings.target_modules = sorted(settings.target_modules)  # a set, which has no order
    with new_folder(folder) as temporary:
        settings.save_pretrained(str(temporary))
        safetensors.torch.save_file(
            adapter_weights(model), temporary / ADAPTER, metadata={"format": "pt"}
        )


def load_adapter(model: PreTrainedModel, folder: str | Path) -> PeftModel:
    """Put a saved adapter beside a base, to generate, measure or merge.

    Raises:
        CheckpointError: no adapter there, or one of another base.
    """
    _, peft, _ = qlora_libraries()
    place = user_path(folder)
    if not (place / ADAPTER).is_file():
        raise CheckpointError(f"{place} has no {ADAPTER}; give a folder that save_adapter wrote")
    try:
        with quiet():
            return peft.PeftModel.from_pretrained(model, str(place)).eval()
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the adapter in {place} does not fit the model ({str(error).splitlines()[0][:150]}); "
            "take the base that it was trained with"
        ) from error


def mark_of(model: torch.nn.Module) -> str:
    """Hex sha256 of the first matrix that an adapter stands beside: a resumed run has the same."""
    first: Any = next(m.base_layer for m in model.modules() if hasattr(m, "base_layer"))
    raw = first.weight.detach().cpu().contiguous().view(torch.uint8)
    return hashlib.sha256(raw.numpy().tobytes()).hexdigest()
