"""A model for llama.cpp's server, small enough to be made by the tests: it talks nonsense, the same every time.

Its weights are random, its vocabulary is every byte and some words. Needs `gguf`, which brings numpy.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

CONTROL, UNKNOWN, NORMAL, BYTE = 3, 2, 1, 6
"""Kinds of tokens, by llama.cpp's numbers."""
SPECIAL = (("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL))
WORDS = (
    "tram climb past café blue postcard lake bridge old town clock river snow bread cheese train morning light "
    "window street market north south hill boat church garden paper letter story number river's end 東京 🚋 Zürich"
)
TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"


class Token(NamedTuple):
    """One entry of the vocabulary."""

    text: str
    kind: int
    score: float


def vocabulary() -> list[Token]:
    """Special tokens, every byte as what anything else falls back to, and words with the space before them."""
    special = [Token(text, kind, 0.0) for text, kind in SPECIAL]
    bytes_ = [Token(f"<0x{value:02X}>", BYTE, 0.0) for value in range(256)]
    words = ["\u2581", *("\u2581" + word for word in dict.fromkeys(WORDS.split()))]
    return [*special, *bytes_, *(Token(word, NORMAL, -float(rank)) for rank, word in enumerate(words))]


def write(path: Path, *, width: int = 64, layers: int = 2, heads: int = 4, context: int = 4096, seed: int = 7) -> None:
    """Write the model to a file. Wider and deeper ones take longer for each token."""
    import gguf
    import numpy

    random, tokens = numpy.random.default_rng(seed), vocabulary()
    model = gguf.GGUFWriter(path, "llama")
    model.add_name("tiny")
    model.add_context_length(context)
    model.add_embedding_length(width)
    model.add_block_count(layers)
    model.add_feed_forward_length(2 * width)
    model.add_head_count(heads)
    model.add_head_count_kv(heads)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_rope_dimension_count(width // heads)
    model.add_vocab_size(len(tokens))
    model.add_file_type(gguf.LlamaFileType.ALL_F32)
    model.add_tokenizer_model("llama")
    model.add_tokenizer_pre("default")
    model.add_token_list([token.text for token in tokens])
    model.add_token_scores([token.score for token in tokens])
    model.add_token_types([token.kind for token in tokens])
    model.add_unk_token_id(0)
    model.add_bos_token_id(1)
    model.add_eos_token_id(2)
    model.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int, spread: float = 0.1) -> None:
        model.add_tensor(f"{name}.weight", (random.standard_normal(shape) * spread).astype(numpy.float32))

    def add_norm(name: str) -> None:
        model.add_tensor(f"{name}.weight", numpy.ones(width, numpy.float32))

    add("token_embd", len(tokens), width, spread=1.0)
    for layer in range(layers):
        block = f"blk.{layer}"
        add_norm(f"{block}.attn_norm")
        add_norm(f"{block}.ffn_norm")
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"{block}.{part}", width, width)
        add(f"{block}.ffn_gate", 2 * width, width)
        add(f"{block}.ffn_up", 2 * width, width)
        add(f"{block}.ffn_down", width, 2 * width)
    add_norm("output_norm")
    said = (random.standard_normal((len(tokens), width)) * 0.1).astype(numpy.float32)
    said[: len(SPECIAL)] = 0.0  # so that it never comes to an end of its own accord
    model.add_tensor("output.weight", said)
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()
