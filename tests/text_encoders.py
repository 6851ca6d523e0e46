"""Text encoders small enough to be made in the tests, in the form that they have on the hub."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = ["[PAD]", "[BOS]", "[EOS]", "[UNK]", *["a", "red", "green", "blue", "circle", "square", "big", "small"]]
TEXT = {
    "vocab_size": len(WORDS),
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
}
PICTURES = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}


def tiny_tokenizer(template: str = "[BOS] $A [EOS]") -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [("[BOS]", 1), ("[EOS]", 2)]
    words.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    names = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=16, **names)


def tiny_model(kind: str) -> nn.Module:
    """As it is on the hub: CLIP with its half for images, T5 with its decoder."""
    if kind == "clip":
        ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        return CLIPModel(CLIPConfig(text_config=TEXT | ends, vision_config=PICTURES, projection_dim=8))
    if kind == "t5":
        return T5ForConditionalGeneration(
            T5Config(vocab_size=len(WORDS), d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
        )
    return BertModel(BertConfig(**TEXT))
