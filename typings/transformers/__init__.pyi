from typing import Any

# What src imports from the root of transformers, each from its own module: the root itself would have pyright read
# every model that transformers knows, for a third of its time.
from transformers.modeling_utils import PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast
from transformers.utils.quantization_config import BitsAndBytesConfig

# What only tests and bench import; reading these modules would take longer than all of src.
CohereConfig: Any
CohereForCausalLM: Any
LlamaForSequenceClassification: Any
LogitsProcessor: Any
LogitsProcessorList: Any
MambaConfig: Any
MambaForCausalLM: Any
Qwen2Config: Any
Qwen2ForCausalLM: Any

class TrainerCallback:
    def __getattr__(self, name: str) -> Any: ...

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForCausalLM",
    "AutoModelForSequenceClassification",
    "AutoTokenizer",
    "BitsAndBytesConfig",
    "CohereConfig",
    "CohereForCausalLM",
    "LlamaConfig",
    "LlamaForCausalLM",
    "LlamaForSequenceClassification",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MambaConfig",
    "MambaForCausalLM",
    "PreTrainedModel",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "Qwen2Config",
    "Qwen2ForCausalLM",
    "TrainerCallback",
]
